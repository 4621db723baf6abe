"""How long things take: what sessions measured, else what the pipeline expects, else what is known of Kaggle. Pure."""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from orchestrator.pipeline.model import Pipeline, Stage
from stages.catalog import find
from state.facts import Fact, NothingCollected, OutputCollected
from state.model import Checkpoint, Session, StepSeen

Basis = Literal["measured", "expected", "assumed"]


@dataclass(frozen=True)
class Estimate:
    """Seconds that something takes: usually, at best and at worst, and how that is known."""

    usual_s: float
    low_s: float
    high_s: float
    basis: Basis = "assumed"

    @classmethod
    def around(cls, usual_s: float, share: float, basis: Basis) -> "Estimate":
        """So long, give or take that share of it."""
        return cls(usual_s, usual_s * (1 - share), usual_s * (1 + share), basis)

    def times(self, factor: float) -> "Estimate":
        """So many times as long."""
        return Estimate(self.usual_s * factor, self.low_s * factor, self.high_s * factor, self.basis)


QUEUE_S = {
    "tpu": Estimate(900, 420, 1800),  # users report 7 to 30 minutes as typical, and up to 4 hours now and then
    "gpu": Estimate(120, 20, 600),  # nobody has published numbers: short, as far as users complain of none
    "cpu": Estimate(30, 5, 120),
}
"""From the push until the session runs."""
HANDOVER_S = Estimate(600, 180, 1800)
"""From a session's end until the next is pushed. A gigabyte, as LoRA of rank 64 on 2B parameters leaves, down and up again at
5 MB/s, and a minute of processing for half a gigabyte (measured by others); at worst 1.4 MB/s (measured by one user) and the
10 to 15 minutes of processing in old reports."""
INSTALL_S = Estimate(240, 90, 600)
"""Installing pins, checking the checkpoint's digests, unpacking. Nobody has measured it on Kaggle."""
BARE_S = Estimate(10, 2, 30)
"""The same where nothing is installed."""
FIRST_S = Estimate(300, 60, 600)
"""What a stage's first step takes beyond the others: loading the model, compiling (reported: up to 5 minutes)."""
SAVE_S = Estimate(30, 10, 60)
"""The most that a session reckons with before its first save."""
SHORT_S = 600.0
"""Sessions with a shorter limit are rehearsals: what is assumed shrinks with them."""
QUICK_S = Estimate(1, 0, 2)
"""A first step beyond the others, and a save, where no stage needs JAX."""
SESSION_S_MAX = 12 * 3600.0
"""No session is longer: a report that says so of a part of it makes no sense."""
BETWEEN_S_MAX = 24 * 3600.0
"""Nothing between two sessions takes longer by itself."""
EXPECTED_SHARE = 0.25
"""A number in the pipeline may be so far off."""
MEASURED_SHARE = 0.05
"""A measured one at least so far, and twice that where only one session, on one machine, measured it."""
INTERVALS_MIN = 3
"""Steps that have to be seen before their pace is believed."""
INTERVALS_ENOUGH = 30
"""More of them make a session count no more than another one."""
INTERVALS_KEPT = 400
"""A stage's newest steps tell its pace: answers grow longer while a model learns."""
ODD = 2.0
"""A step that took so many times the median, or so small a part of it, was interrupted: by a save, or by a log that lagged."""


@dataclass(frozen=True, kw_only=True)
class RunHistory:
    """What is known of one run's times."""

    run: str
    pipeline: Pipeline
    sessions: Sequence[Session]
    checkpoints: Sequence[Checkpoint]
    steps: Sequence[StepSeen]
    """In order of sessions and steps."""
    reported: Mapping[tuple[int, int], Mapping[str, float]]
    """Session → the timings of its report."""


@dataclass(frozen=True, kw_only=True)
class Times:
    """The times of one pipeline; a stage that is missing in `step_s` has no known time."""

    queue_s: Estimate
    handover_s: Estimate
    startup_s: Estimate
    """Until the first stage of a session begins."""
    save_s: Estimate
    first_s: Mapping[str, Estimate]
    """Stage → what its first step in a session takes beyond the others."""
    step_s: Mapping[str, Estimate]
    """Stage → a step."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Stage → where its step's time is from, in words."""

    @property
    def unknown(self) -> tuple[str, ...]:
        """Stages of which no time is known, in order."""
        return tuple(stage for stage in self.first_s if stage not in self.step_s)


def reported_in(facts: Iterable[Fact]) -> dict[tuple[int, int], Mapping[str, float]]:
    """The timings that sessions reported, by (number, attempt)."""
    return {
        (fact.number, fact.attempt): {n: s for n, s in fact.judgement.timings.items() if 0.0 <= s <= SESSION_S_MAX}
        for fact in facts
        if isinstance(fact, (OutputCollected, NothingCollected)) and fact.judgement.timings
    }


