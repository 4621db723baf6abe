"""Evidence from ordinary runs: what a run's newest facts confirm or refute of what relay assumes about Kaggle. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestrator.base.humanize import duration, machine_time
from orchestrator.core import probe_evidence
from orchestrator.core.assumptions import Evidence, Verdict
from orchestrator.core.plan import checkpoint_of
from orchestrator.core.probe_evidence import (
    ProbedRun,
    evidence,
    of_datasets,
    of_end,
    of_outputs,
    of_pushes,
    of_times,
    seen_in,
)
from orchestrator.pipeline.environments import HARDWARE, HOUR_S
from orchestrator.platforms.port import DATASET_DECLINED, RENAMED, ROOM
from stages.contract import Progress
from stages.numerics import PLATFORM, PYTHON, Numerics
from stages.session.packages import announced
from stages.session.parent_checkpoint import MOUNTED
from stages.session.time_accounting import TimeClass
from state.facts.base import Fact, SessionFact
from state.facts.checkpoint import CheckpointPublished, DamageFound, DatasetDropped
from state.facts.run import RunFinished, RunParked, RunWaiting
from state.facts.session import NothingCollected, OutputCollected, PushConfirmed, PushHeld, PushRefused
from state.model.run_state import RunState, Session
from state.model.snapshot import QuotaRow
from state.model.statuses import Outcome

PROBES = frozenset(("probe", "measure"))
"""Kinds of stages of a probe's runs, whose evidence `relay probe` keeps."""
SAME = timedelta(days=1)
"""Age up to which evidence that says the same is not kept again."""
UNCLEAN = ("error", "cancel_acknowledged")
"""Kaggle's statuses of a session that did not end by itself."""
TIMES = frozenset(("queue-time", "start-up-time", "processing-time"))
"""Keys of which every measurement is kept, since forecasts use the newest ones."""
AT_LIMIT = 0.95
"""Share of a limit from which on a session counts as having reached it."""
SLOTS = re.compile(r"\b(TPU|GPU|CPU)?\s*session count of (\d+)", re.IGNORECASE)
TIME_LIMIT = "exceeded the max allowed execution duration"
"""Kaggle's message for a session that it stopped at the time limit."""
MOUNTS = ("{slug}", "datasets/{owner}/{slug}")
PYTHON_VERSION = re.compile(r"3\.(\d+)")
HOURS_PER_WEEK = {each.quota: each.hours_per_week for each in HARDWARE.values() if each.quota}
TOLD_EARLIER = timedelta(minutes=1)
"""Tolerance of the stated time of a renewal, for clocks that differ."""


@dataclass(frozen=True, kw_only=True)
class RunNews:
    """A run after a tick of the daemon: its state, its whole log, and what was new."""

    state: RunState
    facts: Sequence[tuple[datetime, Fact]]
    new: Sequence[Fact]
    logs: Mapping[tuple[int, int], Sequence[str]]
    """Beginning of the log of each session that was collected in this tick, by (number, attempt)."""


def evidence_after(news: RunNews) -> list[Evidence]:
    """Return what the new facts of an ordinary run on Kaggle show, with the time of each fact.

    Probes, which report themselves, and runs on other platforms show nothing.
    """
    run = ProbedRun(state=news.state, facts=news.facts, logs=news.logs)
    probing = any(stage.kind in PROBES for stage in run.pipeline.stages)
    if not news.new or probing or run.pipeline.platform != "kaggle":
        return []
    newest = news.facts[-len(news.new) :]
    found = (seen for place, (at, fact) in enumerate(newest, len(news.facts) - len(newest)) for seen in
             _of_fact(run, place, at, fact))  # fmt: skip
    return list(
        {seen.key: seen for seen in sorted(found, key=lambda seen: probe_evidence.WEIGHT.index(seen.verdict))}.values()
    )


def _of_fact(run: ProbedRun, place: int, at: datetime, fact: Fact) -> Iterator[Evidence]:
    match fact:
        case OutputCollected() | NothingCollected():
            session = run.state.session(fact.number, fact.attempt)
            yield from _of_session(_narrowed(run, place, session), session)
        case CheckpointPublished() | DatasetDropped():
            session = run.state.session(fact.number, fact.attempt)
            if session.platform == run.state.run.platform:  # else it was carried over
                yield from of_datasets(_narrowed(run, place, session))
        case PushHeld():
            return
        case PushRefused():
            yield from _of_refusal(at, fact.reason)
        case PushConfirmed():
            yield from _of_renewal(run.facts[: place + 1], at)
        case RunFinished() | RunParked():
            yield from _of_parking(at, fact)
            yield from of_end(replace(run, state=replace(run.state, sessions=()), facts=run.facts[: place + 1]))


