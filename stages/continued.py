"""Continued GRPO: trains on the hard problems, mixed with a replay share of all problems to prevent forgetting."""

from collections.abc import Sequence

from stages.curate import hard_keys
from stages.data import Example, mixed_at
from stages.grpo import Choose, learn_from
from stages.options import Continued
from stages.stage import Context, StageFailed
from stages.training.initial_state import StageState
from stages.training.steps import checked


def train(context: Context) -> None:
    """Run the stage; the protocol is described in `stages.stage`."""
    options = checked(Continued, context)

    def chooser(standing: StageState, problems: Sequence[Example]) -> Choose:
        keys = hard_keys(standing.before.artifacts)
        hard = [example for example in problems if example.key in keys]
        if not hard:
            raise StageFailed(
                "no-hard-problems",
                f"none of the {len(keys)} problems that the curate stage before {context.spec.name} chose is in "
                f"data {' '.join(options.data)}: name the same sets in both stages",
            )
        context.say(
            f"{len(hard):,} hard problems, with {options.replay:.0%} of each step drawn from all {len(problems):,}"
        )
        return lambda step, seed: mixed_at(problems, hard, step, options.batch, options.replay, seed)

    learn_from(context, options, chooser)
