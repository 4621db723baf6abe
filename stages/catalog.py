"""From a stage's kind to its code and its options."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stages import options
from stages.stage import Context


@dataclass(frozen=True)
class Kind:
    """A kind of stage: where its `train` is, and the dataclass that its options must fit."""

    train: str
    options: type[Any]
    needs_jax: bool = True

    def load(self) -> Callable[[Context], None]:
        """Import the stage's function; only now, so that counting never imports JAX."""
        module, _, function = self.train.partition(":")
        found: Callable[[Context], None] = getattr(importlib.import_module(module), function)
        return found


KINDS: dict[str, Kind] = {
    "counting": Kind("stages.counting:train", options.Counting, needs_jax=False),
    "sft": Kind("stages.sft:train", options.Sft),
    "grpo": Kind("stages.grpo:train", options.Grpo),
    "continued": Kind("stages.continued:train", options.Continued),
    "evaluate": Kind("stages.evaluate:train", options.Evaluate),
}
