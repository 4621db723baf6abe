"""Plan of a simulated chain, drawn from a seed: pipeline, Kaggle's behaviour, daemon crashes, the user's actions."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from orchestrator.base.errors import BadInput
from orchestrator.core.durations import estimate_durations
from orchestrator.pipeline.loader import parse
from orchestrator.pipeline.model import Pipeline
from orchestrator.rehearsal.local_kaggle.faults import (
    LASTING,
    TRIGGERED,
    CallAction,
    CallFault,
    DatasetAction,
    DatasetFault,
    FaultPlan,
    PushAction,
    PushFault,
    SessionAction,
    SessionFault,
)
from orchestrator.rehearsal.local_kaggle.rules import PerKind, Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Played
from orchestrator.rehearsal.simulation import delayed_faults
from orchestrator.rehearsal.simulation.cancels import TakenBackCancel, random_cancels
from orchestrator.rehearsal.simulation.clock_steps import ClockStep, random_clock_steps
from orchestrator.rehearsal.simulation.delayed_faults import with_delayed_faults
from orchestrator.rehearsal.simulation.disk_faults import NO_DISK_FAULTS, DiskPlan, disk_plan
from orchestrator.rehearsal.simulation.edits import PlannedEdit, random_edits
from orchestrator.rehearsal.simulation.odd_text import NOTHING_ODD, Oddities
from orchestrator.rehearsal.simulation.second_home import HomeCopy, random_home_copy
from orchestrator.rehearsal.simulation.sessions import CountingSessions, died, failing, hung
from orchestrator.rehearsal.simulation.stuck_answers import StuckAnswer, random_stuck_answer
from orchestrator.rehearsal.simulation.timing_variation import TimingVariation
from stages.contract import Order

FAULTY_SESSIONS = 6
"""Highest number of a session that a fault may hit. Later ones succeed, so the chain must end."""
CALLS = (
    "SaveKernel", "GetKernel", "GetKernelSessionStatus", "ListKernelSessionOutput", "OutputFile", "LogStream",
    "DatasetFile", "GetDataset", "CreateDataset", "DeleteDataset", "BlobUpload", "GetAcceleratorQuotaStatistics",
)  # fmt: skip
SESSION_FAULTS = [action for action in SessionAction if action is not SessionAction.SLOW]
"""Session faults that are drawn: all but SLOW, since a scripted session is played at its own pace."""
PUSH_FAULTS = [action for action in PushAction if action not in delayed_faults.PUSHES]
DATASET_FAULTS = [action for action in DatasetAction if action not in delayed_faults.DATASETS]
"""Dataset faults that are drawn here. Delayed ones are drawn in `delayed_faults`."""
FILE_CALLS = ("OutputFile", "DatasetFile")
"""Calls that download files: only those can have a bit flipped."""
ON_DISK_EVERY = 100
"""Interval of seeds whose chain uses the real database, which takes twenty times as long as the store in memory."""
PROCESSING_S_MAX = 4 * 3600.0
"""Maximum processing time of a dataset without faults, in seconds. relay gives up on one after six hours."""
STATUSES = (429, 500, 502, 503, 504)
KIND_SHARES = ("TpuV5E8", "TpuV5E8", "NvidiaTeslaT4", "cpu")


@dataclass(frozen=True)
class SessionBug:
    """A fault of one session's own program."""

    session: int
    what: str
    after_s: float


STEPS_MIN = 3
"""Minimum number of steps in a full session, so that it gains more than one."""
SESSIONS_MAX = 20
"""Maximum number of full sessions of a chain that takes the times of `relay plan`."""


