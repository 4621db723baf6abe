"""Evidence from a probe's run: what its sessions saw, and what only the laptop sees. Pure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.base.humanize import counted, duration
from orchestrator.core.assumptions import ASSUMPTIONS, DETAIL_CHARS_MAX, Evidence, Verdict
from orchestrator.core.durations import INSTALL_S, QUEUE_S
from orchestrator.core.plan import limits_for
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.port import SOURCES_NOT_ACCEPTED
from stages.probing.findings import ProbeReport
from stages.session.packages import announced
from stages.session.time_accounting import TimeClass
from state.facts.base import Fact
from state.facts.checkpoint import CheckpointPublished, DamageFound, DatasetDropped, DatasetOffered
from state.facts.session import OutputCollected
from state.model.run_state import RunState, Session
from state.model.statuses import Outcome, RunStatus

PROCESSING_BYTES_PER_S = 0.5e9 / 60
PROCESSING_S = 60.0
STARTUP = (TimeClass.INSTALL, TimeClass.ACCELERATOR, TimeClass.RESTORE, TimeClass.OTHER)
"""Classes of a session's seconds that come before its first stage."""
VERSIONS_PREFIX = "relay-trial-versions-"
"""Beginning of the name of the dataset that a probe mounts by its first version."""
NO_NETWORK = (
    "name resolution",
    "ConnectTimeout",
    "NewConnectionError",
    "Network is unreachable",
    "Failed to establish",
)
"""Parts of pip's messages that show that a session has no internet."""
WEIGHT = (Verdict.UNKNOWN, Verdict.CONFIRMED, Verdict.REFUTED)
"""Verdicts of one run, the one that wins last."""
CAUSES = {
    "parent-corrupt": ("unknown-suffix-kept", "a session found the checkpoint changed"),
    "parent-missing": ("sentinel-mounted", "a session found no checkpoint"),
    "parent-mismatch": ("sentinel-mounted", "a session found another checkpoint"),
    "accelerator-missing": ("accelerator-devices", "the session had another accelerator"),
}
"""Assumption that a session's failure refutes, by the cause that it reports."""


@dataclass(frozen=True, kw_only=True)
class ProbedRun:
    """Everything that is known of a probe's run."""

    state: RunState
    facts: Sequence[tuple[datetime, Fact]]
    report: ProbeReport = field(default_factory=ProbeReport)
    logs: Mapping[tuple[int, int], Sequence[str]] = field(default_factory=dict)
    """Beginning of each session's log, by (number, attempt)."""

    @property
    def pipeline(self) -> Pipeline:
        """The derived pipeline."""
        return Pipeline.from_canonical(self.state.run.pipeline)

    @property
    def at(self) -> datetime:
        """Time of the run's last fact."""
        return self.facts[-1][0]


def evidence_of(run: ProbedRun) -> list[Evidence]:
    """Return the evidence of a run that has finished or was parked, one entry for each key.

    What one session refutes stays refuted, whatever another one saw; otherwise the last entry that is not unknown counts.
    """
    found: dict[str, Evidence] = {}
    for seen in (
        *of_pushes(run),
        *of_times(run),
        *of_outputs(run),
        *of_datasets(run),
        *_reported(run),
        *of_end(run),
    ):
        before = found.get(seen.key)
        if before is None or WEIGHT.index(seen.verdict) >= WEIGHT.index(before.verdict):
            found[seen.key] = seen
    return list(found.values())


def seen_in(run: ProbedRun, key: str, fits: bool | None, detail: str, **numbers: float) -> Evidence:
    """Return evidence from a run, with the time of its last fact; it is unknown if `fits` is None."""
    verdict = Verdict.UNKNOWN if fits is None else Verdict.CONFIRMED if fits else Verdict.REFUTED
    return evidence(key, verdict, run.at, detail, numbers)


def evidence(key: str, verdict: Verdict, at: datetime, detail: str, numbers: Mapping[str, float]) -> Evidence:
    """Return evidence whose detail is one line that is not too long."""
    line = "".join(char if char.isprintable() else " " for char in detail)
    return Evidence(key=key, verdict=verdict, seen_at=at, detail=line[:DETAIL_CHARS_MAX], numbers=dict(numbers))


