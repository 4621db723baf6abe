"""Options of the stages that `relay probe` runs."""

from dataclasses import dataclass
from typing import Annotated

from stages.options.rules import POSITIVE, Rule, ValidatedOptions, one_of

NAMES = Rule(remedy="a list of names", form=r"[^\s]+", empty=True)


@dataclass(frozen=True, kw_only=True)
class Probe(ValidatedOptions):
    """Observes how Kaggle behaves; `relay probe` writes such stages, and `steps` has to be 1."""

    part: Annotated[str, one_of("write", "read")] = "write"
    """Part of the probe: `write` looks at the machine and leaves a checkpoint, `read` compares what the next session
    mounts."""
    internet: bool = True
    """True if the pipeline asks for internet access."""
    models: Annotated[tuple[str, ...], NAMES] = ()
    """Kaggle models to find and to read the table of contents of."""
    trial: Annotated[tuple[str, ...], NAMES] = ()
    """Files that were uploaded to see what Kaggle makes of them, each `name:sha256`."""
    versions: Annotated[tuple[str, ...], NAMES] = ()
    """SHA-256 of the file in each version of a dataset that is mounted by its first version."""


@dataclass(frozen=True, kw_only=True)
class Measure(ValidatedOptions):
    """Measures two steps and a save of each stage of a pipeline, at its real size; `relay probe --accelerator` writes
    it."""

    plan: str = "[]"
    """Stages to measure, as JSON; `steps` has to be their number."""
    seconds: Annotated[float, POSITIVE] = 180.0
    """Seconds after which nothing more is begun; what was not reached stays unknown."""
    platform: str = ""
    """Platform that the accelerator was promised to have: `tpu`, `gpu` or `cpu`."""
