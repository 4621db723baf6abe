"""Measures the forecast: compares its values for fault-free simulated chains, early and midway, with the outcome."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.core.durations import estimate_durations
from orchestrator.core.forecast import forecast
from orchestrator.core.forecast_session import RunPosition
from orchestrator.core.plan import Limits
from orchestrator.core.weekly_quota import hours_of
from orchestrator.pipeline.sections import Expect, ExpectedDuration
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder
from orchestrator.rehearsal.simulation.plans import ChainPlan, plan_without_faults
from orchestrator.rehearsal.simulation.sessions import CountingSessions
from orchestrator.views import forecast as views
from stages.contract import Cursor
from state.model.snapshot import QuotaRow
from state.model.statuses import RunStatus

POLL_S = 300.0
"""Poll interval, in seconds. A daemon polls ten times as often."""
TICKS_MAX = 100_000
CLOSE = 0.1
WRONG = (0.6, 1.5)
"""Factors by which the run's own expectations are wrong, so that the forecast midway rests on measurements."""


@dataclass(frozen=True)
class ForecastError:
    """Error of one forecast, as shares of the time and of the quota that were spent after it."""

    off_finish: float
    off_quota: float
    bounded: bool
    """True if the run ended between the earliest and the latest forecast time."""

    @property
    def close(self) -> bool:
        """True if time and quota were both off by at most a tenth."""
        return max(self.off_finish, self.off_quota) <= CLOSE


@dataclass(frozen=True)
class ForecastedChain:
    """Chain, with the errors of its forecasts."""

    seed: int
    start: ForecastError
    midway: ForecastError
    sessions: int
    days: float


def one(seed: int) -> ForecastedChain:
    """Run the fault-free chain of a seed to its end and compare. The same seed gives the same result."""
    plan = plan_without_faults(seed)
    told = expectations(plan)
    given = plan.pipeline.model_copy(update={"expect": _falsified(plan, told, WRONG[seed % 2])})
    kaggle = SimulatedKaggle(given, plan.faults, plan.rules, plan.play, plan.step_s, plan.variation)
    began_at = kaggle.clock.now()
    start = _at_the_start(plan, told, began_at)
    with fast_folder() as folder:
        chain = Chain(kaggle, folder)
        chain.limits = Limits(poll_s=POLL_S)
        midway: dict[str, Any] | None = None
        asked_at = began_at
        for tick in chain.ticks(ticks_max=TICKS_MAX):
            if midway is None and _halfway(chain):
                asked_at = kaggle.clock.now()
                midway = _by_the_run(chain, asked_at)
            assert tick is not None
        state = chain.state
    assert state.run.status is RunStatus.FINISHED and midway is not None, state.run
    return ForecastedChain(
        seed=seed,
        start=_compared(start, kaggle, began_at, state.run.updated_at),
        midway=_compared(midway, kaggle, asked_at, state.run.updated_at),
        sessions=len(state.sessions),
        days=(state.run.updated_at - began_at).total_seconds() / 86400,
    )


def expectations(plan: ChainPlan) -> Expect:
    """Return the plan's true durations in the form of a pipeline's `expect` section."""
    assert plan.variation is not None
    session, kind = CountingSessions(plan.pipeline), plan.pipeline.slot
    queue_s = {"tpu": plan.rules.queue_s.tpu, "gpu": plan.rules.queue_s.gpu, "cpu": plan.rules.queue_s.cpu}[kind]
    return Expect(
        step_s={"counting": plan.step_s},
        first_s=plan.variation.first_s,
        startup_s=session.start_s,
        save_s=session.save_s,
        queue_s=queue_s,
        handover_s=(plan.rules.dataset_processing_s + POLL_S),
    )


def _falsified(plan: ChainPlan, told: Expect, factor: float) -> Expect:
    """Falsify what the first session measures by `factor`; values that only a later stage can measure stay correct."""
    measured = plan.pipeline.stages[0].options == {}
    step_s: dict[str, float | ExpectedDuration] = {"counting": plan.step_s * (factor if measured else 1.0)}
    others = {name: getattr(told, name) * factor for name in ("startup_s", "save_s", "queue_s", "handover_s")}
    return Expect(step_s=step_s, first_s=told.first_s, **others)


def _at_the_start(plan: ChainPlan, told: Expect, now: datetime) -> dict[str, Any]:
    pipeline = plan.pipeline.model_copy(update={"expect": told})
    quota = None
    if pipeline.hardware.quota:
        total_s = plan.rules.quota_s.tpu if pipeline.slot == "tpu" else plan.rules.quota_s.gpu
        quota = QuotaRow(
            owner="me", accelerator=pipeline.slot, used_s=0.0, reserved_s=0.0, total_s=total_s,
            refreshes_at=plan.rules.week(now)[1], read_at=now,
        )  # fmt: skip
    found = forecast(pipeline, estimate_durations(pipeline), RunPosition(now=now), hours_of(pipeline, quota, now))
    return views.document(found, ())


def _halfway(chain: Chain) -> bool:
    """Return True once the sessions have reported half of all steps."""
    pipeline, found = chain.kaggle.pipeline, chain.state.last
    if found is None:
        return False
    steps = chain.store.steps_seen(chain.run, 1)
    done = max((pipeline.position(Cursor(stage=step.stage, step=step.step)) for step in steps), default=0)
    return done * 2 >= pipeline.total_steps


def _by_the_run(chain: Chain, now: datetime) -> dict[str, Any]:
    part = views.run_part(chain.store, chain.state, now)
    assert part["forecast"] is not None, part
    found: dict[str, Any] = part["forecast"]
    return found


def _compared(said: dict[str, Any], kaggle: SimulatedKaggle, at: datetime, ended_at: datetime) -> ForecastError:
    finish_at, earliest, latest = (
        datetime.fromisoformat(said[key]) for key in ("finish_at", "finish_earliest_at", "finish_latest_at")
    )
    spent_s = sum(
        version.session.ran_s(at, ended_at)
        for kernel in kaggle.world.kernels.all()
        for version in kernel.versions
        if version.session is not None
    )
    if not kaggle.pipeline.hardware.quota:
        spent_s = 0.0
    return ForecastError(
        off_finish=abs((finish_at - ended_at) / (ended_at - at)),
        off_quota=abs(said["quota_s"] - spent_s) / spent_s if spent_s else 0.0,
        bounded=earliest <= ended_at <= latest,
    )
