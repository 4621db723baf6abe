"""Goes on with reinforcement learning on the hard problems, with enough of the others that nothing is forgotten."""

from stages.data import mixed_at, open_source
from stages.grpo import learn_from
from stages.options import Continued
from stages.stage import Context
from stages.steps import checked


def train(context: Context) -> None:
    """Run the stage: see `stages.stage`."""
    options = checked(Continued, context)
    source = open_source(options.data, context.inputs)
    learn_from(context, options, lambda step, seed: mixed_at(source, step, options.batch, options.replay, seed))
