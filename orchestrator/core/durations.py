"""Estimates durations: as sessions measured them, else as the pipeline expects, else as assumed for Kaggle. Pure."""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from orchestrator.core.estimates import MEASURED_SHARE, Estimate, TimeSource, best
from orchestrator.core.probed_times import NOT_PROBED, ProbedTimes
from orchestrator.core.run_history import RunHistory
from orchestrator.core.step_times import Told, as_estimate, same_conditions, same_work, stated, step_estimate
from orchestrator.pipeline.measured import measured_stages
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.sections import Stage
from stages.catalog import find
from state.facts.base import Fact
from state.facts.session import NothingCollected, OutputCollected
from state.model.run_state import Session

QUEUE_S = {
    "tpu": Estimate(900, 420, 1800),  # users report 7 to 30 minutes as typical, and sometimes up to 4 hours
    "gpu": Estimate(120, 20, 600),  # no published numbers: short, since users do not complain
    "cpu": Estimate(30, 5, 120),
}
"""Seconds from the push until the session runs, by kind of accelerator."""
HANDOVER_S = Estimate(600, 180, 1800)
"""Seconds from a session's end until the next one is pushed.

Usual: a gigabyte (a LoRA of rank 64 on 2B parameters) downloaded and uploaded at 5 MB/s, plus a minute of processing
per half gigabyte (measured by others). Worst: 1.4 MB/s (measured by one user) and the 10 to 15 minutes of processing in
old reports.
"""
INSTALL_S = Estimate(240, 90, 600)
"""Seconds to install pins, check the checkpoint's digests and unpack. Not measured on Kaggle."""
BARE_S = Estimate(10, 2, 30)
"""Start-up seconds of a session that installs nothing."""
FIRST_S = Estimate(300, 60, 600)
"""Extra seconds of a stage's first step: loading the model and compiling (reported: up to 5 minutes)."""
SAVE_S = Estimate(30, 10, 60)
"""Upper bound, in seconds, that a session assumes for a save before its first one."""
SHORT_S = 600.0
"""Session limit in seconds below which a run counts as a rehearsal: assumed durations shrink in proportion."""
QUICK_S = Estimate(1, 0, 2)
"""Extra seconds of a first step, and seconds of a save, in a pipeline that does not need JAX."""
SESSION_S_MAX = 12 * 3600.0
"""Longest session, in seconds. A report that states a longer duration is ignored."""
BETWEEN_S_MAX = 24 * 3600.0
"""Longest plausible time between two sessions, in seconds."""
INTERVALS_KEPT = 400
"""Number of a stage's newest steps that are used: completions grow longer while a model learns."""


@dataclass(frozen=True, kw_only=True)
class Times:
    """Estimated durations of one pipeline. A stage that is missing in `step_s` has no known step time."""

    queue_s: Estimate
    handover_s: Estimate
    startup_s: Estimate
    """Seconds from a session's start until its first stage begins."""
    save_s: Estimate
    first_s: Mapping[str, Estimate]
    """Extra seconds of the first step in a session, by stage."""
    step_s: Mapping[str, Estimate]
    """Seconds per step, by stage."""

    @property
    def figures(self) -> dict[str, Estimate]:
        """All estimates by name: `queue_s`, and `step_s.sft` for one of a stage."""
        every = {name: getattr(self, name) for name in ("queue_s", "handover_s", "startup_s", "save_s")}
        every |= {f"first_s.{stage}": span for stage, span in self.first_s.items()}
        return every | {f"step_s.{stage}": span for stage, span in self.step_s.items()}

    @property
    def unknown(self) -> tuple[str, ...]:
        """Stages without a known step time, in pipeline order."""
        return tuple(stage for stage in self.first_s if stage not in self.step_s)


def reported_in(facts: Iterable[Fact]) -> dict[tuple[int, int], Mapping[str, float]]:
    """Return the timings that sessions reported, by (number, attempt)."""
    return {
        (fact.number, fact.attempt): _possible(fact.judgement.timings)
        for fact in facts
        if isinstance(fact, (OutputCollected, NothingCollected)) and fact.judgement.timings
    }


def reported_by(sessions: Iterable[Session]) -> dict[tuple[int, int], Mapping[str, float]]:
    """Return the timings that sessions reported, by (number, attempt), as `reported_in` does from their facts."""
    return {session.key: _possible(session.timings) for session in sessions if session.timings}


def _possible(timings: Mapping[str, float]) -> dict[str, float]:
    return {name: seconds for name, seconds in timings.items() if 0.0 <= seconds <= SESSION_S_MAX}


