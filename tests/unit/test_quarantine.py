"""Damaged bytes are kept for a person, the newest few, named by checkpoint, file and time, and never in a checkpoint's way."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.base.disk import RESERVE_BYTES
from orchestrator.base.errors import Corrupt, DiskRefused
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.quarantine import Quarantine

AT = datetime(2030, 1, 7, 12, tzinfo=UTC)


def taken(home: HomeLayout, data: bytes, later_s: int = 0, name: str = "state.bin", **limits: int) -> Quarantine:
    """One damaged file that was taken."""
    quarantine = Quarantine(home, "r-0001", AT + timedelta(seconds=later_s), **limits)
    path = home.path / name
    path.write_bytes(data)
    quarantine.take(path, "r-0001-c0001", name, "disk", "another SHA-256")
    assert not path.exists()
    return quarantine


def test_a_kept_file_tells_checkpoint_file_and_time(tmp_path: Path) -> None:
    quarantine = taken(HomeLayout(tmp_path), b"bad")
    (found,) = quarantine.found
    assert found.kept == "r-0001-c0001.state.bin.20300107T120000Z"
    assert (tmp_path / "runs" / "r-0001" / "quarantine" / found.kept).read_bytes() == b"bad"


def test_two_damages_within_a_second_are_both_kept(tmp_path: Path) -> None:
    kept = [taken(HomeLayout(tmp_path), data).found[0].kept for data in (b"one", b"two")]
    assert [(tmp_path / "runs" / "r-0001" / "quarantine" / name).read_bytes() for name in kept] == [b"one", b"two"]


def test_only_the_newest_few_are_kept(tmp_path: Path) -> None:
    for second in range(9):
        quarantine = taken(HomeLayout(tmp_path), bytes([second]), second, files_max=3)
    assert [path.read_bytes() for path in sorted(quarantine.folder.iterdir())] == [b"\6", b"\7", b"\10"]


def test_what_is_kept_after_a_clock_was_put_right_is_newer_than_what_was_kept_before(tmp_path: Path) -> None:
    year_s = 365 * 86_400
    for number, later_s in enumerate((year_s, year_s + 1, 5, 0)):
        quarantine = taken(HomeLayout(tmp_path), bytes([number]), later_s, files_max=2)
        assert (quarantine.folder / quarantine.found[0].kept).read_bytes() == bytes([number])
    assert {path.read_bytes() for path in quarantine.folder.iterdir()} == {b"\2", b"\3"}


def test_of_many_within_a_second_the_newest_are_kept(tmp_path: Path) -> None:
    for number in range(12):
        quarantine = taken(HomeLayout(tmp_path), bytes([number]), name=f"{'zyx'[number % 3]}.bin", files_max=3)
        assert (quarantine.folder / quarantine.found[0].kept).read_bytes() == bytes([number])
    assert {path.read_bytes() for path in quarantine.folder.iterdir()} == {b"\x09", b"\x0a", b"\x0b"}


def test_together_they_are_no_larger_than_allowed_and_one_that_is_alone_too_large_is_not_kept(tmp_path: Path) -> None:
    for second in range(3):
        quarantine = taken(HomeLayout(tmp_path), b"x" * 40, second, size_bytes_max=100)
    assert len(list(quarantine.folder.iterdir())) == 2
    large = taken(HomeLayout(tmp_path), b"x" * 101, 9, size_bytes_max=100)
    assert list(quarantine.folder.iterdir()) == []
    assert large.found[0].kept == ""


def test_a_checkpoint_that_needs_the_room_gets_it_and_says_how_much_more_it_needs(tmp_path: Path) -> None:
    folder = HomeLayout(tmp_path).quarantine("r-0001")
    home = HomeLayout(
        tmp_path, free_bytes=lambda _: RESERVE_BYTES + 1000 - sum(path.stat().st_size for path in folder.glob("*"))
    )
    for second in range(3):
        quarantine = taken(home, b"x" * 100, second)
    quarantine.make_room(850, tmp_path)
    assert len(list(folder.iterdir())) == 1, "no more went than had to"
    with pytest.raises(DiskRefused, match=r"is full, 200 bytes are missing: free some space"):
        quarantine.make_room(1200, tmp_path)
    assert list(folder.iterdir()) == []


def test_a_download_that_differs_is_noted_and_passed_on(tmp_path: Path) -> None:
    quarantine = Quarantine(HomeLayout(tmp_path), "r-0001", AT)
    with pytest.raises(Corrupt), quarantine.watching("c1", "deep/state.bin", "output") as damaged:
        damaged.parent.mkdir(parents=True)
        damaged.write_bytes(b"bad")
        raise Corrupt("x" * 5000)
    (found,) = quarantine.found
    assert found.kept == "c1.deep_state.bin.20300107T120000Z"
    assert len(found.problem) < 500
