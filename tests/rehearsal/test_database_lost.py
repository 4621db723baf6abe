"""The database is lost, damaged or put back under real daemons: nothing runs twice, and each command says in a sentence what to do."""

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stages.contract import MANIFEST_NAME, Manifest
from tests.rehearsal.laptop import ROOT, Laptop, laptop, pushes


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """What a command said before it failed: one line."""
    (line,) = done.stderr.strip().splitlines()
    return line


def contents(mine: Laptop) -> Any:
    """What the run's newest checkpoint holds."""
    return mine.run["checkpoints"][-1]["contents"]


def published(mine: Laptop) -> bool:
    return bool(mine.ask("SELECT 1 FROM checkpoint WHERE status = 'published'"))


def backed_up(mine: Laptop) -> bool:
    """Whether the daemon has made a backup that knows of a published checkpoint."""
    for path in sorted((mine.home / "backups").glob("checkpoint-*.db")):
        with closing(sqlite3.connect(path)) as found:
            if found.execute("SELECT 1 FROM checkpoint WHERE status = 'published'").fetchone():
                return True
    return False


def running(mine: Laptop, daemon: subprocess.Popen[bytes]) -> str:
    """The kernel of a session that is seen to run, by one look: it may be over at the next."""
    seen: list[tuple[Any, ...]] = []

    def look() -> bool:
        seen[:] = mine.ask("SELECT slug FROM session WHERE phase = 'running'")
        return bool(seen)

    mine.until(look, daemon)
    return str(seen[0][0])