def _narrowed(run: ProbedRun, place: int, session: Session) -> ProbedRun:
    """Return the run as if it had this session only, up to the fact at `place`."""
    name = checkpoint_of(run.state.run.id, *session.key)
    facts = [(at, fact) for at, fact in run.facts[: place + 1] if _concerns(fact, session, name)]
    return replace(run, state=replace(run.state, sessions=(session,)), facts=facts)


def _concerns(fact: Fact, session: Session, checkpoint: str) -> bool:
    if isinstance(fact, DamageFound):
        return fact.checkpoint == checkpoint
    return isinstance(fact, SessionFact) and (fact.number, fact.attempt) == session.key


def _of_session(run: ProbedRun, session: Session) -> Iterator[Evidence]:
    """Yield what a collected session shows."""
    yield from of_pushes(run)
    yield from of_times(run)
    yield from (seen for seen in of_outputs(run) if seen.key != "log-kept")  # relay has read it while it ran
    yield from of_end(run)
    yield from _of_unclean_end(run, session)
    yield from _of_limit(run, session)
    if session.outcome in (Outcome.FINISHED, Outcome.YIELDED):
        yield from _of_inputs(run, session)
        yield from _of_machine(run, session)


def _of_unclean_end(run: ProbedRun, session: Session) -> Iterator[Evidence]:
    """Yield whether files were kept of a session that did not end by itself; nothing if it had saved none."""
    if session.worker not in UNCLEAN:
        return
    saved = any(event and event.event == "saved" for event in map(Progress.from_line, run.logs.get(session.key, ())))
    if session.checkpoint or saved:
        left = "its checkpoint was there" if session.checkpoint else "the checkpoint that it had saved was not there"
        detail = f"a session ended as {session.worker.upper()}, and {left}"
        yield seen_in(run, "output-kept", bool(session.checkpoint), detail)


def _of_limit(run: ProbedRun, session: Session) -> Iterator[Evidence]:
    """Yield what the session's length shows: at Kaggle's limit, or ended before the one that relay had asked for."""
    if session.running_at is None or session.ended_at is None:
        return
    slot, limit_s = run.pipeline.slot, run.pipeline.hardware.limit_s
    lasted_s = max(0.0, (session.ended_at - session.running_at).total_seconds())
    told = TIME_LIMIT in session.worker_message
    numbers = {f"{slot}_s": lasted_s}
    detail = f"a session on a {slot.upper()} lasted {machine_time(lasted_s)} of {machine_time(limit_s)}"
    if told and lasted_s < AT_LIMIT * session.limit_s:
        yield seen_in(run, "session-limit", False, f"Kaggle stopped it at its limit: {detail}", **numbers)
    elif lasted_s >= AT_LIMIT * limit_s:
        yield seen_in(run, "session-limit", True, detail, **numbers)
    if told or (session.worker in UNCLEAN and lasted_s >= AT_LIMIT * session.limit_s):
        cancelled = session.worker == "cancel_acknowledged"
        yield seen_in(run, "limit-ends-cancelled", cancelled, f"ended as {session.worker.upper()}")


def _of_inputs(run: ProbedRun, session: Session) -> Iterator[Evidence]:
    """Yield what a session shows that has verified its checkpoint's bytes, read its models and trained."""
    if session.parent is not None:
        if run.pipeline.handoff == "kernel-output":
            yield seen_in(run, "kernel-output-mounted", True, "the session began from the output of the one before")
        else:
            size_bytes = run.state.checkpoint(session.parent).size_bytes
            hashed = f"a checkpoint of {size_bytes:,} bytes was mounted, every SHA-256 fits"
            yield seen_in(run, "sentinel-mounted", True, hashed)
            yield seen_in(run, "unknown-suffix-kept", True, hashed, size_bytes=float(size_bytes))
            layouts = [line.split(MOUNTED, 1)[1].strip() for line in run.logs.get(session.key, ()) if MOUNTED in line]
            if layouts:
                yield seen_in(run, "mount-layout", layouts[0] in MOUNTS, f"mounted as {layouts[0]}")
    if run.pipeline.model_sources and run.pipeline.needs_jax and session.seconds.get(TimeClass.MODEL.value):
        yield seen_in(run, "model-mounted", True, "the session loaded its model")
    installed_s = session.seconds.get(TimeClass.INSTALL.value, 0.0)
    if run.pipeline.internet and not run.pipeline.inputs.wheels and _installed(run, session):
        yield seen_in(run, "internet", True, f"pip installed packages in {duration(installed_s)}")


def _installed(run: ProbedRun, session: Session) -> bool:
    return any(announced(line) for line in run.logs.get(session.key, ()))