def _reported(run: ProbedRun) -> Iterator[Evidence]:
    """Yield what the sessions themselves saw; a key that this relay does not know is left out."""
    for finding in run.report.findings:
        if finding.key in ASSUMPTIONS and finding.verdict in set(Verdict):
            known = ASSUMPTIONS[finding.key].numbers
            told = finding.numbers.items()
            numbers = {name: value for name, value in told if name in known and 0 <= value < math.inf}
            yield evidence(finding.key, Verdict(finding.verdict), run.at, finding.detail, numbers)


def of_pushes(run: ProbedRun) -> Iterator[Evidence]:
    """Yield what the pushes show: names and versions."""
    pushed = [session for session in run.state.sessions if session.pushed_at is not None]
    if not pushed:
        return
    yield seen_in(run, "title-is-slug", True, f"the name of the push was kept by {_count(pushed, 'kernel')}")
    ended = [session for session in pushed if session.kernel_version is not None and session.ended_at is not None]
    if ended:
        yield seen_in(run, "version-label", True, f"the status of v{ended[-1].kernel_version} was answered")


def of_times(run: ProbedRun) -> Iterator[Evidence]:
    """Yield what the sessions' times show: queue, start-up, packages."""
    slot, sessions = run.pipeline.slot, run.state.sessions
    waits = [(s.running_at - s.pushed_at).total_seconds() for s in sessions if s.running_at and s.pushed_at]
    if waits := [max(0.0, wait) for wait in waits]:
        told = " and ".join(map(duration, waits))
        detail = f"waited {told} for a {slot.upper()}"
        yield seen_in(run, "queue-time", max(waits) <= QUEUE_S[slot].high_s, detail, **{f"{slot}_s": max(waits)})
    for session in sessions:
        if session.seconds:
            install_s = session.seconds.get(TimeClass.INSTALL.value, 0.0)
            if not run.report.stand_in:
                yield _of_startup(run, session, install_s)
            if slot != "cpu":  # the image of CPU sessions is another one
                yield _of_packages(run, session, install_s)


def _of_startup(run: ProbedRun, session: Session, install_s: float) -> Evidence:
    """Return how long a session took to begin; without a number if it had nothing to install."""
    startup_s = sum(session.seconds.get(kind.value, 0.0) for kind in STARTUP)
    detail = f"{duration(startup_s)} until the first stage began, {duration(install_s)} of it for packages"
    numbers = {f"{run.pipeline.slot}_s": startup_s} if run.pipeline.pins else {}
    return seen_in(run, "start-up-time", startup_s <= INSTALL_S.high_s, detail, **numbers)


def _of_packages(run: ProbedRun, session: Session, install_s: float) -> Evidence:
    counted = next((found for line in run.logs.get(session.key, ()) if (found := announced(line))), None)
    if run.report.stand_in:
        return seen_in(run, "image-packages", None, "the user's machine stands in")
    if not run.pipeline.pins:
        return seen_in(run, "image-packages", None, "the pipeline pins no packages")
    if counted is None and install_s == 0:
        return seen_in(run, "image-packages", False, "the image has every pinned package")
    packages = f"{counted[0]} of {counted[1]} packages" if counted else "packages"
    return seen_in(run, "image-packages", install_s > 0, f"pip installed {packages} in {duration(install_s)}")


def of_outputs(run: ProbedRun) -> Iterator[Evidence]:
    """Yield what the collected outputs and logs show."""
    collected = [fact for _, fact in run.facts if isinstance(fact, OutputCollected)]
    damaged = [fact for _, fact in run.facts if isinstance(fact, DamageFound) and fact.place == "output"]
    ended = [session for session in run.state.sessions if session.ended_at is not None]
    if collected:
        files = sum(len(fact.manifest.files) + 1 for fact in collected)
        outputs = _count(collected, "session")
        yield seen_in(run, "output-kept", True, f"the checkpoints of {outputs} were there after a regular end")
        yield seen_in(run, "output-listed-complete", True, f"{counted(files, 'file')} listed", files=float(files))
        yield seen_in(
            run,
            "output-unchanged",
            not damaged,
            damaged[0].problem if damaged else f"{counted(files, 'file')}, every SHA-256 fits",
        )
    if ended:
        empty = [session for session in ended if not run.logs.get(session.key)]
        yield seen_in(run, "log-kept", not empty, f"{len(ended) - len(empty)} of {_count(ended, 'log')} could be read")


