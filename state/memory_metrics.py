"""Metrics of the in-memory store, and the queries on them that `state.curves` answers from a database."""

from collections import Counter
from collections.abc import Iterable, Sequence

from state.model.metrics import CurvePoint, Metric, StepEdges, StepSeen


class MemoryMetrics:
    """Metrics of all runs. Not synchronized: the store that holds them locks."""

    def __init__(self) -> None:
        self._metrics: dict[tuple[str, int, int, int, str], Metric] = {}

    def copy(self) -> "MemoryMetrics":
        """Return an independent copy."""
        other = MemoryMetrics()
        other._metrics = dict(self._metrics)
        return other

    def add(self, metrics: Iterable[Metric]) -> None:
        """Add metrics; skip those already stored, since a replayed event has the same values."""
        for metric in metrics:
            key = (metric.run, metric.session, metric.attempt, metric.number, metric.name)
            self._metrics.setdefault(key, metric)

    def of(self, run: str, session: tuple[int, int] | None = None) -> list[Metric]:
        """Return a run's metrics, or those of one of its sessions, ordered by session and event."""
        found = [m for m in self._metrics.values() if m.run == run and session in (None, (m.session, m.attempt))]
        return sorted(found, key=lambda m: (m.session, m.attempt, m.number, m.name))


def newest_values(metrics: Sequence[Metric]) -> list[Metric]:
    """Return the newest value of each metric of each stage. `metrics` are ordered, as for all functions below."""
    newest = {(metric.stage, metric.name): metric for metric in metrics}
    return [newest[key] for key in sorted(newest)]


def steps_seen(metrics: Sequence[Metric], newest: int) -> list[StepSeen]:
    """Return completed steps in order: the `newest` of each stage, and each stage's first in each session."""
    found: list[StepSeen] = []
    for metric in metrics:
        step = StepSeen(
            session=metric.session, attempt=metric.attempt, stage=metric.stage, step=metric.step, at_s=metric.at_s
        )
        if not found or found[-1] != step:
            found.append(step)
    kept, of_stage, begun = [], Counter(step.stage for step in found), set()
    for step in found:
        key = (step.session, step.attempt, step.stage)
        if key not in begun or of_stage[step.stage] <= newest:
            kept.append(step)
        begun.add(key)
        of_stage[step.stage] -= 1
    return kept


def points(metrics: Sequence[Metric], points_max: int) -> list[CurvePoint]:
    """Return each metric of each stage over its steps, sorted, with at most `points_max` points per curve."""
    widths = _widths(metrics, points_max)
    buckets: dict[tuple[str, str, int], list[Metric]] = {}
    for metric in metrics:
        buckets.setdefault((metric.stage, metric.name, metric.step // widths[metric.stage]), []).append(metric)
    return [_point(stage, name, found) for (stage, name, _), found in sorted(buckets.items())]


def _point(stage: str, name: str, found: list[Metric]) -> CurvePoint:
    values = [metric.value for metric in found]
    step, mean = max(metric.step for metric in found), sum(values) / len(values)
    return CurvePoint(stage=stage, name=name, step=step, value=mean, low=min(values), high=max(values))


def step_times(metrics: Sequence[Metric], points_max: int) -> list[StepSeen]:
    """Return when steps were completed, by stage and session, thinned as `points` thins curves."""
    widths = _widths(metrics, points_max)
    buckets: dict[tuple[str, int, int, int], list[Metric]] = {}
    for metric in metrics:
        key = (metric.stage, metric.session, metric.attempt, metric.step // widths[metric.stage])
        buckets.setdefault(key, []).append(metric)
    return [
        StepSeen(
            session=session,
            attempt=attempt,
            stage=stage,
            step=max(metric.step for metric in found),
            at_s=max(metric.at_s for metric in found),
        )
        for (stage, session, attempt, _), found in sorted(buckets.items())
    ]


def _widths(metrics: Sequence[Metric], points_max: int) -> dict[str, int]:
    """Return the number of steps that become one point, by stage."""
    last: dict[str, int] = {}
    for metric in metrics:
        last[metric.stage] = max(last.get(metric.stage, 0), metric.step)
    return {stage: step // points_max + 1 for stage, step in last.items()}


def step_edges(metrics: Sequence[Metric]) -> list[StepEdges]:
    """Return the times of each session's first and last reported step, ordered by session."""
    times: dict[tuple[int, int], list[float]] = {}
    for metric in metrics:
        times.setdefault((metric.session, metric.attempt), []).append(metric.at_s)
    return [
        StepEdges(session=session, attempt=attempt, first_at_s=min(found), last_at_s=max(found))
        for (session, attempt), found in sorted(times.items())
    ]