@dataclass(frozen=True)
class ChainPlan:
    """Everything that is drawn for one chain."""

    seed: int
    pipeline: Pipeline
    rules: Rules
    faults: FaultPlan
    step_s: float
    bugs: tuple[SessionBug, ...]
    crashes: tuple[int, ...]
    """Boundary at which each of the first daemons dies."""
    answers_after_s: float
    """Seconds until the user types the command that a parked run names."""
    on_disk: bool
    """True if the real database is used."""
    variation: TimingVariation | None = None
    stage_s: Mapping[str, float] = field(default_factory=dict)
    """Seconds of a step by stage, as `relay plan` expects them of the user's pipeline; empty if they are drawn."""
    settings: tuple[ClockStep, ...] = ()
    """Changes of this machine's clock."""
    stuck: StuckAnswer | None = None
    """Kaggle answer that never changes; None for none."""
    copied: HomeCopy | None = None
    """Copy of the home folder on which a second daemon works from some tick on; None for none."""
    cancels: tuple[TakenBackCancel, ...] = ()
    """Cancels of the run that its user takes back."""
    edits: tuple[PlannedEdit, ...] = ()
    """Changes of the run's pipeline."""
    oddities: Oddities = NOTHING_ODD
    disk: DiskPlan = NO_DISK_FAULTS

    def play(self, order: Order, played: Played, index: int) -> Played:
        """Return the index-th session with its planned bug and odd text."""
        for bug in self.bugs:
            if bug.session == index:
                played = _with_bug(bug, order, played)
                break
        return self.oddities.play(order, played, index)


def random_plan(seed: int, pipeline: Pipeline | None = None) -> ChainPlan:
    """Draw the plan of a seed. The same seed gives the same plan.

    Raises BadInput if the pipeline leaves no time for a step.
    """
    rng = random.Random(f"relay simulates {seed}")
    chosen = pipeline or _pipeline(rng)
    usable_s = CountingSessions(chosen).usable_s
    if usable_s <= 0:
        raise BadInput(f"{chosen.name}: session.margin_s leaves no time for a step: lower it, or raise session.limit_s")
    step_s = usable_s * rng.uniform(1.5, 5.0) / chosen.total_steps
    step_s = min(step_s, usable_s / STEPS_MIN)  # so that a session gains more than one step
    stage_s = {} if pipeline is None else planned_steps(pipeline, usable_s)
    rules = Rules(
        seed=seed,
        queue_s=PerKind.all(chosen.limit_s * rng.choice((0.0, 0.06, 0.9))),
        dataset_processing_s=min(PROCESSING_S_MAX, chosen.limit_s * rng.choice((0.0, 0.06, 1.2))),
        quota_s=PerKind.all(max(chosen.limit_s * rng.choice((2.5, 4.0, 20.0)), chosen.min_session_s * 2)),
        pins_versions=rng.random() < 0.5,
        missing_dataset_code=rng.choice((403, 404)),
    )
    copied = random_home_copy(seed) if seed % ON_DISK_EVERY else None
    faults, rules = with_delayed_faults(
        seed, _faults(rng, seed, chosen.limit_s), rules, chosen.limit_s, alone=copied is None
    )
    plan = ChainPlan(
        seed=seed,
        pipeline=chosen,
        rules=rules,
        faults=faults,
        step_s=max(stage_s.values(), default=step_s),
        stage_s=stage_s,
        bugs=_session_bugs(rng, chosen.limit_s),
        crashes=_crashes(rng),
        answers_after_s=rng.uniform(60.0, 20_000.0),
        on_disk=seed % ON_DISK_EVERY == 0,
        copied=copied,
        variation=TimingVariation(seed, uneven=0.2, machine=0.05, first_s=step_s / 2) if rng.random() < 0.5 else None,
        settings=random_clock_steps(seed),
        stuck=random_stuck_answer(seed),
        cancels=random_cancels(seed),
        edits=random_edits(seed),
        oddities=Oddities.random(seed),
    )
    if copied is not None:  # only a store in memory can be copied
        return plan
    disk = disk_plan(seed, len(plan.crashes), on_disk=plan.on_disk)
    return replace(plan, disk=disk, on_disk=plan.on_disk or disk.on_disk)


