"""From a stage's kind to its code and its options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stages import options
from stages.session import user_code
from stages.stage import Context


class UnknownKind(ValueError):
    """No stage is called that; the message says which ones there are."""


@dataclass(frozen=True)
class StageKind:
    """A kind of stage: where its `train` is, and the dataclass that its options must fit.

    A stage of the user's own has no such dataclass (None): it gets its options as they were written.
    """

    train: str
    options: type[Any] | None
    needs_jax: bool = True

    def load(self) -> Callable[[Context], None]:
        """Import the stage's function; only now, so that counting never imports JAX."""
        return user_code.load(self.train)

    def fit(self, values: Mapping[str, Any], where: str) -> Any:
        """The options as the stage will read them; raises ValueError with one sentence that names `where` and the key."""
        return dict(values) if self.options is None else options.fit(self.options, values, where)


KINDS: dict[str, StageKind] = {
    "counting": StageKind("stages.counting:train", options.Counting, needs_jax=False),
    "sft": StageKind("stages.sft:train", options.Sft),
    "grpo": StageKind("stages.grpo:train", options.Grpo),
    "curate": StageKind("stages.curate:train", options.Curate),
    "continued": StageKind("stages.continued:train", options.Continued),
    "evaluate": StageKind("stages.evaluate:train", options.Evaluate),
}


def find(kind: str, own: Mapping[str, str] | None = None) -> StageKind:
    """The kind of that name, or the user's own stage, written `package.module:function`. Raises UnknownKind.

    `own` is the user's code that ships, by file name: what it imports tells whether the stage needs JAX.
    """
    if kind in KINDS:
        return KINDS[kind]
    module, colon, function = kind.partition(":")
    if colon and function.isidentifier() and all(part.isidentifier() for part in module.split(".")):
        return StageKind(kind, None, needs_jax=user_code.needs_jax(module, own or {}))
    raise UnknownKind(f"there is no stage of kind {kind!r}: take one of {', '.join(KINDS)}, or package.module:function")
