"""Faults of a Kaggle that answers late, shows resources late or never, and does not free deleted names.

The delays stay within relay's patience: a push that appears later cannot be told apart from one that never does.
"""

import random
from dataclasses import replace

from orchestrator.core.plan import search_limits
from orchestrator.rehearsal.local_kaggle.faults import DatasetAction, DatasetFault, FaultPlan, PushAction, PushFault
from orchestrator.rehearsal.local_kaggle.rules import Rules

PUSHES = (PushAction.LATE, PushAction.LAG)
DATASETS = (DatasetAction.LAG, DatasetAction.VANISH, DatasetAction.NO_ROOM)
"""Faults that are drawn only in this module."""

FAULTY = 6
"""Highest number of a push or dataset that a fault may hit, so that later ones succeed."""


def with_delayed_faults(
    seed: int, faults: FaultPlan, rules: Rules, limit_s: float, *, alone: bool
) -> tuple[FaultPlan, Rules]:
    """Add delayed faults to the plan and the rules of a seed.

    Delayed pushes are drawn only if the chain has one home folder (`alone`): a second one cannot know of a push that
    Kaggle does not show yet.
    """
    rng = random.Random(f"relay simulates {seed}: late")
    if rng.random() < 0.4:
        return faults, rules
    unclear_s, visible_s, _ = search_limits(limit_s)
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
