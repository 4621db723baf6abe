"""Which effect carries out which command."""

from dataclasses import replace
from typing import assert_never

from orchestrator.base.disk import on_disk
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
"""What is done about one session."""

Effect = PublishInputs | Prune | ReadQuota | Step


def perform(command: Effect, snapshot: Snapshot, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """Carry out one command; errors of `orchestrator.base.errors` mean that nothing is to be recorded."""
    with on_disk(shell.home.path):  # the gateway translates its own: what is left are this machine's files
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
"""An empty listing reads like an answer without content, and would cost all that the session did: it is asked for again.

So is a log that this disk does not give back: it tells how far the session came.
"""

QUOTA_TRIES = 3
"""A quota that cannot be had holds nothing up for longer: a session that Kaggle cannot pay for, it declines."""


def looked(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """Look at the session; where something has happened to it, look for others of its kernel too."""
    result = poll(snapshot, session, pipeline, shell)
    return replace(result, facts=(*twins(session, shell), *result.facts)) if result.facts else result


def read_quota(command: ReadQuota, snapshot: Snapshot, shell: EffectContext) -> EffectResult:
    """Ask for the week's hours; a missing answer is unknown, not zero. When they are renewed is remembered from earlier."""
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
    """Bring the rest of the log, the report and the newest checkpoint home, and say how the session ended."""
    version, _ = seen_of(session.slug, session.kernel_version, shell.gateway)
    session = replace(session, kernel_version=version)
    sure = snapshot.watch.failures + 1 >= EMPTY_TRIES
    log = read_log(session, shell, snapshot.watch.log_lines, needed=not sure)
    began_s = shell.clock.monotonic()
    quarantine = Quarantine(shell.home, session.run, shell.clock.now())
    ahead = EagerUpload(checkpoint_of(session.run, session.number, session.attempt), shell.gateway, shell.clock)
    try:
        fact = collect(
            snapshot.state,
            session,
            pipeline,
            shell.gateway,
            quarantine,
            believe_empty=sure,
            verified=ahead.send if pipeline.handoff == "dataset" else ignored,
        )
    except Refused:
        require(session, shell)
        raise
    took_s = shell.clock.monotonic() - began_s
    if isinstance(fact, OutputCollected):
        fact = replace(fact, sent_s=ahead.sent_s)
    fact = replace(fact, fetched_s=took_s - ahead.sent_s)
    return EffectResult((*quarantine.found, fact), WELL, tuple(log.metrics))


def inspect(state: RunState, session: Session, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """See whether the checkpoint's dataset is what it should be, since a session says that it is not."""
    custody = custody_of(state, session, shell)
    fact = custody.verify_dataset(pipeline)
    return EffectResult((*custody.quarantine.found, fact))


def prune(state: RunState, checkpoint: Checkpoint, shell: EffectContext) -> EffectResult:
    """Remove an old checkpoint on Kaggle, under whatever names it was offered, then here."""
    for place in checkpoint.places:
        seen = shell.gateway.find_dataset(place)
        if seen is not None:
            refuse_overtaken(Mark.on_dataset(seen), f"the dataset {seen.ref}", state.run, shell.identity)
            shell.gateway.delete_dataset(place)
    shell.home.remove_checkpoint(state.run.id, checkpoint.name)
    return EffectResult((CheckpointPruned(checkpoint=checkpoint.name),))
