"""Faults of a played cluster, drawn from a seed."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

FAULTY_JOBS = 6
"""Highest number of a submission or a session that a fault may hit. Later ones succeed, so the chain must end."""


class SubmitFault(StrEnum):
    """Fault of one sbatch."""

    FULL = "the account has no room for another job"
    NEVER = "the controller does not answer, and there is no job"
    LOST = "the job is submitted, and the answer is lost"
    UNNAMED = "the job is submitted, and neither the answer nor its id is kept"
    LATE = "no answer, and the job appears later"


@dataclass(frozen=True)
class JobFault:
    """Fault of one session's job: `after_s` seconds after its start it gets this state."""

    state: str
    after_s: float


JOB_FAULTS = ("NODE_FAIL", "PREEMPTED", "REQUEUED", "CANCELLED", "OUT_OF_MEMORY")


@dataclass(frozen=True, kw_only=True)
class ClusterFaults:
    """Faults of one chain. Intervals are times of the simulation."""

    submits: Mapping[int, SubmitFault] = field(default_factory=dict)
    jobs: Mapping[int, JobFault] = field(default_factory=dict)
    """Fault by the number of the session in the order of their starts."""
    controller_away: tuple[tuple[datetime, datetime], ...] = ()
    login_away: tuple[tuple[datetime, datetime], ...] = ()
    lag_s: float = 0.0
    """Seconds by which squeue's answers are behind."""
    late_s: float = 0.0
    accounting: bool = False
    """True if sacct knows the jobs that squeue has forgotten."""

    def away(self, now: datetime) -> bool:
        """Return True while the controller does not answer."""
        return any(since <= now < until for since, until in self.controller_away)

    def unreachable(self, now: datetime) -> bool:
        """Return True while no command reaches the cluster."""
        return any(since <= now < until for since, until in self.login_away)


def random_faults(seed: int, began: datetime, limit_s: float) -> ClusterFaults:
    """Draw the faults of a seed's chain, whose sessions last `limit_s` seconds and which begins at `began`."""
    rng = random.Random(f"relay simulates {seed}: a cluster")
    return ClusterFaults(
        submits={rng.randint(1, FAULTY_JOBS): rng.choice(list(SubmitFault)) for _ in range(rng.randint(0, 3))},
        jobs={
            rng.randint(1, FAULTY_JOBS): JobFault(rng.choice(JOB_FAULTS), rng.uniform(0.0, limit_s))
            for _ in range(rng.randint(0, 3))
        },
        controller_away=_intervals(rng, began, limit_s),
        login_away=_intervals(rng, began, limit_s),
        lag_s=rng.choice((0.0, 0.0, 5.0, 90.0)),
        late_s=limit_s * rng.uniform(0.0, 3.0),
        accounting=rng.random() < 0.5,
    )


def _intervals(rng: random.Random, began: datetime, limit_s: float) -> tuple[tuple[datetime, datetime], ...]:
    found = []
    for _ in range(rng.choice((0, 0, 1, 2))):
        since = began + timedelta(seconds=limit_s * rng.uniform(0.0, 6.0))
        found.append((since, since + timedelta(seconds=limit_s * rng.choice((0.02, 0.3, 1.5)))))
    return tuple(found)
