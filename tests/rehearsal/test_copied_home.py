"""Two real daemons, the second on a copy of the first one's home folder: it says who works on the run, and does nothing."""

import shutil
from pathlib import Path

import pytest

from tests.rehearsal.laptop import Laptop, laptop, pushes


@pytest.mark.slow
def test_a_daemon_on_a_copied_home_folder_stops_and_the_run_can_be_moved_there(tmp_path: Path) -> None:
    with laptop(tmp_path) as (first, kaggle):
        (tmp_path / "second").mkdir()
        shutil.copytree(
            first.home, tmp_path / "second" / "home"
        )  # before a daemon holds a lease that would be copied too
        daemon = first.daemon()
        first.until(first.runs_a_session, daemon)
        second = Laptop(tmp_path / "second", first.environ)
        try:
            beside = second.daemon()
            second.until(lambda: second.status == "parked", beside)
            run = second.run
            assert f"belongs to the home folder {first.run['home']}" in run["reason"]
            assert run["to_do"]["command"] == f"relay resume {run['id']} --take-over"
            first.until(lambda: len(pushes(kaggle)) > 1, daemon)
            assert second.relay("resume", run["id"], "--take-over").returncode == 0
            first.until(first.is_over, daemon)
            second.until(second.is_over, beside)
            states = (first.status, second.status)
            assert "finished" in states
            assert set(pushes(kaggle).values()) == {1}
            told = first.told if first.status == "parked" else second.told
            assert "made by the home folder" in told or states == ("finished", "finished")
        finally:
            second.off()
