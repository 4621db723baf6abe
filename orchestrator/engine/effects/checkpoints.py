"""Verifies the dataset of a checkpoint, and prunes old checkpoints."""

from orchestrator.engine.effects.context import EffectContext, EffectResult
from orchestrator.engine.ownership import Mark, refuse_overtaken
from orchestrator.pipeline.model import Pipeline
from state.facts.checkpoint import CheckpointPruned
from state.model.run_state import Checkpoint, RunState, Session


def verify_dataset(state: RunState, session: Session, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """Verify the checkpoint's dataset, since a session reported that it is damaged or missing."""
    copies = shell.copies_of(state, session)
    fact = copies.verify_dataset(pipeline)
    return EffectResult((*copies.quarantine.found, fact))


def prune(state: RunState, checkpoint: Checkpoint, shell: EffectContext) -> EffectResult:
    """Delete an old checkpoint on each platform that has it, under every name it was uploaded as, then on this disk."""
    made_on = state.session(checkpoint.session, checkpoint.attempt).platform if checkpoint.platform else 0
    for number in range(made_on, checkpoint.platform + 1):
        platform = shell.gateway if number == state.run.platform else shell.reach(state.run, number)
        for place in checkpoint.places:
            seen = platform.find_dataset(place)
            if seen is not None:
                refuse_overtaken(Mark.on_dataset(seen), f"the dataset {seen.ref}", state.run, shell.identity)
                platform.delete_dataset(place)
    shell.home.remove_checkpoint(state.run.id, checkpoint.name)
    return EffectResult((CheckpointPruned(checkpoint=checkpoint.name),))
