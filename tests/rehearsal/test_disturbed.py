"""Disturbed rehearsals: the daemon is killed and Kaggle misbehaves at random, and each ends as the quiet one does."""

import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, FaultPlan
from tests.rehearsal.laptop import SMALL, laptop

KILLS = 3
SHORT = SMALL.replace("steps: 20", "steps: 15").replace("steps: 50", "steps: 45")
CALLS = "[!I]*"
"""All but the introspection of the token: credentials that seem refused are only tried again after a minute."""


def misbehaving(seed: int) -> FaultPlan:
    """A Kaggle of which about one answer in four is of no use."""
    some = {"call": CALLS, "times": 0}
    return FaultPlan(
        seed=seed,
        calls=(
            CallFault(**some, action=CallAction.STATUS, status=429, retry_after_s=0.5, probability=0.03),
            CallFault(**some, action=CallAction.STATUS, status=429, probability=0.03),
            CallFault(**some, action=CallAction.STATUS, status=503, probability=0.04),
            CallFault(**some, action=CallAction.EMPTY, probability=0.04),
            CallFault(**some, action=CallAction.HTML, probability=0.04),
            CallFault(**some, action=CallAction.LOST, probability=0.04),
            CallFault(**some, action=CallAction.HANG, seconds=0.7, probability=0.04),
            CallFault(call="OutputFile", action=CallAction.CUT, after_bytes=90_000, probability=0.3, times=0),
            CallFault(call="BlobUpload", action=CallAction.CUT, after_bytes=90_000, probability=0.3, times=0),
        ),
    )


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run that nobody disturbs ends in."""
    with laptop(tmp_path_factory.mktemp("quiet"), SHORT) as (mine, kaggle):
        mine.until(mine.is_over, mine.daemon())
        mine.assert_finished(kaggle)
        contents: dict[str, Any] = mine.run["checkpoints"][-1]["contents"]
        return contents


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in (2, 3))])
def test_a_run_ends_the_same_however_often_the_daemon_is_killed_and_kaggle_fails(
    tmp_path: Path, quiet: dict[str, Any], seed: int
) -> None:
    chance = random.Random(seed)
    with laptop(tmp_path, SHORT, faults=misbehaving(seed)) as (mine, kaggle):
        for _ in range(KILLS):
            daemon = mine.daemon()
            time.sleep(chance.uniform(0.3, 2.5))
            daemon.send_signal(signal.SIGKILL)
            daemon.wait()
        mine.until(mine.is_over, mine.daemon())
        mine.assert_finished(kaggle, f"seed {seed}")
        assert mine.run["checkpoints"][-1]["contents"] == quiet, f"seed {seed}"
