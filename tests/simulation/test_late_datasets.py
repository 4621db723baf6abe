"""Datasets that Kaggle takes and shows late, never, or not under that name again: nothing is sent for ever, nobody is left waiting."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.effects import dataset_upload
from orchestrator.pipeline.loader import parse
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, DatasetAction, DatasetFault, FaultPlan
from orchestrator.rehearsal.local_kaggle.rules import PerKind, Rules
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder, final_digest
from orchestrator.rehearsal.simulation.invariants import InvariantBroken, Watched
from state.model.statuses import CheckpointStatus, RunStatus
from tests.simulation.pipelines import PIPELINE, expected_digest, pipeline

FIRST = "sim-0001-c0001"


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


def befallen(folder: Path, *faults: DatasetFault, rules: Rules | None = None, **more: Any) -> Chain:
    kaggle = SimulatedKaggle(pipeline(**more), FaultPlan(datasets=faults), rules or Rules(queue_s=PerKind.all(60.0)))
    return Chain(kaggle, folder)


def fault(version: int, action: DatasetAction, seconds: float = 0.0) -> DatasetFault:
    return DatasetFault(version=version, action=action, seconds=seconds)


def facts_named(chain: Chain, name: str) -> list[Any]:
    return [(at, fact) for at, fact in chain.store.facts(chain.run) if fact.name == name]


def sent(chain: Chain) -> dict[str, int]:
    return {slug: times for slug, times in chain.kaggle.world.datasets.sent.items() if slug.startswith(FIRST)}


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [60.0, 1500.0])
def test_a_dataset_that_is_shown_late_is_sent_once(folder: Path, seconds: float) -> None:
    chain = befallen(folder, fault(1, DatasetAction.LAG, seconds))
    assert final_digest(chain.drive()) == expected_digest(pipeline())
    assert sent(chain) == {FIRST: 1}


@pytest.mark.slow
def test_how_long_an_upload_took_is_told_of_a_dataset_that_is_shown_late_too(folder: Path) -> None:
    slow = CallFault(call="CreateDataset", action=CallAction.HANG, seconds=20.0)
    late = DatasetFault(version=1, action=DatasetAction.LAG, seconds=900.0)
    chain = Chain(SimulatedKaggle(pipeline(), FaultPlan(calls=(slow,), datasets=(late,))), folder)
    chain.drive()
    ((_, published), *_) = facts_named(chain, "checkpoint_published")
    assert published.sent_s == 20.0


@pytest.mark.slow
def test_a_dataset_that_is_never_shown_is_made_once_more_under_another_name_after_half_an_hour(folder: Path) -> None:
    chain = befallen(folder, fault(1, DatasetAction.VANISH))
    state = chain.drive()
    assert final_digest(state) == expected_digest(pipeline())
    assert sent(chain) == {FIRST: 1, f"{FIRST}-n2": 1}
    assert state.checkpoints[0].place == f"{FIRST}-n2"
    ((offered_at, _), _), ((dropped_at, dropped),) = (
        facts_named(chain, name)[:2] for name in ("dataset_offered", "dataset_dropped")
    )
    assert timedelta(minutes=30) < dropped_at - offered_at < timedelta(minutes=40)
    assert dropped.reason.startswith(f"Kaggle took the dataset {FIRST}, and after 3")
    assert dropped.reason.endswith("it does not show it")


@pytest.mark.slow
def test_one_that_is_never_shown_under_two_names_is_for_a_person_who_may_try_a_third(folder: Path) -> None:
    chain = befallen(folder, fault(1, DatasetAction.VANISH), fault(2, DatasetAction.VANISH))
    state = chain.drive()
    assert state.run.status is RunStatus.PARKED
    assert f"Kaggle took the dataset {FIRST}-n2" in state.run.reason
    assert state.run.remedy == "relay retry sim-0001"
    chain.kaggle.clock.sleep(86400)
    before = sent(chain)
    chain.drive()
    assert sent(chain) == before == {FIRST: 1, f"{FIRST}-n2": 1}, "nothing more is sent before a person says so"
    chain.ask_remedy()
    assert final_digest(chain.drive()) == expected_digest(pipeline())
    assert sent(chain) == {FIRST: 1, f"{FIRST}-n2": 1, f"{FIRST}-n3": 1}


@pytest.mark.slow
def test_a_dataset_that_is_processed_for_ever_has_an_end(folder: Path) -> None:
    chain = befallen(folder, fault(1, DatasetAction.SLOW, 1e6), fault(2, DatasetAction.SLOW, 1e6))
    begun_at = chain.kaggle.clock.now()
    state = chain.drive()
    assert state.run.status is RunStatus.PARKED
    assert "is still" in state.run.reason
    assert chain.kaggle.clock.now() - begun_at < timedelta(hours=14)
    chain.ask_remedy()
    assert final_digest(chain.drive()) == expected_digest(pipeline())


@pytest.mark.slow
def test_one_whose_files_are_never_listed_is_made_again(folder: Path) -> None:
    rules = Rules(queue_s=PerKind.all(60.0))
    chain = befallen(folder, fault(1, DatasetAction.READY_EARLY), fault(1, DatasetAction.SLOW, 1e6), rules=rules)
    state = chain.drive()
    assert final_digest(state) == expected_digest(pipeline())
    assert state.checkpoints[0].place == f"{FIRST}-n2"


def test_a_refusal_for_want_of_room_asks_a_person_at_once(folder: Path) -> None:
    chain = befallen(folder, fault(1, DatasetAction.NO_ROOM))
    for tick in chain.ticks():
        if any(fact.name == "run_parked" for fact in tick.facts):
            break
    assert "delete datasets that you no longer need on Kaggle" in chain.state.run.reason
    assert sent(chain) == {FIRST: 1}


@pytest.mark.slow
@pytest.mark.parametrize("frees", [False, True])
def test_after_a_deletion_the_next_dataset_has_another_name(folder: Path, frees: bool) -> None:
    """A name that was used once need not be free again, so it is not asked for."""
    rules = Rules(queue_s=PerKind.all(60.0), frees_names=frees)
    chain = befallen(folder, fault(1, DatasetAction.FAIL), rules=rules)
    state = chain.drive()
    assert final_digest(state) == expected_digest(pipeline())
    assert sent(chain) == {FIRST: 1, f"{FIRST}-n2": 1}


@pytest.mark.slow
def test_a_dataset_that_arrived_damaged_is_made_again_under_another_name_and_mounted_from_there(folder: Path) -> None:
    rules = Rules(queue_s=PerKind.all(60.0), frees_names=False)
    chain = befallen(folder, fault(1, DatasetAction.SPOIL), rules=rules)
    state = chain.drive()
    assert final_digest(state) == expected_digest(pipeline())
    assert state.checkpoints[0].place == f"{FIRST}-n2"
    assert all(c.status in (CheckpointStatus.PUBLISHED, CheckpointStatus.PRUNED) for c in state.checkpoints)


@pytest.mark.slow
def test_a_lost_answer_to_a_creation_sends_nothing_under_another_name(folder: Path) -> None:
    faults = FaultPlan(calls=(CallFault(call="CreateDataset", action=CallAction.LOST),))
    chain = Chain(SimulatedKaggle(pipeline(), faults), folder)
    state = chain.drive()
    assert final_digest(state) == expected_digest(pipeline())
    assert sent(chain) == {FIRST: 1}
    assert state.checkpoints[0].place == FIRST


def test_a_pruned_checkpoint_leaves_nothing_under_any_of_its_names(folder: Path) -> None:
    chain = befallen(folder, fault(1, DatasetAction.LAG, 3000.0), keep="keep_checkpoints: 2")
    state = chain.drive()
    assert state.checkpoints[0].place == f"{FIRST}-n2"
    chain.store.request(chain.run, "prune", {}, chain.kaggle.clock.now())
    chain.kaggle.clock.sleep(4000)
    chain.drive()
    assert state.checkpoints[0].name == FIRST
    assert [d.slug for d in chain.kaggle.world.datasets.all() if d.slug.startswith(FIRST)] == []


def test_the_pipelines_own_files_are_made_again_under_another_name_and_mounted_from_there(folder: Path) -> None:
    (folder / "data.jsonl").write_text("{}", encoding="utf-8")
    own = parse(f"{PIPELINE}inputs: {{files: [data.jsonl]}}", "sim.yaml", folder)
    chain = Chain(SimulatedKaggle(own, FaultPlan(datasets=(fault(1, DatasetAction.VANISH),))), folder / "home")
    state = chain.drive()
    assert state.run.status is RunStatus.FINISHED
    assert state.run.inputs_dataset == "sim-0001-inputs-n2"
    sources = chain.kaggle.world.kernels.find("me", "sim-0001-s0001").newest.save.dataset_sources
    assert "me/sim-0001-inputs-n2" in sources


# --- planted ---------------------------------------------------------------------------


def test_a_daemon_that_sent_what_is_not_shown_again_at_every_poll_is_caught_by_the_simulator(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_upload, "_not_visible", lambda offer, shell: dataset_upload._create(offer, shell))
    chain = befallen(folder, fault(1, DatasetAction.VANISH))
    watched = Watched(chain)
    with pytest.raises(
        InvariantBroken, match=r"nothing is sent again and again: the files of sim-0001-c0001 were sent 26 times"
    ):
        for tick in chain.ticks():
            watched.after(tick)