def of_datasets(run: ProbedRun) -> Iterator[Evidence]:
    """Yield what the checkpoints' datasets show."""
    offered: dict[tuple[int, int], datetime] = {}
    damaged = [fact.problem for _, fact in run.facts if isinstance(fact, DamageFound) and fact.place == "dataset"]
    dropped = any(isinstance(fact, DatasetDropped) for _, fact in run.facts)
    if damaged:
        yield seen_in(run, "unknown-suffix-kept", False, f"in a dataset, {damaged[0]}")
    for at, fact in run.facts:
        if isinstance(fact, DatasetOffered):
            offered[fact.number, fact.attempt] = at
        if isinstance(fact, CheckpointPublished) and (fact.number, fact.attempt) in offered:
            took_s = max(0.0, (at - offered[fact.number, fact.attempt]).total_seconds())
            size_bytes = _size_bytes(run.state, fact.number, fact.attempt)
            looked_s = 2 * limits_for(run.pipeline).poll_s  # relay notices it at its next poll
            limit_s = PROCESSING_S + size_bytes / PROCESSING_BYTES_PER_S + looked_s
            detail = f"ready and listed {duration(took_s)} after the upload of {size_bytes:,} bytes"
            yield seen_in(
                run, "processing-time", took_s <= limit_s, detail, processing_s=took_s, size_bytes=float(size_bytes)
            )
    if not damaged and (offered or dropped):
        detail = (
            "a dataset that Kaggle accepted was not shown"
            if dropped
            else f"accepted and shown: {_count(list(offered), 'dataset')}"
        )
        yield seen_in(run, "accepted-dataset-shown", not dropped, detail)
    if run.pipeline.handoff == "kernel-output" and run.report.findings and len(run.state.checkpoints) > 1:
        yield seen_in(run, "kernel-output-mounted", True, "the second session began from the output of the first")


def _size_bytes(state: RunState, number: int, attempt: int) -> int:
    return next((c.size_bytes for c in state.checkpoints if (c.session, c.attempt) == (number, attempt)), 0)


def of_end(run: ProbedRun) -> Iterator[Evidence]:
    """Yield what the run's end shows: that all calls were answered as expected, or what failed sessions refute."""
    if run.state.run.status is RunStatus.FINISHED:
        yield seen_in(run, "api-shapes", True, "every call of a complete run was answered as expected")
    if refuses_version(run.state):
        yield seen_in(run, "dataset-version-mounts", False, "Kaggle did not accept a dataset source with a version")
    elif SOURCES_NOT_ACCEPTED in run.state.run.reason and run.pipeline.model_sources:
        yield seen_in(run, "model-mounted", False, "Kaggle did not accept a source of the session")
    for session in run.state.sessions:
        if session.outcome is Outcome.FAILED:
            yield from _of_failure(run, session)


def refuses_version(state: RunState) -> bool:
    """Return True if a probe was parked because Kaggle does not accept its dataset source with a version."""
    return SOURCES_NOT_ACCEPTED in state.run.reason and VERSIONS_PREFIX in state.run.reason


def _of_failure(run: ProbedRun, session: Session) -> Iterator[Evidence]:
    """Yield what a failed session refutes, also if a later attempt succeeded."""
    if session.cause == "parent-missing" and run.pipeline.handoff == "kernel-output":
        yield seen_in(run, "kernel-output-mounted", False, "a session did not find the output of the one before")
    elif session.cause in CAUSES:
        key, detail = CAUSES[session.cause]
        yield seen_in(run, key, False, detail)
    if session.cause == "accelerator-missing" and run.pipeline.slot == "tpu" and "cpu found" in session.reason:
        yield seen_in(run, "tpu-image", False, "the session ran without a TPU")
    if (
        session.cause == "environment-install"
        and run.pipeline.internet
        and any(word in session.reason for word in NO_NETWORK)
    ):
        yield seen_in(run, "internet", False, "pip reached no package index")


def _count(things: Sequence[Any], what: str) -> str:
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}"
