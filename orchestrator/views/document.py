"""The status as one stable JSON document (see docs/status.md), from which all other views of a run are drawn."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from orchestrator.base import process_id
from orchestrator.base.humanize import bounded_s
from orchestrator.core.goodput import goodput
from orchestrator.engine.home import HomeLayout
from orchestrator.pipeline.stage_plan import StagePlan
from orchestrator.platforms.names import word_in
from orchestrator.views.checkpoint_document import checkpoint_document
from orchestrator.views.curves import Curves
from orchestrator.views.fact_documents import damage_document, model_document
from orchestrator.views.lost import damaged_document, lost_documents
from orchestrator.views.memory_peaks import add_planned, measured_document
from orchestrator.views.next_action import next_action
from orchestrator.views.numerics import numerics_document
from orchestrator.views.open_run_forecast import open_run_forecast
from orchestrator.views.origin_text import origin_document
from orchestrator.views.pipeline_changes import pipeline_changes
from orchestrator.views.platform_moves import platform_moves
from orchestrator.views.run_choice import EVERY_RUN, RunChoice, most_urgent
from stages.contract import STAND_IN_METRIC, Cursor
from state.facts.base import Fact
from state.facts.checkpoint import DamageFound, ModelPublished
from state.facts.run import PipelineChanged, PlatformLeft
from state.failures import StoreCorrupt, StoreGone
from state.leases import Lease
from state.model.metrics import Metric
from state.model.poll_state import PollState
from state.model.run_state import RunState, Session
from state.model.snapshot import QuotaRow, Request
from state.model.statuses import RunStatus
from state.reader import Reader

FORMAT = 1
CURVE_POINTS = 40
IN_LISTS = (DamageFound, PipelineChanged, PlatformLeft, ModelPublished)
"""Facts of an open run that are read for a list; the others are verified and not parsed."""
ABSENT_MIN = 3
"""Consecutive responses without the kernel before the user is asked whether it was deleted."""


def status_document(
    store: Reader | None,
    home: Path,
    now: datetime,
    run: str | None = None,
    warnings: Sequence[str] = (),
    alive: Callable[[str], bool | None] = process_id.is_alive,
    choice: RunChoice = EVERY_RUN,
) -> dict[str, Any]:
    """Describe every run (or one) of a home folder, and the quota as last read. Only the database, evidence and
    `memory-plans` are read.

    `choice` selects runs; with `most` the time does not grow with the number of runs. In a list (`brief` or `most`) runs
    that are over are described from their rows alone, without metrics and damage, unless there is only one. A damaged
    run is listed apart from the others; if it is the requested one, RunDamaged is raised. `alive` returns whether the
    daemon's process runs, None if unknown.
    """
    runs: list[dict[str, Any]] = []
    damaged: list[dict[str, Any]] = []
    daemon, others = None, 0
    quotas: list[QuotaRow] = []
    if store is not None:
        daemon = daemon_document(store.lease(), now, alive)
        names, others = ([run], 0) if run is not None else _chosen(store, choice)
        tell = _in_brief if (choice.brief or choice.most is not None) and len(names) != 1 else _run
        for name in names:
            try:
                runs.append(tell(store, name, now, daemon, home))
            except StoreCorrupt as error:
                if run is not None or isinstance(error, StoreGone):
                    raise
                damaged.append(damaged_document(name, error))
        quotas = store.quotas()
    return {
        "format": FORMAT,
        "home": str(home),
        "at": _time(now),
        "warnings": list(warnings),
        "daemon": daemon,
        "runs": add_planned(runs, HomeLayout(home)),
        "damaged": damaged,
        "lost": [] if run is not None else lost_documents(store, HomeLayout(home)),
        "others": others,
        "quota": [quota_document(q) for q in quotas],
    }


def _chosen(store: Reader, choice: RunChoice) -> tuple[list[str], int]:
    """Return the ids of the chosen runs, oldest first, and the number of others that only `most` leaves out."""
    if choice.filters:
        taken = [run for run in store.runs() if choice.takes(run)]
        names = most_urgent(taken, choice.most)
        return names, len(taken) - len(names)
    if choice.most is not None:
        return store.by_priority(choice.most)
    return [name for name, _ in store.run_names()], 0


def curves_of(store: Reader | None, document: dict[str, Any]) -> dict[str, Curves]:
    """Return the values of each metric of each stage over the steps, by run, if exactly one run is shown."""
    if store is None or len(document["runs"]) != 1:
        return {}
    run = document["runs"][0]["id"]
    found: dict[tuple[str, str], list[float]] = {}
    for point in store.series(run, CURVE_POINTS):
        found.setdefault((point.stage, point.name), []).append(point.value)
    return {run: found}


def _run(
    store: Reader,
    name: str,
    now: datetime,
    daemon: dict[str, Any] | None,
    home: Path,
    kinds: Collection[type[Fact]] | None = None,
) -> dict[str, Any]:
    state, facts = store.load_with_facts(name, kinds)
    watch = store.watch(name)
    found = {
        **run_document(state, store.last_metrics(name), now, facts, watch.seconds),
        **failure_document(watch),
        **open_run_forecast(store, state, now, home),
        "requests": [_request(request) for request in store.requests(name)],
    }
    return {**found, "to_do": next_action(found, daemon, now)}


def _in_brief(store: Reader, name: str, now: datetime, daemon: dict[str, Any] | None, home: Path) -> dict[str, Any]:
    if store.status(name) not in (RunStatus.FINISHED, RunStatus.CANCELLED):
        return _run(store, name, now, daemon, home, IN_LISTS)
    state = store.rows(name)
    requests = [_request(request) for request in store.requests(name)]
    found = {**run_document(state, (), now), **failure_document(PollState()), "requests": requests}
    return {**found, "to_do": next_action(found, daemon, now)}


def daemon_document(
    lease: Lease | None, now: datetime, alive: Callable[[str], bool | None] = process_id.is_alive
) -> dict[str, Any] | None:
    """Describe the daemon that executes the runs, or the last one.

    A lease that has not expired counts as running unless its process is known to be gone.
    """
    if lease is None:
        return None
    host, pid, _ = process_id.split_holder(lease.holder)
    runs = lease.held(now, alive(lease.holder))
    return {"runs": runs, "host": host, "pid": pid, "lease_until": _time(lease.expires_at)}


def _request(request: Request) -> dict[str, Any]:
    return {"verb": request.verb, "arguments": request.shown_arguments, "made_at": _time(request.made_at)}


def failure_document(watch: PollState) -> dict[str, Any]:
    """Describe the last failure that will be retried."""
    again = watch.not_before if watch.failure else None
    absent = bool(again) and watch.failures > 0 and watch.absences >= ABSENT_MIN
    failures = watch.failures if again else 0
    return {"failure": watch.failure if again else "", "failures": failures, "retry_at": _time(again), "absent": absent}


def run_document(
    state: RunState,
    metrics: Sequence[Metric],
    now: datetime,
    facts: Sequence[tuple[datetime, Fact]] = (),
    live_seconds: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, Any]:
    """Describe one run: its position, its history and what the user has to do.

    `facts` supply the damage that was found, the changes of the pipeline and the published models. `live_seconds` is the
    live session's time accounting so far. `forecast`
    stays empty here, since it needs more than the run's own rows; `status_document` adds it.
    """
    milestones = StagePlan.from_canonical(state.run.pipeline)
    cursor, run = state.head.cursor if state.head else milestones.beginning, state.run
    platforms = [word_in(stored) for stored in (*(left.site for left in run.left_platforms), run.pipeline)]
    sessions = [_session(s, platforms, run.owner_at(s.platform), now, live_seconds) for s in state.sessions]
    return {
        "id": run.id,
        "name": run.name,
        "owner": run.owner,
        "accelerator": run.accelerator,
        "platform": platforms[-1],
        "home": run.home,
        "pipeline": run.pipeline_path,
        "pipeline_digest": run.pipeline_digest,
        "origin": origin_document(run.origin),
        "state": run.status.value,
        "reason": run.reason,
        "remedy": run.remedy,
        "excerpt": run.excerpt,
        "waiting_until": _time(run.waiting_until),
        "created_at": _time(run.created_at),
        "updated_at": _time(run.updated_at),
        "cursor": _cursor(cursor),
        "steps_done": milestones.position(cursor),
        "steps_total": milestones.total_steps,
        "stages": _stages(milestones, cursor, state, metrics),
        "sessions": sessions,
        "quota_spent": goodput(sessions),
        "checkpoints": [checkpoint_document(state, checkpoint, platforms) for checkpoint in state.checkpoints],
        "numerics": numerics_document(state),
        "damage": [damage_document(at, fact) for at, fact in facts if isinstance(fact, DamageFound)],
        "changes": [*pipeline_changes(facts)],
        "moves": [*platform_moves(state, platforms, facts)],
        "memory": measured_document(facts, metrics),
        "models": [model_document(at, fact) for at, fact in facts if isinstance(fact, ModelPublished)],
        "forecast": None,
        "forecast_problem": "",
    }


def _stages(milestones: StagePlan, cursor: Cursor, state: RunState, metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    done = milestones.position(cursor)
    live = state.last if state.last and not state.last.phase.over else None
    found, before = [], 0
    for stage in milestones.stages:
        mine = [metric for metric in metrics if metric.stage == stage.name]
        seen = [m.step for m in mine if live and (m.session, m.attempt) == live.key]
        verified = min(stage.steps, max(0, done - before))
        found.append(
            {
                "name": stage.name,
                "kind": stage.kind,
                "target": stage.steps,
                "done": verified,
                "seen": max([verified, *seen]),
                "metrics": {metric.name: metric.value for metric in mine if _measures(metric.name)},
                "stand_ins": [
                    metric.name.removeprefix(STAND_IN_METRIC)
                    for metric in mine
                    if metric.name.startswith(STAND_IN_METRIC)
                ],
            }
        )
        before += stage.steps
    return found


def _measures(name: str) -> bool:
    """Return whether a metric is a measurement of a step."""
    return name != "done" and not name.startswith(STAND_IN_METRIC)


def _session(
    session: Session, platforms: Sequence[str], owner: str, now: datetime, live_seconds: Mapping[str, float]
) -> dict[str, Any]:
    live = session.running_at is not None and session.ended_at is None
    accounted = dict(live_seconds if live else session.seconds)
    return {
        "number": session.number,
        "attempt": session.attempt,
        "slug": session.slug,
        "platform": platforms[session.platform],
        "owner": owner,
        "kernel_version": session.kernel_version,
        "phase": session.phase.value,
        "outcome": session.outcome.value if session.outcome else None,
        "cause": session.cause,
        "reason": session.reason,
        "from": _cursor(session.start),
        "to": _cursor(session.reached),
        "furthest": _cursor(session.furthest),
        "steps_lost": session.steps_lost,
        "parent": session.parent,
        "checkpoint": session.checkpoint,
        "budget_s": session.budget_s,
        "limit_s": session.limit_s,
        "stops_by": _time(_stops_by(session)),
        "seconds": _duration_s(session, accounted, now),
        "accounted": accounted,
        "kept_s": session.kept_s,
        "planned_at": _time(session.planned_at),
        "pushed_at": _time(session.pushed_at),
        "twin": _twin(session),
        "running_at": _time(session.running_at),
        "ended_at": _time(session.ended_at),
    }


def _duration_s(session: Session, accounted: Mapping[str, float], now: datetime) -> float | None:
    """Return how long the session has had its machine: at most its limit, at least what its own clock reported.

    If this machine's clock was set meanwhile, only the session's own clock counts. Returns None if that reported
    nothing.
    """
    end = session.ended_at or (now if session.running_at else None)
    begin = session.running_at or session.pushed_at
    if begin is None or end is None:
        return None
    told_s = sum(accounted.values())
    if end < begin and told_s <= 0:
        return None
    return round(min(session.limit_s, max(told_s, bounded_s(end - begin, session.limit_s))), 3)


def _twin(session: Session) -> dict[str, Any] | None:
    """Describe the unwanted second session of the same kernel."""
    if session.twin is None:
        return None
    return {"version": session.twin, "at": _time(session.twin_at), "ended_at": _time(session.twin_ended_at)}


def _stops_by(session: Session) -> datetime | None:
    """Return the time by which a running session will have saved everything, as far as its start was observed."""
    if session.running_at is None or session.ended_at is not None:
        return None
    return session.running_at + timedelta(seconds=session.budget_s)


def quota_document(quota: QuotaRow) -> dict[str, Any]:
    return {
        "owner": quota.owner,
        "accelerator": quota.accelerator,
        "used_s": quota.used_s,
        "reserved_s": quota.reserved_s,
        "total_s": quota.total_s,
        "left_s": quota.left_s,
        "refreshes_at": _time(quota.refreshes_at),
        "read_at": _time(quota.read_at),
        "assumed": quota.assumed,
    }


def _cursor(cursor: Cursor | None) -> dict[str, Any] | None:
    return None if cursor is None else {"stage": cursor.stage, "step": cursor.step}


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
