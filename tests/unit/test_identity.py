"""A home folder has an id of its own, and a copy of it has another one."""

import shutil
from pathlib import Path

from orchestrator.engine.home_identity import identity_of

HERE, THERE = "machine-1", "machine-2"


def test_an_id_is_made_once_and_kept(tmp_path: Path) -> None:
    first = identity_of(tmp_path / "home", HERE)
    assert identity_of(tmp_path / "home", HERE) == first
    assert identity_of(tmp_path / "other", HERE) != first


def test_a_copy_on_the_same_machine_is_another_home_and_the_original_stays_itself(tmp_path: Path) -> None:
    first = identity_of(tmp_path / "home", HERE)
    shutil.copytree(tmp_path / "home", tmp_path / "copy")
    second = identity_of(tmp_path / "copy", HERE)
    assert second != first
    assert identity_of(tmp_path / "copy", HERE) == second
    assert identity_of(tmp_path / "home", HERE) == first


def test_a_copy_on_another_machine_is_another_home_even_under_the_same_path(tmp_path: Path) -> None:
    first = identity_of(tmp_path / "home", HERE)
    assert identity_of(tmp_path / "home", THERE) != first


def test_a_folder_that_was_moved_on_one_machine_is_the_same_home(tmp_path: Path) -> None:
    first = identity_of(tmp_path / "home", HERE)
    (tmp_path / "home").rename(tmp_path / "moved")
    assert identity_of(tmp_path / "moved", HERE) == first
    shutil.copytree(tmp_path / "moved", tmp_path / "home")
    assert identity_of(tmp_path / "home", HERE) != first, "and what is copied back is a copy"


def test_a_machine_that_cannot_be_told_is_no_reason_to_take_a_folder_for_a_copy(tmp_path: Path) -> None:
    first = identity_of(tmp_path / "home", "")
    assert identity_of(tmp_path / "home", HERE) == first


def test_a_damaged_note_makes_another_home_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    first = identity_of(tmp_path, HERE)
    (tmp_path / "home.json").write_text("{", encoding="utf-8")
    assert identity_of(tmp_path, HERE) != first
    assert (tmp_path / "home.json").stat().st_mode & 0o077 == 0