def _of_machine(run: ProbedRun, session: Session) -> Iterator[Evidence]:
    """Yield what the record of the session's machine shows, if its checkpoint has one of its own."""
    checkpoint = next((one for one in run.state.checkpoints if one.name == session.checkpoint), None)
    record = checkpoint.numerics if checkpoint else None
    if record is None or not record.claims:
        return
    platform = record.machine.get(PLATFORM, "")
    promise = run.pipeline.hardware.promise
    devices = re.match(r"\d+", record.machine.get("devices", ""))
    if devices and run.pipeline.slot != "cpu":
        detail = f"{devices[0]} devices of {platform or 'an unknown platform'}"
        fits = (platform, int(devices[0])) == (promise.platform, promise.devices)
        yield seen_in(run, "accelerator-devices", fits, detail, devices=float(devices[0]))
        if promise.platform == "tpu":
            yield seen_in(run, "tpu-image", platform == "tpu", f"the session's platform was {platform or 'unknown'}")
    yield from _of_python(run, record)


def _of_python(run: ProbedRun, record: Numerics) -> Iterator[Evidence]:
    told = record.machine.get(PYTHON, "")
    if version := PYTHON_VERSION.match(told):
        numbers = {"major": 3.0, "minor": float(version[1])}
        yield seen_in(run, "python-version", version[1] == "12", f"Python {told}", **numbers)


def _of_refusal(at: datetime, reason: str) -> Iterator[Evidence]:
    """Yield what a declined push says about the number of sessions."""
    found = SLOTS.search(reason)
    if found is None or not found[1]:
        return
    slot, count = found[1].lower(), int(found[2])
    assumed = {"tpu": 1, "gpu": 2, "cpu": 5}[slot]
    detail = f"Kaggle named {count} as the number of {slot.upper()} sessions"
    verdict = Verdict.CONFIRMED if count == assumed else Verdict.REFUTED
    yield evidence("sessions-at-once", verdict, at, detail, {slot: float(count)})


def _of_renewal(facts: Sequence[tuple[datetime, Fact]], at: datetime) -> Iterator[Evidence]:
    """Yield that the quota was renewed when Kaggle had said: the last push before this one had to wait for it."""
    earlier = next((place for place in range(len(facts) - 2, -1, -1) if isinstance(facts[place][1], PushConfirmed)), -1)
    waits = [fact for _, fact in facts[earlier + 1 :] if isinstance(fact, RunWaiting) and "quota" in fact.reason]
    if not waits or "since Kaggle does not say" in waits[-1].reason:
        return
    renewed = datetime.fromisoformat(waits[-1].until)
    if at >= renewed - TOLD_EARLIER:
        late_s = max(0.0, (at - renewed).total_seconds())
        detail = f"after the stated renewal of the quota a session was accepted, {duration(late_s)} later"
        yield evidence("quota-answered", Verdict.CONFIRMED, at, detail, {})


def _of_parking(at: datetime, fact: Fact) -> Iterator[Evidence]:
    reason = fact.reason if isinstance(fact, RunParked) else ""
    if RENAMED in reason:
        yield evidence("title-is-slug", Verdict.REFUTED, at, "a pushed kernel got another name", {})
    if DATASET_DECLINED in reason and ROOM.search(reason):
        yield evidence("private-storage", Verdict.REFUTED, at, "Kaggle had no room for another dataset", {})


def evidence_of_quota(quota: QuotaRow, at: datetime) -> list[Evidence]:
    """Return what a reading of the quota shows."""
    name = quota.accelerator.upper()
    if quota.assumed or quota.total_s is None:
        return [evidence("quota-answered", Verdict.REFUTED, at, f"no total for {name}s", {})]
    hours = HOURS_PER_WEEK.get(quota.accelerator)
    renewal = "a total and the time of its renewal" if quota.refreshes_at else "a total, and no time of its renewal"
    verdict = Verdict.CONFIRMED if quota.refreshes_at else Verdict.REFUTED
    found = [evidence("quota-answered", verdict, at, renewal, {})]
    if hours is not None:
        verdict = Verdict.CONFIRMED if quota.total_s == hours * HOUR_S else Verdict.REFUTED
        detail = f"{quota.total_s / HOUR_S:g} of {hours:g} {name} hours"
        found.append(evidence("weekly-quota", verdict, at, detail, {f"{quota.accelerator}_s": quota.total_s}))
    return found


def news_only(found: Sequence[Evidence], known: Sequence[Evidence]) -> list[Evidence]:
    """Return the evidence that is not yet known: another verdict, detail or number, or the same after a day."""
    newest = {seen.key: seen for seen in known}
    return [seen for seen in found if not _same(seen, newest.get(seen.key))]


def _same(seen: Evidence, before: Evidence | None) -> bool:
    return (
        before is not None
        and seen.key not in TIMES
        and replace(before, seen_at=seen.seen_at, endpoint=seen.endpoint) == seen
        and seen.seen_at - before.seen_at < SAME
    )
