"""See how a session is, and take in what it says."""

from dataclasses import replace

from orchestrator.effects.shell import Result, Shell
from orchestrator.errors import Refused, Transient, Vanished
from orchestrator.kaggle.gateway import Gateway, LogLine, SessionSeen, Worker
from stages.contract import Progress
from state.facts import (
    Fact,
    SeenEnded,
    SeenQueued,
    SeenRunning,
)
from state.model import Metric, Phase, Session, Snapshot, Watch

WELL = Watch()
"""Nothing fails."""


def look(snapshot: Snapshot, session: Session, shell: Shell) -> Result:
    """Ask how the session is; take in the part of its log that is new."""
    version, seen = seen_of(session.slug, session.kernel_version, shell.gateway)
    session = replace(session, kernel_version=version)
    if seen.worker is Worker.NEW_SCRIPT:
        raise Vanished(f"Kaggle has {session.slug} and says that it never ran")
    if seen.worker is Worker.UNKNOWN:
        require(session, shell)
        raise Transient(f"Kaggle's answer about {session.slug} made no sense: {seen.message or seen.worker}")
    facts: list[Fact] = []
    if seen.worker is Worker.QUEUED and session.phase is Phase.PUSHED:
        facts.append(SeenQueued(number=session.number, attempt=session.attempt))
    if seen.worker is Worker.RUNNING and session.phase is not Phase.RUNNING:
        facts.append(SeenRunning(number=session.number, attempt=session.attempt))
    if seen.worker.terminal:
        ended = SeenEnded(
            number=session.number, attempt=session.attempt, worker=seen.worker.value, message=seen.message
        )
        return Result((*facts, ended), replace(WELL, looked_at=shell.clock.now()))
    known = snapshot.watch.log_lines
    lines = taken_in(session, shell) if seen.worker is Worker.RUNNING else ()
    watch = replace(
        WELL,
        looked_at=shell.clock.now(),
        dataset_looked_at=snapshot.watch.dataset_looked_at,
        log_lines=max(known, len(lines)),
    )
    return Result(tuple(facts), watch, metrics_in(session, lines, known))


def seen_of(slug: str, version: int | None, gateway: Gateway) -> tuple[int | None, SessionSeen]:
    """How a kernel's session is, and the version to ask about.

    The newest version, or the one that the answer to a push named, need not be the one that runs; then we ask without one.
    """
    seen = gateway.session(slug, version)
    if seen.worker is Worker.NEW_SCRIPT and version is not None:
        return None, gateway.session(slug, None)
    return version, seen


def require(session: Session, shell: Shell) -> None:
    """Raise Vanished where Kaggle has no kernel of the session's name."""
    if shell.gateway.find_kernel(session.slug) is None:
        raise Vanished(f"Kaggle has no kernel {session.slug} any more")


def taken_in(session: Session, shell: Shell) -> tuple[LogLine, ...]:
    """The log as Kaggle shows it now, added to the file on this disk; a log that cannot be had holds nothing up."""
    try:
        lines = shell.gateway.log(session.slug, session.kernel_version)
    except (Transient, Refused):
        return ()
    shell.home.append_log(session, lines)
    return lines


def metrics_in(session: Session, lines: tuple[LogLine, ...], known: int = 0) -> tuple[Metric, ...]:
    """The values in a log's lines from number `known` on."""
    found = []
    for line in lines:
        event = Progress.from_line(line.text) if line.number >= known else None
        if event is None or event.event != "step":
            continue
        for name, value in sorted((event.metrics or {"done": float(event.step)}).items()):
            found.append(
                Metric(
                    run=session.run,
                    session=session.number,
                    attempt=session.attempt,
                    number=event.number,
                    stage=event.stage,
                    step=event.step,
                    name=name,
                    value=value,
                    at_s=event.at_s,
                )
            )
    return tuple(found)
