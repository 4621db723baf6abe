"""Documents that a probe leaves for the laptop, as the artifact `probe.json`. Standard library only."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from stages.contract import ARTIFACTS_DIRECTORY, PROBE
from stages.documents import Document, Versioned
from stages.session.accelerator import STAND_IN
from stages.stage import OpenedCheckpoint

CONFIRMED, REFUTED, UNKNOWN = "confirmed", "refuted", "unknown"
"""Verdicts on an assumption."""


@dataclass(frozen=True, kw_only=True)
class ProbeFinding(Document):
    """Observation of one assumption about Kaggle. `key` is that of the table of assumptions; `detail` is one line without
    names of the account."""

    key: str
    verdict: str
    detail: str = ""
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StageTiming(Document):
    """Measurement of one stage of a pipeline, in seconds and bytes; None for what was not reached.

    `first_s` is the first step with loading and compiling, `compile_s` the part of it that JAX compiled, `step_s` the
    second step. `save_s` is a whole save, `hold_s` the part of it in which training waits. `memory_bytes` is the peak of
    the session up to the end of this stage: of the device that used most, else of the process.
    """

    stage: str
    kind: str
    first_s: float | None = None
    compile_s: float | None = None
    step_s: float | None = None
    hold_s: float | None = None
    save_s: float | None = None
    checkpoint_bytes: float | None = None
    memory_bytes: float | None = None
    problem: str = ""
    """Reason why the stage was not measured to its end; empty if it was."""
    failed: bool = False
    """True if the stage itself failed, as it would in a run."""


@dataclass(frozen=True, kw_only=True)
class ProbeReport(Versioned):
    """Everything that the sessions of a probe saw."""

    kind: ClassVar[str] = "probe"

    findings: tuple[ProbeFinding, ...] = ()
    timings: tuple[StageTiming, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    """Further observations, by subject: versions, processors, memory."""
    stand_in: bool = False
    """True in a rehearsal, where the user's machine stands in for Kaggle's."""

    def merged(self, findings: Iterable[ProbeFinding], notes: Mapping[str, str]) -> "ProbeReport":
        """Return the report with these findings and notes, which replace earlier ones of the same key."""
        by_key = {finding.key: finding for finding in (*self.findings, *findings)}
        return replace(self, findings=tuple(by_key.values()), notes={**self.notes, **notes}, stand_in=stands_in())

    def artifact(self) -> dict[str, str]:
        """Return the artifact: name and text."""
        return {PROBE: self.to_json()}


def found_in(checkpoint: OpenedCheckpoint | None) -> ProbeReport:
    """Return the report in a checkpoint; an empty one without a checkpoint."""
    path = checkpoint and checkpoint.directory / ARTIFACTS_DIRECTORY / PROBE
    return ProbeReport.from_json(path.read_bytes()) if path else ProbeReport()


def stands_in() -> bool:
    """Return True in a rehearsal, where this machine stands in for Kaggle's."""
    return os.environ.get(STAND_IN) == "1"


def of_machine(key: str, fits: bool | None, detail: str, numbers: Mapping[str, float] | None = None) -> ProbeFinding:
    """Return a finding about Kaggle's machines: unknown in a rehearsal, and if `fits` is None."""
    if stands_in():
        return ProbeFinding(key=key, verdict=UNKNOWN, detail=f"the user's machine stands in: {detail}")
    verdict = UNKNOWN if fits is None else CONFIRMED if fits else REFUTED
    return ProbeFinding(key=key, verdict=verdict, detail=detail, numbers=dict(numbers or {}))


def judged(key: str, fits: bool, detail: str, numbers: Mapping[str, float] | None = None) -> ProbeFinding:
    """Return a confirmed or refuted finding."""
    return ProbeFinding(key=key, verdict=CONFIRMED if fits else REFUTED, detail=detail, numbers=dict(numbers or {}))
