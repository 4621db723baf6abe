"""The form of an assumption about Kaggle: its statement, how it can be observed, what follows if it is wrong. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Observation(StrEnum):
    """Place where it shows whether an assumption holds on an account; the probes and RUNS keep evidence of it.

    The value is written in the docs.
    """

    CPU_PROBE = "CPU probe"
    TPU_PROBE = "TPU probe"
    RUNS = "ordinary runs"
    MET = "ordinary runs, without evidence"
    """A run meets it and copes or is parked, but its facts do not tell what Kaggle did."""
    CHECK = "`relay check`"
    NOT = "not observed"


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """Statement about Kaggle on which relay is built."""

    key: str
    """Name in kebab-case, used in evidence, in JSON and by `--differs`."""
    assumes: str
    """Statement in one sentence, which evidence confirms or refutes."""
    source: str
    """Reason to assume it: documentation, a maintainer, the client's source, users' reports, or nothing."""
    observed_by: tuple[Observation, ...]
    copes: bool
    """True if relay continues by itself where the assumption does not hold."""
    if_refuted: str
    """What relay does, or, if it does not cope, what the user has to do: one sentence."""
    stops: bool = False
    """True if a run cannot continue where the assumption does not hold, until the user acts."""
    numbers: tuple[str, ...] = ()
    """Names of the numbers that evidence for this key may carry, units last."""
    rehearsed: bool = False
    """True if the local Kaggle can differ from it: `relay rehearse --differs KEY`."""
