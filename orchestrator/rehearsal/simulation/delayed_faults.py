"""What a Kaggle draws that answers late, shows late or not at all, and gives no name away twice.

The times stay within what relay waits for: nobody can tell a push that comes after that from one that never comes.
"""

import random
from dataclasses import replace

from orchestrator.core.plan import patience_of
from orchestrator.rehearsal.local_kaggle.faults import DatasetAction, DatasetFault, FaultPlan, PushAction, PushFault
from orchestrator.rehearsal.local_kaggle.rules import Rules

PUSHES = (PushAction.LATE, PushAction.LAG)
DATASETS = (DatasetAction.LAG, DatasetAction.VANISH, DatasetAction.NO_ROOM)
"""The faults that are drawn here and nowhere else."""

FAULTY = 6
"""They befall only the first pushes and datasets of a chain."""


def drawn_late(seed: int, faults: FaultPlan, rules: Rules, limit_s: float, *, alone: bool) -> tuple[FaultPlan, Rules]:
    """The plan and the rules of a seed with what is late in them.

    Pushes come late only where one home folder is `alone`: of a push that Kaggle does not show, no other one can know.
    """
    rng = random.Random(f"relay simulates {seed}: late")
    if rng.random() < 0.4:
        return faults, rules
    unclear_s, visible_s, _ = patience_of(limit_s)
    drawn = [_push(rng, unclear_s) for _ in range(rng.choice((0, 1, 1, 2)))]
    pushes = tuple(drawn if alone else ())
    datasets = tuple(_dataset(rng, visible_s) for _ in range(rng.choice((0, 0, 1, 2))))
    rules = replace(rules, frees_names=rng.random() < 0.5)
    return replace(faults, pushes=(*pushes, *faults.pushes), datasets=(*datasets, *faults.datasets)), rules


def _push(rng: random.Random, unclear_s: float) -> PushFault:
    seconds = rng.uniform(0.0, 0.9 * unclear_s)
    return PushFault(push=rng.randint(1, FAULTY), action=rng.choice(PUSHES), seconds=seconds)


def _dataset(rng: random.Random, visible_s: float) -> DatasetFault:
    action = rng.choice(DATASETS)
    seconds = rng.uniform(0.0, 1.5 * visible_s) if action is DatasetAction.LAG else 0.0
    return DatasetFault(version=rng.randint(1, FAULTY), action=action, seconds=seconds)