def estimate_durations(
    pipeline: Pipeline,
    own: RunHistory | None = None,
    earlier: Sequence[RunHistory] = (),
    probed: ProbedTimes = NOT_PROBED,
) -> Times:
    """Estimate durations from this run, from `earlier` runs (newest first) that did the same work, and from evidence.

    `best` chooses among all sources of a duration.
    """
    alike = [other for other in earlier if same_conditions(pipeline, other.pipeline)]
    seen = [*([(own, TimeSource.THIS_RUN, "")] if own else []), *((o, _source(o), o.run) for o in alike)]
    expect, jax, installs = stated(pipeline), pipeline.needs_jax, bool(pipeline.pins)
    share = min(1.0, pipeline.limit_s / SHORT_S)
    steps = {stage.name: step_estimate(pipeline, stage, own, earlier) for stage in pipeline.stages}

    def chosen(
        measure: Callable[[RunHistory], list[float]], told: Told, assumed: Estimate, probe: Estimate | None = None
    ) -> Estimate:
        measured = (_span(measure(history), source, run) for history, source, run in seen)
        found = best([*measured, probe, as_estimate(told), assumed.times(share)])
        assert found is not None  # the last one is always there
        return found

    return Times(
        queue_s=chosen(_queue, expect.queue_s, QUEUE_S[pipeline.slot], probed.queue_s),
        handover_s=chosen(_handover, expect.handover_s, probed.between(HANDOVER_S)),
        startup_s=chosen(
            _startup, expect.startup_s, INSTALL_S if installs else BARE_S, probed.startup_s if installs else None
        ),
        save_s=chosen(_saves, expect.save_s, SAVE_S if jax else QUICK_S),
        first_s={
            stage.name: chosen(partial(_first, pipeline, stage), expect.first_s, _first_guess(pipeline, stage))
            for stage in pipeline.stages
        },
        step_s={name: found for name, found in steps.items() if found is not None},
    )


def _source(other: RunHistory) -> TimeSource:
    return TimeSource.PROBE if measured_stages(other.pipeline) else TimeSource.OTHER_RUN


# --- the rest of a session, and the time between two -------------------------


def _span(values: Sequence[float], source: TimeSource, detail: str) -> Estimate | None:
    """Return the median, minimum and maximum of measured values, or None if there are none."""
    if not values:
        return None
    usual = statistics.median(values)
    margin_s = MEASURED_SHARE * usual
    return Estimate(usual, min(*values, usual - margin_s), max(*values, usual + margin_s), source, detail)


def _queue(observed: RunHistory) -> list[float]:
    pairs = [(s.pushed_at, s.running_at) for s in observed.sessions]
    return _sensible((running - pushed).total_seconds() for pushed, running in pairs if pushed and running)


def _handover(observed: RunHistory) -> list[float]:
    """Return the seconds from each session's end until its checkpoint was published or the next session was planned.

    A probe hands no model over: its checkpoints say nothing about those of a run.
    """
    if measured_stages(observed.pipeline):
        return []
    published = {checkpoint.name: checkpoint.published_at for checkpoint in observed.checkpoints}
    found = []
    for number, session in enumerate(observed.sessions):
        ready = [published.get(session.checkpoint or "")]
        ready += [later.planned_at for later in observed.sessions[number + 1 : number + 2]]
        if session.ended_at is not None and ready[0] is not None:
            found.append((min(at for at in ready if at is not None) - session.ended_at).total_seconds())
    return _sensible(found)


def _sensible(durations: Iterable[float]) -> list[float]:
    """Drop implausible durations: the clock was set, or this machine was off in between."""
    return [seconds for seconds in durations if 0.0 <= seconds <= BETWEEN_S_MAX]


def _startup(observed: RunHistory) -> list[float]:
    """Return the seconds until the first stage begins: the time of the first step's end minus its reported duration."""
    found = []
    for key, timings in observed.reported.items():
        first = next((step for step in observed.steps if (step.session, step.attempt) == key), None)
        if first is not None and (took_s := timings.get(f"{first.stage}.first_step_s")) is not None:
            found.append(max(0.0, first.at_s - took_s))
    return found


def _saves(observed: RunHistory) -> list[float]:
    return [timings["save_s"] for timings in observed.reported.values() if "save_s" in timings]


def _first_guess(pipeline: Pipeline, stage: Stage) -> Estimate:
    return FIRST_S if find(stage.kind, pipeline.sources).needs_jax else QUICK_S


def _first(pipeline: Pipeline, stage: Stage, observed: RunHistory) -> list[float]:
    """Return the extra seconds of first steps of the same work, of the stage itself if it was measured."""
    stages = (*observed.pipeline.stages, *measured_stages(observed.pipeline))
    twins = [t for t in stages if same_work(pipeline, stage, observed.pipeline, t)]
    for twin in sorted(twins, key=lambda twin: twin.name != stage.name):
        if values := list(_first_extras(observed, twin.name)):
            return values
    return []


def _first_extras(observed: RunHistory, stage: str) -> Iterator[float]:
    """Yield, for each session that reported it, the duration of the first step minus that of a usual one."""
    for timings in observed.reported.values():
        if (first_s := timings.get(f"{stage}.first_step_s")) is not None:
            yield max(0.0, first_s - timings.get(f"{stage}.step_s", 0.0))