def planned_steps(pipeline: Pipeline, usable_s: float) -> dict[str, float]:
    """Return the seconds of a step of each stage as `relay plan` expects them without any run.

    Empty if one is unknown, if a session would not gain STEPS_MIN steps, or if the chain would have more than
    SESSIONS_MAX sessions: then times are drawn.
    """
    known = estimate_durations(pipeline).step_s
    found = {stage.name: known[stage.name].usual_s for stage in pipeline.stages if stage.name in known}
    total_s = sum(found.get(stage.name, 0.0) * stage.steps for stage in pipeline.stages)
    fits = max(found.values(), default=0.0) <= usable_s / STEPS_MIN and total_s <= SESSIONS_MAX * usable_s
    return found if fits and len(found) == len(pipeline.stages) else {}


def plan_without_faults(seed: int) -> ChainPlan:
    """Draw a plan without faults, with sessions as long as real ones and times as uneven."""
    rng = random.Random(f"relay foretells {seed}")
    stages = rng.randint(1, 3)
    share, spread = rng.uniform(0.6, 5.0), [rng.uniform(0.5, 2.0) if rng.random() < 0.5 else 1.0 for _ in range(stages)]
    steps = [rng.randint(80, 400) for _ in range(stages)]
    accelerator = rng.choice(KIND_SHARES)
    empty = parse(_text_without_faults(accelerator, steps, [None] * stages), "the built-in pipeline")
    step_s = share * CountingSessions(empty).usable_s / sum(map(float.__mul__, map(float, steps), spread))
    own = [round(step_s * factor, 3) if factor != 1.0 else None for factor in spread]
    queue_s, processing_s = rng.uniform(420.0, 1800.0), rng.uniform(60.0, 600.0)
    return ChainPlan(
        seed=seed,
        pipeline=parse(_text_without_faults(accelerator, steps, own), "the built-in pipeline"),
        rules=Rules(
            seed=seed,
            queue_s=PerKind.all(queue_s),
            dataset_processing_s=processing_s,
            waits_vary=0.4,
            quota_s=PerKind(rng.uniform(10, 20) * 3600, rng.uniform(15, 30) * 3600, 0.0),
        ),
        faults=FaultPlan(seed=seed),
        step_s=step_s,
        bugs=(),
        crashes=(),
        answers_after_s=0.0,
        on_disk=False,
        variation=TimingVariation(
            seed, uneven=rng.choice((0.1, 0.3)), machine=rng.choice((0.02, 0.05)), first_s=rng.uniform(60, 600)
        ),
    )


def _text_without_faults(accelerator: str, steps: list[int], own_s: list[float | None]) -> str:
    """Return a pipeline of counting stages. One with its own `step_s` counts as different work from those without."""
    stages = "\n".join(
        f"  - {{name: {name}, kind: counting, steps: {count}{f', options: {{step_s: {seconds}}}' if seconds else ''}}}"
        for name, count, seconds in zip(("one", "two", "three"), steps, own_s, strict=False)
    )
    return f"name: sim\naccelerator: {accelerator}\nstages:\n{stages}\n"


def _pipeline(rng: random.Random) -> Pipeline:
    stages = "\n".join(
        f"  - {{name: {name}, kind: counting, steps: {rng.randint(4, 14)}}}"
        for name in ("one", "two", "three")[: rng.randint(1, 3)]
    )
    limit_s = rng.choice((600, 1000, 3600))
    return parse(
        f"name: sim\n"
        f"accelerator: {rng.choice(KIND_SHARES)}\n"
        f"handoff: {rng.choice(('dataset', 'kernel-output'))}\n"
        f"on_timeout: {rng.choice(('resume', 'park'))}\n"
        f"keep_checkpoints: {rng.randint(2, 3)}\n"
        f"session: {{limit_s: {limit_s}, margin_s: {limit_s // 10}, save_interval_s: {limit_s // rng.randint(3, 8)}}}\n"
        f"stages:\n{stages}\n",
        "the built-in pipeline",
    )


