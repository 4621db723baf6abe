"""The metrics of all sessions of a run as one series without repeated steps. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.pipeline.stage_plan import StagePlan
from stages.contract import STAND_IN_METRIC
from state.model.metrics import Metric
from state.model.run_state import RunState, Session

Key = tuple[int, int]
"""Number and attempt of a session."""


@dataclass(frozen=True)
class JoinedStep:
    """Values of one step, all of one session."""

    position: int
    """Steps from the beginning of the pipeline."""
    stage: str
    step: int
    session: int
    attempt: int
    at_s: float
    """Seconds on the session's clock."""
    at: datetime | None
    """The same as a time of day; None if the session was never seen running."""
    verified: bool
    """True if the run's newest checkpoint contains the step."""
    values: dict[str, float]


@dataclass(frozen=True)
class JoinedMetrics:
    """Steps of a run in order, each once."""

    steps: list[JoinedStep]
    repeated: int
    """Number of reports of a step that were left out, since another session did the step again."""

    @property
    def names(self) -> list[str]:
        """Names of all metrics, sorted."""
        return sorted({name for step in self.steps for name in step.values})

    @property
    def stand_ins(self) -> list[str]:
        """Names of what stand-ins of a rehearsal replaced in any step, sorted: data sets, or `model`."""
        return [name.removeprefix(STAND_IN_METRIC) for name in self.names if name.startswith(STAND_IN_METRIC)]

    @property
    def sessions(self) -> int:
        """Number of sessions and attempts of which steps are kept."""
        return len({(step.session, step.attempt) for step in self.steps})


def joined(state: RunState, metrics: Iterable[Metric]) -> JoinedMetrics:
    """Join the metrics of a run's sessions.

    Of a step that several sessions did, that of the last session counts whose checkpoint contains it and was carried on
    from; if there is none, the last report. Metrics of stages that the pipeline no longer has are left out.
    """
    plan = StagePlan.from_canonical(state.run.pipeline)
    begins = {stage.name: sum(other.steps for other in plan.stages[:n]) for n, stage in enumerate(plan.stages)}
    head = plan.position(state.head.cursor) if state.head else 0
    sessions = {session.key: session for session in state.sessions}
    kept = {key: min(head, plan.position(s.reached)) if s.reached else 0 for key, s in sessions.items()}
    found: dict[int, dict[Key, list[Metric]]] = {}
    for metric in metrics:
        if metric.stage in begins and metric.name != "done":
            reports = found.setdefault(begins[metric.stage] + metric.step, {})
            reports.setdefault((metric.session, metric.attempt), []).append(metric)
    steps, repeated = [], 0
    for position in sorted(found):
        reports = found[position]
        key = max(reports, key=lambda each: (position <= kept.get(each, 0), each))
        steps.append(_step(position, reports[key], sessions.get(key), verified=position <= kept.get(key, 0)))
        repeated += len(reports) - 1
    return JoinedMetrics(steps, repeated)


def _step(position: int, reports: list[Metric], session: Session | None, *, verified: bool) -> JoinedStep:
    last = max(reports, key=lambda metric: metric.number)
    values = {metric.name: metric.value for metric in sorted(reports, key=lambda metric: metric.number)}
    began_at = session.running_at if session else None
    at = began_at + timedelta(seconds=last.at_s) if began_at else None
    return JoinedStep(
        position, last.stage, last.step, last.session, last.attempt, last.at_s, at, verified, values
    )  # fmt: skip
