"""Goes on with reinforcement learning on the hard problems, with enough of the others that nothing is forgotten."""

from stages.data import mixed_at
from stages.grpo import learn_from
from stages.options import Continued
from stages.stage import Context, StageFailed
from stages.steps import checked, source_of


def train(context: Context) -> None:
    """Run the stage: see `stages.stage`."""
    options = checked(Continued, context)
    source = source_of(context, options.data)
    if not source.hard:
        raise StageFailed("bad-data", f"data: {options.data} has no hard problem to go on with")
    learn_from(context, options, lambda step, seed: mixed_at(source, step, options.batch, options.replay, seed))
