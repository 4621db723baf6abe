"""A Kaggle that answers late, shows late or never, and keeps names means the same over HTTP and directly."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.base.errors import Ambiguous, NameTaken, NoRoom
from orchestrator.engine.ownership import Mark
from orchestrator.platforms.port import Worker
from orchestrator.rehearsal.local_kaggle.faults import (
    NO_FAULTS,
    DatasetAction,
    DatasetFault,
    FaultPlan,
    PushAction,
    PushFault,
)
from tests.contract.worlds import RULES, Place, directly, kernel, over_http

SLUG, DATASET = "gsm-3f9a-s0001", "gsm-3f9a-c0001"
Opened = Callable[..., AbstractContextManager[Place]]


@pytest.fixture(params=["http", "direct"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    way = over_http if request.param == "http" else directly
    return lambda faults=NO_FAULTS, **more: way(tmp_path / "kaggle", faults=faults, **more)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "state.bin"
    path.write_bytes(b"x" * 5000)
    return path


def push_fault(action: PushAction, seconds: float) -> FaultPlan:
    return FaultPlan(pushes=(PushFault(push=1, action=action, seconds=seconds),))


def dataset_fault(action: DatasetAction, seconds: float = 0.0) -> FaultPlan:
    return FaultPlan(datasets=(DatasetFault(version=1, action=action, seconds=seconds),))


@pytest.mark.slow
def test_a_push_may_be_carried_out_long_after_its_504(opened: Opened) -> None:
    with opened(push_fault(PushAction.LATE, 75.0)) as place:
        with pytest.raises(Ambiguous):
            place.gateway.push(kernel(SLUG))
        place.wait(60)
        assert place.gateway.find_kernel(SLUG) is None
        assert place.gateway.recent_kernels().kernels == ()
        place.wait(20)
        found = place.gateway.find_kernel(SLUG)
        assert found is not None and found.version == 1
        assert [listed.slug for listed in place.gateway.recent_kernels().kernels] == [SLUG]
        place.wait(20)
        assert place.gateway.session(SLUG, 1).worker is Worker.RUNNING


@pytest.mark.slow
def test_a_kernel_may_be_shown_only_after_its_session_began(opened: Opened) -> None:
    with opened(push_fault(PushAction.LAG, 300.0)) as place:
        assert place.gateway.push(kernel(SLUG)).version == 1
        place.wait(50)
        assert place.gateway.session(SLUG, 1).worker is Worker.RUNNING
        assert place.gateway.find_kernel(SLUG) is None
        assert place.gateway.list_kernels("gsm") == ()
        place.wait(300)
        assert place.gateway.find_kernel(SLUG) is not None
        assert place.gateway.list_kernels("gsm") == (SLUG,)


@pytest.mark.slow
def test_a_new_version_that_is_not_shown_yet_leaves_the_one_before_it(opened: Opened) -> None:
    faults = FaultPlan(pushes=(PushFault(push=2, action=PushAction.LAG, seconds=300.0),))
    with opened(faults) as place:
        place.gateway.push(kernel(SLUG))
        place.gateway.push(kernel(SLUG, source="# second"))
        found = place.gateway.find_kernel(SLUG)
        assert found is not None and (found.version, found.source) == (1, kernel(SLUG).source)
        place.wait(300)
        found = place.gateway.find_kernel(SLUG)
        assert found is not None and (found.version, found.source) == (2, "# second")


@pytest.mark.slow
@pytest.mark.parametrize(("action", "seconds"), [(DatasetAction.LAG, 900.0), (DatasetAction.VANISH, 0.0)])
def test_a_dataset_may_be_accepted_and_not_shown(
    opened: Opened, state: Path, action: DatasetAction, seconds: float
) -> None:
    with opened(dataset_fault(action, seconds)) as place:
        place.gateway.create_dataset(DATASET, [state])
        place.wait(800)
        assert place.gateway.find_dataset(DATASET) is None
        assert place.gateway.list_datasets("gsm") == ()
        with pytest.raises(NameTaken):
            place.gateway.create_dataset(DATASET, [state])
        place.wait(200)
        assert (place.gateway.find_dataset(DATASET) is not None) == (action is DatasetAction.LAG)


@pytest.mark.slow
def test_a_dataset_may_be_declined_for_want_of_room(opened: Opened, state: Path) -> None:
    with opened(dataset_fault(DatasetAction.NO_ROOM)) as place:
        with pytest.raises(NoRoom):
            place.gateway.create_dataset(DATASET, [state])
        place.gateway.create_dataset(DATASET, [state])
        assert place.gateway.find_dataset(DATASET) is not None


@pytest.mark.slow
def test_the_name_of_a_deleted_dataset_and_of_a_deleted_kernel_may_not_be_free_again(
    opened: Opened, state: Path
) -> None:
    with opened(rules=replace(RULES, frees_names=False)) as place:
        place.gateway.create_dataset(DATASET, [state])
        place.wait(100)
        place.gateway.delete_dataset(DATASET)
        assert place.gateway.find_dataset(DATASET) is None
        with pytest.raises(NameTaken):
            place.gateway.create_dataset(DATASET, [state])
        place.gateway.push(kernel(SLUG))
        place.world.delete_kernel("alice", SLUG)
        with pytest.raises(NameTaken):
            place.gateway.push(kernel(SLUG))


@pytest.mark.slow
def test_a_datasets_mark_is_read_back_as_it_was_written(opened: Opened, state: Path) -> None:
    mark = Mark("3f9a2c7d1b04@laptop", 1893456000)
    with opened() as place:
        place.gateway.create_dataset(DATASET, [state], description=mark.text)
        place.wait(100)
        seen = place.gateway.find_dataset(DATASET)
        assert seen is not None
        assert Mark.on_dataset(seen) == mark


@pytest.mark.slow
def test_bytes_that_were_sent_before_a_refusal_are_not_sent_again(tmp_path: Path, state: Path) -> None:
    with over_http(tmp_path / "kaggle", faults=dataset_fault(DatasetAction.NO_ROOM)) as place:
        with pytest.raises(NoRoom):
            place.gateway.create_dataset(DATASET, [state])
        received = [blob.name for blob in place.world.blobs.all()]
        place.gateway.create_dataset(DATASET, [state])
        assert [blob.name for blob in place.world.blobs.all()] == received, "no other upload was begun"
        place.wait(100)
        seen = place.gateway.find_dataset(DATASET)
        assert seen is not None and [file.size_bytes for file in seen.files] == [5000]
