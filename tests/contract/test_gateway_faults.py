"""What Kaggle was seen to answer wrongly means the same over HTTP and directly."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.base.errors import NoSlot, Permanent
from orchestrator.platforms.port import Worker
from orchestrator.rehearsal.local_kaggle.datasets import Describe
from orchestrator.rehearsal.local_kaggle.faults import (
    CallAction,
    CallFault,
    FaultPlan,
    PushAction,
    PushFault,
    SessionAction,
    SessionFault,
)
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from tests.contract.worlds import OWNER, PLAYED, Place, directly, kernel, over_http

SLUG = "gsm-3f9a-s0001"
TPU = "TpuV5E8"
Opened = Callable[[FaultPlan], AbstractContextManager[Place]]


@pytest.fixture(params=["http", "direct"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    way = over_http if request.param == "http" else directly
    return lambda faults: way(tmp_path / "kaggle", faults=faults, played=replace(PLAYED, ends_after_s=100.0))


def push_fault(action: PushAction) -> FaultPlan:
    return FaultPlan(pushes=(PushFault(push=1, action=action),))


def session_fault(action: SessionAction, seconds: float = 0.0) -> FaultPlan:
    return FaultPlan(sessions=(SessionFault(session=1, action=action, seconds=seconds),))


@pytest.mark.slow
def test_a_missing_answer_about_the_quota_is_unknown_and_not_zero(opened: Opened) -> None:
    faults = FaultPlan(calls=(CallFault(call="GetAcceleratorQuotaStatistics", action=CallAction.EMPTY),))
    with opened(faults) as place:
        assert place.gateway.quota("tpu") is None
        assert place.gateway.quota("tpu") is not None


@pytest.mark.slow
def test_a_push_that_is_answered_without_a_version_has_none_and_runs(opened: Opened) -> None:
    with opened(push_fault(PushAction.NO_VERSION)) as place:
        assert place.gateway.push(kernel(SLUG)).version is None
        place.wait(20)
        assert place.gateway.session(SLUG, None).worker is Worker.RUNNING


@pytest.mark.slow
def test_a_phantom_version_never_ran_and_the_session_is_seen_without_it(opened: Opened) -> None:
    with opened(push_fault(PushAction.PHANTOM)) as place:
        assert place.gateway.push(kernel(SLUG)).version == 2
        place.wait(20)
        assert place.gateway.session(SLUG, 2).worker is Worker.NEW_SCRIPT
        assert place.gateway.session(SLUG, None).worker is Worker.RUNNING
        assert place.gateway.output(SLUG, 2) == ()
        place.wait(100)
        assert len(place.gateway.output(SLUG, None)) == 2


@pytest.mark.slow
def test_a_push_whose_inputs_are_called_invalid_is_an_error_and_runs_without_them(opened: Opened) -> None:
    with opened(push_fault(PushAction.REFUSE_INPUTS)) as place:
        with place.world.at_now() as now:
            files = {"a.bin": Content.of_bytes(b"a", now)}
            place.world.datasets.create(OWNER, "some-data", Describe(title="some-data"), files, now)
        with pytest.raises(Permanent, match="alice/some-data"):
            place.gateway.push(kernel(SLUG, dataset_sources=("alice/some-data",)))
        place.wait(20)
        assert place.gateway.session(SLUG, None).worker is Worker.RUNNING


@pytest.mark.slow
def test_a_stale_status_is_an_earlier_one(opened: Opened) -> None:
    with opened(session_fault(SessionAction.STALE_STATUS, 50.0)) as place:
        place.gateway.push(kernel(SLUG))
        place.wait(20)
        seen = [place.gateway.session(SLUG, 1).worker for _ in range(2)]
        place.wait(100)
        seen += [place.gateway.session(SLUG, 1).worker for _ in range(2)]
    assert seen == [Worker.QUEUED, Worker.RUNNING, Worker.RUNNING, Worker.COMPLETE]


@pytest.mark.slow
def test_a_slot_that_is_held_after_its_sessions_end_declines_the_next_push(opened: Opened) -> None:
    with opened(session_fault(SessionAction.HOLD_SLOT, 500.0)) as place:
        place.gateway.push(kernel(SLUG, machine_shape=TPU))
        place.wait(10)
        place.wait(150)
        assert place.gateway.session(SLUG, 1).worker is Worker.COMPLETE
        with pytest.raises(NoSlot):
            place.gateway.push(kernel("second-kernel", machine_shape=TPU))
        place.wait(500)
        assert place.gateway.push(kernel("second-kernel", machine_shape=TPU)).version == 2