@pytest.fixture(scope="module")
def uncut(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a run that nothing befalls ends in."""
    with laptop(tmp_path_factory.mktemp("uncut")) as (mine, kaggle):
        mine.until(mine.is_over, mine.daemon())
        mine.assert_finished(kaggle)
        return contents(mine)


@pytest.mark.slow
def test_a_database_removed_under_a_daemon_ends_it_and_comes_back_from_its_backup(tmp_path: Path, uncut: Any) -> None:
    with laptop(tmp_path) as (mine, kaggle):
        daemon = mine.daemon()
        mine.until(lambda: backed_up(mine), daemon)
        run = mine.run["id"]
        for path in mine.home.glob("relay.db*"):
            path.unlink(missing_ok=True)
        assert daemon.wait(60) == 1
        assert "relay.db was removed: relay restore brings back" in mine.told
        assert "Traceback" not in mine.told
        assert not (mine.home / "relay.db").exists()
        before = pushes(kaggle)
        shown = " ".join(mine.relay("status").stdout.split())
        assert f"{run} is here: relay restore brings back" in shown
        assert "relay start" not in shown
        for command in (["start", str(mine.pipeline)], ["up", str(mine.pipeline)], ["daemon"], ["pause", "count"]):
            refused = mine.relay(*command)
            assert refused.returncode == 2, command
            assert f"relay adopt {run}" in sentence(refused)
        assert not (mine.home / "relay.db").exists()
        assert mine.relay("restore").returncode == 0
        daemon = mine.daemon()
        mine.until(mine.is_over, daemon)
        mine.assert_finished(kaggle)
        assert before.items() <= pushes(kaggle).items(), "what was pushed before is pushed no second time"
        assert contents(mine) == uncut


@pytest.mark.slow
def test_one_damaged_run_leaves_another_alone_and_is_adopted_in_the_place_of_its_rows(
    tmp_path: Path, uncut: Any
) -> None:
    with laptop(tmp_path) as (mine, kaggle):
        daemon = mine.daemon()
        mine.until(lambda: published(mine), daemon)
        daemon.kill()
        daemon.wait()
        damaged = mine.run["id"]
        other = tmp_path / "other.yaml"
        other.write_text(
            mine.pipeline.read_text().replace("name: count", "name: other").replace("steps: 50", "steps: 5")
        )
        assert mine.relay("start", str(other)).returncode == 0
        with closing(sqlite3.connect(mine.home / "relay.db")) as rival, rival:
            rival.execute("UPDATE fact SET name = 'ween_running' WHERE name = 'seen_running'")
        told = mine.relay("status", "--json")
        assert told.returncode == 0, told.stderr
        document = json.loads(told.stdout)
        assert [run["id"] for run in document["damaged"]] == [damaged]
        assert [run["name"] for run in document["runs"]] == ["other"]
        for command in ("status", "logs", "pause", "cancel", "checkpoints", "artifacts", "report"):
            refused = mine.relay(command, damaged)
            assert refused.returncode == 1, command
            assert f"run {damaged} is damaged" in sentence(refused)
        daemon = mine.daemon()
        mine.until(lambda: mine.ask("SELECT 1 FROM run WHERE name = 'other' AND status = 'finished'"), daemon)
        assert f"run {damaged} is damaged" in mine.told
        assert "Traceback" not in mine.told
        daemon.terminate()
        daemon.wait()
        assert mine.relay("doctor", damaged, "--offline").returncode == 1
        adopted = mine.relay("adopt", damaged)
        assert adopted.returncode == 0, adopted.stderr
        daemon = mine.daemon()
        mine.until(lambda: mine.ask("SELECT 1 FROM run WHERE name = 'count' AND status = 'finished'"), daemon)
        assert set(pushes(kaggle).values()) == {1}
        (run,) = json.loads(mine.relay("status", damaged, "--json").stdout)["runs"]
        assert run["checkpoints"][-1]["contents"] == uncut


@pytest.mark.slow
def test_a_byte_that_was_turned_over_between_two_daemons_stops_the_second_until_a_backup_is_back(
    tmp_path: Path, uncut: Any
) -> None:
    with laptop(tmp_path) as (mine, kaggle):
        daemon = mine.daemon()
        mine.until(lambda: backed_up(mine), daemon)
        daemon.terminate()
        assert daemon.wait(60) == 0
        data = bytearray((mine.home / "relay.db").read_bytes())
        for page in range(2, 9):
            data[4096 * page] ^= 0x40
        (mine.home / "relay.db").write_bytes(data)
        stopped = mine.relay("daemon")
        assert stopped.returncode == 1
        assert "relay restore brings back a backup" in sentence(stopped)
        assert mine.relay("doctor", "--offline").returncode == 1
        restored = mine.relay("restore")
        assert restored.returncode == 0, restored.stderr
        daemon = mine.daemon()
        mine.until(mine.is_over, daemon)
        mine.assert_finished(kaggle)
        assert contents(mine) == uncut
        daemon.terminate()
        daemon.wait()
        looked = mine.relay("doctor")
        assert looked.returncode == 0, looked.stdout


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_terminal_that_closes_ends_the_daemon_as_being_told_to_does(tmp_path: Path, number: signal.Signals) -> None:
    with laptop(tmp_path) as (mine, _kaggle):
        daemon = mine.daemon()
        mine.until(lambda: "watches" in mine.told, daemon)
        daemon.send_signal(number)
        assert daemon.wait(60) == 0
        assert "stopped on request" in mine.told
        assert mine.ask("SELECT expires_at <= datetime('now', '+5 seconds') FROM lease") == [(1,)]


@pytest.mark.slow
def test_a_daemon_that_is_to_outlive_its_terminal_does(tmp_path: Path) -> None:
    with laptop(tmp_path) as (mine, _kaggle):
        program = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"
        command = [sys.executable, "-m", "orchestrator", "--home", str(mine.home), "daemon"]
        with mine.log.open("ab") as log:
            daemon = subprocess.Popen(
                [sys.executable, "-c", program, *command], env=mine.environ, cwd=ROOT, stdout=log, stderr=log
            )
        try:
            mine.until(lambda: "watches" in mine.told, daemon)
            daemon.send_signal(signal.SIGHUP)
            mine.until(lambda: published(mine), daemon)
        finally:
            daemon.terminate()
            daemon.wait()


@pytest.mark.slow
def test_a_folder_where_a_file_of_a_checkpoint_should_be_is_moved_aside(tmp_path: Path) -> None:
    with laptop(tmp_path) as (mine, _kaggle):
        mine.until(mine.is_over, mine.daemon())
        mine.off()
        newest = mine.run["checkpoints"][-1]["name"]
        folder = mine.home / "runs" / mine.run["id"] / "checkpoints" / newest
        for entry in Manifest.from_json((folder / MANIFEST_NAME).read_text()).files:
            (folder / entry.path).unlink()
            (folder / entry.path / "inside").mkdir(parents=True)
        (folder / MANIFEST_NAME).unlink()
        (folder / MANIFEST_NAME).mkdir()
        assert mine.relay("checkpoints", "count", "--verify").returncode == 1
        pulled = mine.relay("checkpoints", "count", "--pull", newest)
        assert "brought back, every byte verified" in pulled.stderr
        assert mine.relay("checkpoints", "count", "--verify").returncode == 0
        shutil.rmtree(folder)
        folder.write_text("a file where the folder should be")
        assert "brought back" in mine.relay("checkpoints", "count", "--pull", newest).stderr
        assert mine.relay("checkpoints", "count", "--verify").returncode == 0


@pytest.mark.slow
def test_the_session_of_a_kernel_that_was_deleted_by_hand_can_be_written_off_at_once(tmp_path: Path) -> None:
    with laptop(tmp_path) as (mine, kaggle):
        daemon = mine.daemon()
        slug = running(mine, daemon)
        with kaggle.world.at_now():
            kaggle.world.kernels.delete("rehearsal", slug)
        run = mine.run["id"]
        mine.until(lambda: mine.run["to_do"]["command"] == f"relay resume {run} --abandon-session", daemon)
        assert mine.relay("resume", run, "--abandon-session").returncode == 0
        mine.until(mine.is_over, daemon)
        assert mine.run["state"] == "finished", mine.told
        assert [session["outcome"] for session in mine.run["sessions"]].count("lost") == 1


@pytest.mark.slow
def test_a_disk_without_room_leaves_no_half_made_database_and_says_so(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(place)], check=False).returncode:
        pytest.skip("this user may not mount a disk")
    try:
        with laptop(tmp_path) as (mine, _kaggle):
            mine.home = place / "home"
            refused = mine.relay("start", str(mine.pipeline))
            assert refused.returncode == 1
            assert re.search(r"is full.*make room", sentence(refused))
            assert "No runs in" in mine.relay("status").stdout
            subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
            assert mine.relay("start", str(mine.pipeline)).returncode == 0
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
