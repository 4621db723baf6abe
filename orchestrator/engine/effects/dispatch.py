"""Maps each command to the effect that performs it."""

from dataclasses import replace
from typing import assert_never

from orchestrator.base.disk import disk_errors
from orchestrator.base.errors import Refused, Transient
from orchestrator.core.commands import (
    Collect,
    FindPush,
    Poll,
    PollTwin,
    Prune,
    Publish,
    PublishInputs,
    Push,
    ReadQuota,
    VerifyDataset,
)
from orchestrator.core.plan import checkpoint_of
from orchestrator.engine.collect import collect, ignored
from orchestrator.engine.effects.context import EffectContext, EffectResult
from orchestrator.engine.effects.eager_upload import EagerUpload
from orchestrator.engine.effects.find_push import find_push, poll_twin, twins
from orchestrator.engine.effects.poll import WELL, poll, read_log, require, seen_of
from orchestrator.engine.effects.publish import custody_of, publish, publish_inputs
from orchestrator.engine.effects.push import push
from orchestrator.engine.ownership import Mark, refuse_overtaken
from orchestrator.engine.quarantine import Quarantine
from orchestrator.pipeline.model import Pipeline
from state.facts import CheckpointPruned, OutputCollected
from state.model import Checkpoint, QuotaRow, RunState, Session, Snapshot

Step = Push | FindPush | Poll | PollTwin | Collect | Publish | VerifyDataset
"""Commands that concern one session."""

Effect = PublishInputs | Prune | ReadQuota | Step


def perform(command: Effect, snapshot: Snapshot, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """Perform one command; an error of `orchestrator.base.errors` means that nothing is recorded."""
    with disk_errors(shell.home.path):  # the gateway translates its own errors; those left concern local files
        return _carry_out(command, snapshot, pipeline, shell)


def _carry_out(command: Effect, snapshot: Snapshot, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    state = snapshot.state
    match command:
        case ReadQuota():
            return read_quota(command, snapshot, shell)
        case PublishInputs():
            return publish_inputs(snapshot, pipeline, shell)
        case Prune():
            return prune(state, state.checkpoint(command.checkpoint), shell)
        case _:
            return _carry_on(command, snapshot, pipeline, shell)


def _carry_on(command: Step, snapshot: Snapshot, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    session = snapshot.state.session(command.number, command.attempt)
    match command:
        case Push():
            return push(snapshot, session, pipeline, shell)
        case FindPush():
            return find_push(snapshot, session, pipeline, shell)
        case Poll():
            return looked(snapshot, session, pipeline, shell)
        case PollTwin():
            return poll_twin(session, shell)
        case Collect():
            return collected(snapshot, session, pipeline, shell)
        case Publish():
            return publish(snapshot, session, pipeline, shell)
        case VerifyDataset():
            return inspect(snapshot.state, session, pipeline, shell)
        case _:
            assert_never(command)


EMPTY_TRIES = 3
"""Number of attempts before relay accepts an empty listing of a session's output.

An empty response also parses as an empty listing, and accepting it would discard the session's work. The same number
applies to a log that this disk cannot read, which tells how far the session came.
"""

QUOTA_TRIES = 3
"""Number of attempts to read the quota. After that relay goes on: Kaggle declines a session without quota."""


def looked(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """Poll the session; if something happened to it, also look for twin sessions of its kernel."""
    result = poll(snapshot, session, pipeline, shell)
    return replace(result, facts=(*twins(session, shell), *result.facts)) if result.facts else result


def read_quota(command: ReadQuota, snapshot: Snapshot, shell: EffectContext) -> EffectResult:
    """Read the weekly quota; a missing answer is unknown, not zero. The last known renewal time is kept."""
    try:
        found = shell.gateway.quota(command.accelerator)
    except (Transient, Refused):
        if snapshot.watch.failures + 1 < QUOTA_TRIES:
            raise
        found = None
    before = snapshot.quota.refreshes_at if snapshot.quota else None
    row = QuotaRow(
        owner=snapshot.state.run.owner,
        accelerator=command.accelerator,
        used_s=found.used_s if found else 0.0,
        reserved_s=found.reserved_s if found else 0.0,
        total_s=found.total_s if found else None,
        refreshes_at=(found.refreshes_at if found else None) or before,
        read_at=shell.clock.now(),
    )
    return EffectResult(quota=row)


def collected(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """Fetch the rest of the log, the report and the newest checkpoint, and judge how the session ended."""
    version, _ = seen_of(session.slug, session.kernel_version, shell.gateway)
    session = replace(session, kernel_version=version)
    last_try = snapshot.watch.failures + 1 >= EMPTY_TRIES
    log = read_log(session, shell, snapshot.watch.log_lines, needed=not last_try)
    began_s = shell.clock.monotonic()
    quarantine = Quarantine(shell.home, session.run, shell.clock.now())
    uploader = EagerUpload(checkpoint_of(session.run, session.number, session.attempt), shell.gateway, shell.clock)
    try:
        fact = collect(
            snapshot.state,
            session,
            pipeline,
            shell.gateway,
            quarantine,
            believe_empty=last_try,
            verified=uploader.send if pipeline.handoff == "dataset" else ignored,
        )
    except Refused:
        require(session, shell)
        raise
    took_s = shell.clock.monotonic() - began_s
    if isinstance(fact, OutputCollected):
        fact = replace(fact, sent_s=uploader.sent_s)
    fact = replace(fact, fetched_s=took_s - uploader.sent_s)
    return EffectResult((*quarantine.found, fact), WELL, tuple(log.metrics))


def inspect(state: RunState, session: Session, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """Verify the checkpoint's dataset, since a session reported that it is damaged or missing."""
    copies = custody_of(state, session, shell)
    fact = copies.verify_dataset(pipeline)
    return EffectResult((*copies.quarantine.found, fact))


def prune(state: RunState, checkpoint: Checkpoint, shell: EffectContext) -> EffectResult:
    """Delete an old checkpoint on Kaggle, under every name it was uploaded as, then on this disk."""
    for place in checkpoint.places:
        seen = shell.gateway.find_dataset(place)
        if seen is not None:
            refuse_overtaken(Mark.on_dataset(seen), f"the dataset {seen.ref}", state.run, shell.identity)
            shell.gateway.delete_dataset(place)
    shell.home.remove_checkpoint(state.run.id, checkpoint.name)
    return EffectResult((CheckpointPruned(checkpoint=checkpoint.name),))
