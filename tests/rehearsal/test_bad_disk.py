"""This machine's disk is full or closed: nothing is lost, the status says so in a sentence, and relay continues by itself."""

import json
import os
import re
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.base.disk import RESERVE_BYTES, free_bytes
from tests.rehearsal.laptop import SMALL, Laptop, laptop, local_kaggle

MIB = 2**20
LARGE = SMALL.replace("payload_bytes: 200000", "payload_bytes: 3000000")
FULL = re.compile(
    r"the disk that holds \S+/home is full, [\d,]+ bytes are missing: free some space, and relay continues by itself"
)
"""Each look has its own number of bytes: the daemon writes between two of them."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 MiB for the home folder alone."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(place)], check=False).returncode:
        pytest.skip("this user may not mount a disk; a limit on the daemon's files stands in for it in another test")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path, leave_bytes: int) -> Path:
    """Another program's file, which leaves so much room."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        left = free_bytes(disk) - leave_bytes
        while left > 0:
            left -= file.write(bytes(min(left, MIB // 16)))
    return ballast


def warnings(mine: Laptop) -> list[str]:
    """What `relay status` says of the home folder."""
    told = mine.relay("status", "--json")
    assert told.returncode == 0, told.stderr
    found: list[str] = json.loads(told.stdout)["warnings"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("leave_bytes", [RESERVE_BYTES // 2, 0], ids=["room for the database", "no room at all"])
def test_a_full_disk_is_named_with_what_is_missing_and_waited_for(
    tmp_path: Path, small_disk: Path, leave_bytes: int
) -> None:
    with laptop(tmp_path, LARGE, home=small_disk / "home") as (mine, kaggle):
        daemon = mine.daemon()
        mine.until(mine.runs_a_session, daemon)
        ballast = fill(small_disk, leave_bytes)
        mine.until(lambda: "bytes are missing" in mine.told or "full or fails" in mine.told, daemon)
        (sentence,) = warnings(mine)
        assert FULL.fullmatch(sentence), sentence
        shown = " ".join(mine.relay("status").stdout.split())
        assert FULL.search(shown), shown
        assert mine.run["state"] == "active"
        ballast.unlink()
        mine.until(mine.is_over, daemon)
        mine.assert_finished(kaggle)


@pytest.mark.slow
def test_a_checkpoint_larger_than_this_user_may_write_is_waited_for(tmp_path: Path) -> None:
    with laptop(tmp_path, LARGE) as (mine, kaggle):
        daemon = mine.daemon()
        limits = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (MIB, limits[1]))
        mine.until(lambda: "bytes are missing" in mine.told, daemon)
        shown = " ".join(mine.relay("status").stdout.split())
        assert re.search(r"is full, .*; tried again at", shown), shown
        assert mine.status == "active"
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, limits)
        mine.until(mine.is_over, daemon)
        mine.assert_finished(kaggle)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_daemon_whose_report_finds_no_room_works_on(tmp_path: Path) -> None:
    with laptop(tmp_path) as (mine, kaggle), Path("/dev/full").open("wb") as full:
        daemon = mine.daemon(report=full)
        mine.until(mine.is_over, daemon)
        mine.assert_finished(kaggle)


@pytest.fixture
def closed(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Laptop]:
    """A laptop with a run whose home folder nobody may write in any more."""
    if os.geteuid() == 0:
        place: Path = request.getfixturevalue("small_disk")
    else:
        place = tmp_path
    with local_kaggle(tmp_path / "kaggle") as kaggle:
        mine = Laptop(tmp_path, kaggle.environment(), home=place / "home")
        mine.start()
        if os.geteuid() == 0:
            subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        else:
            (mine.home / "relay.db").chmod(0o400)
            mine.home.chmod(0o500)
        yield mine
        if os.geteuid() != 0:
            mine.home.chmod(0o700)


@pytest.mark.slow
def test_where_nothing_can_be_written_each_command_says_so_and_status_still_tells_everything(closed: Laptop) -> None:
    for command in (["daemon"], ["daemon", "--once"], ["start", str(closed.pipeline)], ["pause", "count"]):
        refused = closed.relay(*command)
        assert refused.returncode in (1, 2), command
        assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
        assert "name another" in refused.stderr
    assert closed.run["state"] == "active"
    assert "count-" in closed.relay("status").stdout


@pytest.mark.slow
def test_a_home_that_cannot_be_made_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with local_kaggle(tmp_path / "kaggle") as kaggle:
        mine = Laptop(tmp_path, kaggle.environment(), home=tmp_path / "file" / "home")
        refused = mine.relay("start", str(mine.pipeline))
    assert refused.returncode == 2
    assert "name another folder with --home" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
