"""A laptop that is lost while a session runs: on another one the run is adopted, and ends as it would have ended anyway."""

import shutil
from pathlib import Path

import pytest

from tests.rehearsal.laptop import laptop


@pytest.mark.slow
def test_a_run_whose_home_is_gone_is_adopted_and_ends_the_same(tmp_path: Path) -> None:
    for name in ("quiet", "lost"):
        (tmp_path / name).mkdir()
    with laptop(tmp_path / "quiet") as (quiet, kaggle):
        quiet.until(quiet.is_over, quiet.daemon())
        quiet.assert_finished(kaggle)
        contents = quiet.run["checkpoints"][-1]["contents"]
    with laptop(tmp_path / "lost") as (mine, kaggle):
        daemon = mine.daemon()
        mine.until(lambda: mine.ask("SELECT 1 FROM session WHERE number = 2 AND phase = 'running'"), daemon)
        run = mine.run["id"]
        mine.off()
        shutil.rmtree(mine.home)
        assert run in mine.relay("adopt").stdout
        told = mine.relay("adopt", run)
        assert (told.returncode, told.stderr) == (0, ""), told.stderr
        assert mine.relay("adopt", run).returncode == 2, "it is here now"
        mine.until(mine.is_over, mine.daemon())
        mine.assert_finished(kaggle)
        assert mine.run["id"] == run
        assert mine.run["checkpoints"][-1]["contents"] == contents