# --- faults -------------------------------------------------------------------


def _faults(rng: random.Random, seed: int, limit_s: float) -> FaultPlan:
    if rng.random() < 0.05:
        return FaultPlan(seed=seed)
    return FaultPlan(
        seed=seed,
        sessions=tuple(_session_fault(rng, limit_s) for _ in range(rng.randint(0, 3))),
        calls=tuple(_call_fault(rng) for _ in range(rng.randint(0, 5))),
        datasets=tuple(_dataset_fault(rng, limit_s) for _ in range(rng.randint(0, 2))),
        pushes=tuple(
            PushFault(push=rng.randint(1, FAULTY_SESSIONS), action=rng.choice(PUSH_FAULTS))
            for _ in range(rng.choice((0, 0, 1, 2)))
        ),
    )


def _session_fault(rng: random.Random, limit_s: float) -> SessionFault:
    action = rng.choice(SESSION_FAULTS)
    return SessionFault(
        session=rng.randint(1, FAULTY_SESSIONS),
        action=action,
        after_s=rng.uniform(0.0, limit_s) if action in TRIGGERED else None,
        seconds=rng.uniform(0.0, limit_s) if action in LASTING else 0.0,
    )


def _call_fault(rng: random.Random) -> CallFault:
    action = rng.choice(list(CallAction))
    fault = CallFault(
        call=rng.choice(FILE_CALLS if action is CallAction.FLIP else (*CALLS, "*")),
        action=action,
        nth=rng.randint(1, 12),
        times=rng.choice((1, 1, 2, 3, 8)),
        probability=rng.choice((None, None, 0.3)),
        seconds=rng.choice((5.0, 100.0, 1000.0)) if action is CallAction.HANG else 0.0,
        after_bytes=rng.randint(0, 300) if action is CallAction.FLIP else 0,
    )
    if action is not CallAction.STATUS:
        return fault
    status = rng.choice(STATUSES)
    waits_s = rng.choice((None, 30.0, 600.0)) if status == 429 else None
    return replace(fault, status=status, retry_after_s=waits_s)


def _dataset_fault(rng: random.Random, limit_s: float) -> DatasetFault:
    action = rng.choice(DATASET_FAULTS)
    seconds = limit_s * rng.uniform(0.0, 5.0) if action is DatasetAction.SLOW else 0.0
    return DatasetFault(version=rng.randint(1, FAULTY_SESSIONS), action=action, seconds=seconds)


def _session_bugs(rng: random.Random, limit_s: float) -> tuple[SessionBug, ...]:
    if rng.random() < 0.7:
        return ()
    what = rng.choice(tuple(MISDEEDS))
    first = rng.randint(1, FAULTY_SESSIONS - 1)
    after_s = rng.uniform(0.0, limit_s)
    return tuple(SessionBug(first + more, what, after_s) for more in range(rng.randint(1, 2)))


def _crashes(rng: random.Random) -> tuple[int, ...]:
    """Draw when each daemon dies: some late, others so early that they die while recovering from the last crash."""
    count = rng.choice((0, 1, 1, 2, 3, 5))
    return tuple(rng.choice((rng.randint(0, 9), rng.randint(0, 120))) for _ in range(count))


MISDEEDS: dict[str, Callable[[Order, Played, float], Played]] = {
    "bug": lambda order, played, after_s: failing(order, played, after_s, "ValueError@one"),
    "bad luck": lambda order, played, after_s: failing(order, played, after_s, "tpu-missing", transient=True),
    "broken training": lambda order, played, after_s: failing(order, played, after_s, "not-a-number"),
    "death": lambda order, played, after_s: died(played, after_s),
    "hang": lambda order, played, after_s: hung(played, after_s),
}


def _with_bug(bug: SessionBug, order: Order, played: Played) -> Played:
    if bug.after_s >= played.ends_after_s:
        return played
    return MISDEEDS[bug.what](order, played, bug.after_s)
