"""The database is held by another program, or is none: the daemon waits, and every command says why in one sentence."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.rehearsal.laptop import ROOT, laptop

LONG_S = 30.0
"""So long that the lease has to be kept meanwhile. Until the daemon complains SQLite has waited for as long as it does."""


@pytest.mark.slow
@pytest.mark.parametrize("how, held_s", [("IMMEDIATE", LONG_S), ("EXCLUSIVE", 0.0)])
def test_a_database_that_another_program_locks_is_waited_for(tmp_path: Path, how: str, held_s: float) -> None:
    with laptop(tmp_path) as (mine, kaggle):
        daemon = mine.daemon()
        mine.until(mine.runs_a_session, daemon)
        rival = sqlite3.connect(mine.home / "relay.db", isolation_level=None, timeout=30)
        rival.execute(f"BEGIN {how}")
        held_at = time.monotonic()
        refused = mine.relay("pause", "count")
        assert refused.returncode == 1
        assert f"is locked by process {os.getpid()}" in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
        assert mine.run["state"] == "active", "looking waits for nobody"
        mine.until(lambda: "is locked by process" in mine.told, daemon)
        time.sleep(max(0.0, held_s - (time.monotonic() - held_at)))
        rival.execute("ROLLBACK")
        rival.close()
        mine.until(mine.is_over, daemon)
        mine.assert_finished(kaggle)
        assert "the database can be used again" in mine.told
        assert mine.told.count("is locked by process") == 1


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"not a database, whatever its name says\n" * 400, None], ids=["text", "damaged"])
@pytest.mark.parametrize("command", ["status", "daemon", "pause", "start"])
def test_a_database_that_is_none_is_named_with_the_remedy(tmp_path: Path, command: str, content: bytes | None) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    if content is None:
        with sqlite3.connect(home / "relay.db") as made:
            made.execute("CREATE TABLE run (id)")
            made.executemany("INSERT INTO run VALUES (?)", [("x" * 900,)] * 50)
        made.close()
        whole = bytearray((home / "relay.db").read_bytes())
        whole[100:4096] = b"\xff" * 3996
        content = bytes(whole)
    (home / "relay.db").write_bytes(content)
    pipeline = ROOT / "examples" / "counting.yaml"
    more = {"pause": ["count"], "start": [str(pipeline)]}.get(command, [])
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KAGGLE_USERNAME": "me", "KAGGLE_KEY": "0123456789"}
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "--home", str(home), command, *more],
        env={**environ, "RELAY_KAGGLE_URL": "http://127.0.0.1:9"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "relay.db is not a database that can be read" in done.stderr
    assert "relay restore brings back a backup of it" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert (home / "relay.db").read_bytes() == content