def estimate_durations(pipeline: Pipeline, own: RunHistory | None = None, earlier: Sequence[RunHistory] = ()) -> Times:
    """The times to reckon with: this run's own, then those of `earlier` runs (newest first) that did the same work."""
    seen = [*([own] if own else []), *(other for other in earlier if _like(pipeline, other.pipeline))]
    expect, jax = pipeline.expect, pipeline.needs_jax
    share = min(1.0, pipeline.limit_s / SHORT_S)
    steps: dict[str, Estimate] = {}
    sources: dict[str, str] = {}
    for stage in pipeline.stages:
        found = _step(pipeline, stage, own, earlier)
        if found is not None:
            steps[stage.name], sources[stage.name] = found
    return Times(
        queue_s=_span(seen, _queue) or _expected(expect.queue_s) or QUEUE_S[pipeline.slot].times(share),
        handover_s=_span(seen, _handover) or _expected(expect.handover_s) or HANDOVER_S.times(share),
        startup_s=_span(seen, _startup)
        or _expected(expect.startup_s)
        or (INSTALL_S if pipeline.pins else BARE_S).times(share),
        save_s=_span(seen, _saves) or _expected(expect.save_s) or (SAVE_S if jax else QUICK_S).times(share),
        first_s={
            stage.name: _first(pipeline, stage, seen)
            or _expected(expect.first_s)
            or _first_guess(pipeline, stage, share)
            for stage in pipeline.stages
        },
        step_s=steps,
        sources=sources,
    )


def _expected(seconds: float | None) -> Estimate | None:
    return None if seconds is None else Estimate.around(seconds, EXPECTED_SHARE, "expected")


# --- a stage's step ----------------------------------------------------------


def _step(
    pipeline: Pipeline, stage: Stage, own: RunHistory | None, earlier: Sequence[RunHistory]
) -> tuple[Estimate, str] | None:
    for steps, name, words in _alike(pipeline, stage, own, earlier):
        if (span := step_duration(steps, name)) is not None:
            return span, words
    if stage.kind == "counting" and "step_s" in stage.options:
        return Estimate.around(
            float(stage.options["step_s"]), MEASURED_SHARE, "expected"
        ), "as the options of the stage say"
    said = pipeline.expect.step_s
    if (seconds := said.get(stage.name, said.get(stage.kind))) is not None:
        return Estimate.around(seconds, EXPECTED_SHARE, "expected"), "as the pipeline expects"
    for other in earlier:
        same = (other.pipeline.name, other.pipeline.accelerator) == (pipeline.name, pipeline.accelerator)
        if same and (span := step_duration(other.steps, stage.name)) is not None:
            wide = Estimate.around(span.usual_s, EXPECTED_SHARE, "measured")
            return wide, f"as measured in {other.run}, with other options"
    return None


def _alike(
    pipeline: Pipeline, stage: Stage, own: RunHistory | None, earlier: Sequence[RunHistory]
) -> Iterator[tuple[Sequence[StepSeen], str, str]]:
    """Where steps of the same work were seen: the steps, the stage's name there, and what to say of it."""
    if own is not None:
        yield own.steps, stage.name, "as measured in this run"
        for twin in own.pipeline.stages:
            if same_work(pipeline, stage, own.pipeline, twin):
                yield own.steps, twin.name, f"as measured for {twin.name}"
    for other in earlier:
        for twin in other.pipeline.stages:
            if same_work(pipeline, stage, other.pipeline, twin):
                yield other.steps, twin.name, f"as measured in {other.run}"


def step_duration(steps: Sequence[StepSeen], stage: str) -> Estimate | None:
    """Seconds that a step of a stage takes, or None where too few were seen.

    Of each session the mean of what lies near the median, since a save between two steps is part of neither; of sessions
    their mean, since each has a machine of its own, however long it had it.
    """
    found: dict[tuple[int, int], list[float]] = {}
    for before, after in pairwise(step for step in steps if step.stage == stage):
        done = after.step - before.step
        if (before.session, before.attempt) == (after.session, after.attempt) and done > 0:
            found.setdefault((after.session, after.attempt), []).append((after.at_s - before.at_s) / done)
    rates = [rate for session in found.values() for rate in session]
    if len(rates) < INTERVALS_MIN:
        return None
    middle = statistics.median(rates)
    kept = [near for session in found.values() if (near := [r for r in session if middle / ODD <= r <= middle * ODD])]
    if not kept:
        return Estimate.around(middle, EXPECTED_SHARE, "measured")
    means = [statistics.fmean(near) for near in kept]
    weights = [min(len(near), INTERVALS_ENOUGH) for near in kept]
    usual = statistics.fmean(means, weights)
    every = [rate for near in kept for rate in near]
    doubt = 2 * statistics.stdev(every) / len(every) ** 0.5 if len(every) > 1 else usual
    few = MEASURED_SHARE if len(means) > 1 else 2 * MEASURED_SHARE
    apart = max(abs(mean - usual) for mean, weight in zip(means, weights, strict=True) if weight == max(weights))
    off = min(max(few * usual, doubt, apart), 0.9 * usual)
    return Estimate(usual, usual - off, usual + off, "measured")


