"""Maps each command to the effect that performs it."""

from typing import assert_never

from orchestrator.base.disk import disk_errors
from orchestrator.core.commands import (
    CarryOrigin,
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
from orchestrator.engine.effects.carry_origin import carry_origin
from orchestrator.engine.effects.checkpoints import prune, verify_dataset
from orchestrator.engine.effects.collect import collect
from orchestrator.engine.effects.context import EffectContext, EffectResult
from orchestrator.engine.effects.find_push import find_push
from orchestrator.engine.effects.poll import poll
from orchestrator.engine.effects.publish import publish
from orchestrator.engine.effects.publish_inputs import publish_inputs
from orchestrator.engine.effects.push import push
from orchestrator.engine.effects.quota import read_quota
from orchestrator.engine.effects.twins import poll_twin
from orchestrator.pipeline.model import Pipeline
from state.model.snapshot import Snapshot

Step = Push | FindPush | Poll | PollTwin | Collect | Publish | VerifyDataset
"""Commands that concern one session."""

Effect = PublishInputs | CarryOrigin | Prune | ReadQuota | Step


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
        case CarryOrigin():
            return carry_origin(snapshot, shell)
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
            return poll(snapshot, session, pipeline, shell)
        case PollTwin():
            return poll_twin(session, shell)
        case Collect():
            return collect(snapshot, session, pipeline, shell)
        case Publish():
            return publish(snapshot, session, pipeline, shell)
        case VerifyDataset():
            return verify_dataset(snapshot.state, session, pipeline, shell)
        case _:
            assert_never(command)
