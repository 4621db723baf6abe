"""Maps each stage kind to its training function and its options dataclass."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stages import options
from stages.session import user_code
from stages.stage import Context


class UnknownKind(ValueError):
    """Raised for an unknown stage kind; the message lists the known ones."""


@dataclass(frozen=True)
class StageKind:
    """A kind of stage: the import path of its `train` function and the dataclass of its options.

    `options` is None for a stage that the user wrote: it receives its options unchanged.
    """

    train: str
    options: type[Any] | None
    needs_jax: bool = True
    loads_model: bool = True
    """False if a stage that needs JAX does not itself load the pipeline's `model:`."""
    several: bool = False
    """True if the processes of a session on several hosts can run the stage together."""

    def load(self) -> Callable[[Context], None]:
        """Import the stage's function. Imports are deferred until here so that a counting stage never imports JAX."""
        return user_code.load(self.train)

    def fit(self, values: Mapping[str, Any], where: str) -> Any:
        """Return the options in the form that the stage reads; raises ValueError with one sentence
        naming `where` and the key."""
        return dict(values) if self.options is None else options.fit(self.options, values, where)

    def mistakes(self, values: Mapping[str, Any], where: str) -> Iterator[str]:
        """Yield one sentence for each mistake in the options; `fit` raises the first."""
        yield from () if self.options is None else options.mistakes(self.options, values, where)


KINDS: dict[str, StageKind] = {
    "counting": StageKind("stages.counting:train", options.Counting, needs_jax=False),
    "sft": StageKind("stages.sft:train", options.Sft, several=True),
    "grpo": StageKind("stages.grpo:train", options.Grpo),
    "curate": StageKind("stages.curate:train", options.Curate),
    "continued": StageKind("stages.continued:train", options.Continued),
    "evaluate": StageKind("stages.evaluate:train", options.Evaluate),
    "answer": StageKind("stages.answer:train", options.Answer),
    "export": StageKind("stages.export:train", options.Export),
    "probe": StageKind("stages.probing.machine:train", options.Probe, needs_jax=False),
    "measure": StageKind("stages.probing.measure:train", options.Measure, loads_model=False),
}


def find(kind: str, own: Mapping[str, str] | None = None) -> StageKind:
    """Return the kind with that name, or a user's own stage given as `package.module:function`. Raises UnknownKind.

    `own` is the user code that ships with the order, by file name: its imports determine whether the stage needs JAX.
    """
    if kind in KINDS:
        return KINDS[kind]
    module, colon, function = kind.partition(":")
    if colon and function.isidentifier() and all(part.isidentifier() for part in module.split(".")):
        return StageKind(kind, None, needs_jax=user_code.needs_jax(module, own or {}))
    raise UnknownKind(f"there is no stage of kind {kind!r}: take one of {', '.join(KINDS)}, or package.module:function")