CHANGES_NO_TIME = frozenset(
    (
        "learning_rate", "schedule", "warmup_steps", "min_lr_ratio", "b1", "b2", "weight_decay", "clip_norm", "check",
        "beta", "epsilon", "temperature", "rewards", "guard_steps", "guard_spike", "guard_collapse", "guard_idle",
        "lora_alpha", "replay", "solved_max", "hard_min", "transcripts", "show_every",
    )
)  # fmt: skip
"""Options that change what is learnt and not how long a step takes."""


def same_work(mine: Pipeline, stage: Stage, other: Pipeline, twin: Stage) -> bool:
    """Whether a step of one stage takes as long as a step of the other: kind, model, machine and telling options are equal."""
    return _like(mine, other) and stage.kind == twin.kind and _telling(stage) == _telling(twin)


def _like(mine: Pipeline, other: Pipeline) -> bool:
    return (mine.accelerator, mine.pins, mine.model) == (other.accelerator, other.pins, other.model)


def _telling(stage: Stage) -> dict[str, Any]:
    return {name: _bare(value) for name, value in stage.options.items() if name not in CHANGES_NO_TIME}


def _bare(value: Any) -> Any:
    """Sets without their counts."""
    return [str(each).partition(":")[0] for each in value] if isinstance(value, (list, tuple)) else value


# --- the rest of a session, and what lies between two ------------------------


def _span(seen: Iterable[RunHistory], measure: Callable[[RunHistory], list[float]]) -> Estimate | None:
    """The first run's in which it was measured: its median, from the least to the most."""
    for observed in seen:
        if values := measure(observed):
            usual = statistics.median(values)
            off = MEASURED_SHARE * usual
            return Estimate(usual, min(*values, usual - off), max(*values, usual + off), "measured")
    return None


def _queue(observed: RunHistory) -> list[float]:
    pairs = [(s.pushed_at, s.running_at) for s in observed.sessions]
    return _sensible((running - pushed).total_seconds() for pushed, running in pairs if pushed and running)


def _handover(observed: RunHistory) -> list[float]:
    """From a session's end until its checkpoint was published, or the next session planned without waiting for that."""
    published = {checkpoint.name: checkpoint.published_at for checkpoint in observed.checkpoints}
    found = []
    for number, session in enumerate(observed.sessions):
        ready = [published.get(session.checkpoint or "")]
        ready += [later.planned_at for later in observed.sessions[number + 1 : number + 2]]
        if session.ended_at is not None and ready[0] is not None:
            found.append((min(at for at in ready if at is not None) - session.ended_at).total_seconds())
    return _sensible(found)


def _sensible(durations: Iterable[float]) -> list[float]:
    """Those that can have been: others were measured by a clock that was set meanwhile, or while this machine was off."""
    return [seconds for seconds in durations if 0.0 <= seconds <= BETWEEN_S_MAX]


def _startup(observed: RunHistory) -> list[float]:
    """Until the first stage begins: the first step's end, less the first step, which the report tells."""
    found = []
    for key, timings in observed.reported.items():
        first = next((step for step in observed.steps if (step.session, step.attempt) == key), None)
        if first is not None and (took_s := timings.get(f"{first.stage}.first_step_s")) is not None:
            found.append(max(0.0, first.at_s - took_s))
    return found


def _saves(observed: RunHistory) -> list[float]:
    return [timings["save_s"] for timings in observed.reported.values() if "save_s" in timings]


def _first_guess(pipeline: Pipeline, stage: Stage, share: float) -> Estimate:
    return (FIRST_S if find(stage.kind, pipeline.sources).needs_jax else QUICK_S).times(share)


def _first(pipeline: Pipeline, stage: Stage, seen: Sequence[RunHistory]) -> Estimate | None:
    for observed in seen:
        twins = [t for t in observed.pipeline.stages if same_work(pipeline, stage, observed.pipeline, t)]
        for twin in sorted(twins, key=lambda twin: twin.name != stage.name):
            values = [
                max(0.0, timings[f"{twin.name}.first_step_s"] - timings.get(f"{twin.name}.step_s", 0.0))
                for timings in observed.reported.values()
                if f"{twin.name}.first_step_s" in timings
            ]
            if values:
                return Estimate(statistics.median(values), min(values), max(values), "measured")
    return None
