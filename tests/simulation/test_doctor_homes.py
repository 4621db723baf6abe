"""The doctor says which other home folder works on a run, since when, and how to leave it there or take it over; it changes nothing."""

import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.app.doctor import homes
from orchestrator.app.doctor.subject import DoctorSubject
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.home_identity import identity_of, known_identity
from orchestrator.preflight.check.findings import Finding, Severity
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder
from orchestrator.rehearsal.simulation.second_home import CopyIdentity, HomeCopy, SecondHome
from state.facts.run import RunTakenOver
from state.store import Store
from tests.simulation.pipelines import pipeline
from tests.unit.test_damaged_database import AT, two_runs

CHOICE = (
    "leave it there, and relay cancel sim-0001 gives it up here; or stop the daemon there, and relay resume sim-0001 --take-over "
    "continues it here"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        (found / "home").mkdir()
        yield found


def copied_before_a_push(folder: Path) -> tuple[Chain, SecondHome]:
    """A run, and a copy of its home folder as of before its first session was pushed."""
    first = Chain(SimulatedKaggle(pipeline()), folder / "home")
    next(iter(first.ticks()))
    return first, SecondHome(first, folder / "copy", HomeCopy(after_ticks=0, identity=CopyIdentity.OTHER_ID))


def looked(chain: Chain) -> list[Finding]:
    return list(homes.foreign_work_on(chain.state, chain.identity, chain.kaggle.gateway(), chain.kaggle.clock.now()))


def test_the_home_folder_whose_mark_is_on_the_newest_kernel_is_named_with_the_choice(folder: Path) -> None:
    first, second = copied_before_a_push(folder)
    first.drive()
    (found,) = looked(second.chain)
    assert (found.state, found.remedy) == (Severity.WARNING, CHOICE)
    assert found.sentence == (
        f"the home folder {first.identity} works on sim-0001 since it began, as the mark on sim-0001-s0001 and what followed says"
    )
    assert looked(first) == [], "and whoever works on it is told of nobody"


def test_the_home_folder_whose_mark_is_on_the_newest_dataset_is_named_too(folder: Path) -> None:
    """It has published the checkpoint of a session that this one pushed, and has pushed nothing itself yet."""
    first = Chain(SimulatedKaggle(pipeline()), folder / "home")
    turn_until(first, "seen_ended")
    second = SecondHome(first, folder / "copy", HomeCopy(after_ticks=0, identity=CopyIdentity.OTHER_ID))
    assert looked(first) == []
    turn_until(second.chain, "checkpoint_published")
    (found,) = looked(first)
    assert (found.state, found.remedy) == (Severity.WARNING, CHOICE)
    assert found.sentence == (
        f"the home folder {second.chain.identity} works on sim-0001 since it began, as the mark on the dataset sim-0001-c0001 says"
    )


def turn_until(chain: Chain, name: str) -> None:
    for tick in chain.ticks():
        if any(fact.name == name for fact in tick.facts):
            return
    raise AssertionError(f"{name} never happened")


def test_a_takeover_is_told_with_its_time(folder: Path) -> None:
    first, second = copied_before_a_push(folder)
    at = first.kaggle.clock.now() - timedelta(hours=2)
    generation = int(at.timestamp())
    second.chain.store.append("sim-0001", [RunTakenOver(home=second.chain.identity, generation=generation)], at)
    second.chain.drive()
    (found,) = looked(first)
    hours = (first.kaggle.clock.now() - at) // timedelta(hours=1)
    assert f"the home folder {second.chain.identity} works on sim-0001 since " in found.sentence
    assert re.search(rf"{hours} h \d+ min ago|\d+ d", found.sentence), found.sentence
    assert looked(second.chain) == []


def test_a_copy_is_told_whose_its_runs_are_without_kaggle_and_gets_no_id_by_looking(tmp_path: Path) -> None:
    home = tmp_path / "home"
    two_runs(home)
    owner = identity_of(home)
    Store.at(home).append("r-0001", [RunTakenOver(home=owner, generation=1)], AT)
    assert list(homes.copied_home(DoctorSubject(HomeLayout(home), tmp_path, {}, AT))) == []
    shutil.copytree(home, tmp_path / "copy")
    before = (tmp_path / "copy" / "home.json").read_bytes()
    (found,) = homes.copied_home(DoctorSubject(HomeLayout(tmp_path / "copy"), tmp_path, {}, AT))
    assert f"the home folder {owner} works on r-0001" in found.sentence
    assert "relay resume r-0001 --take-over" in found.remedy
    assert (known_identity(home), known_identity(tmp_path / "copy")) == (owner, "")
    assert (tmp_path / "copy" / "home.json").read_bytes() == before
