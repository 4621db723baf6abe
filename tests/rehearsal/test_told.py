"""What a real daemon tells: a line a thing on standard output and in its log, for people or for programs, and no secret."""

import json
from pathlib import Path

import pytest

from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, FaultPlan
from tests.rehearsal.laptop import laptop

AWAY = FaultPlan(calls=(CallFault(call="GetKernelSessionStatus", action=CallAction.STATUS, status=503, times=12),))


@pytest.mark.slow
def test_a_daemon_tells_programs_an_object_a_line_and_writes_the_same_into_its_log(tmp_path: Path) -> None:
    with laptop(tmp_path, faults=AWAY) as (mine, kaggle):
        done = mine.relay("up", str(mine.pipeline), "--log-format", "json", "--log-file")
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        log = mine.home / "logs" / "daemon.log"
        assert [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] == lines
        assert log.stat().st_mode & 0o777 == 0o600
        assert all(set(line) == {"time", "level", "run", "session", "event", "message", "data"} for line in lines)
        events = [line["event"] for line in lines]
        assert events[0] == "started"
        assert events[-1] == "run_finished"
        assert {"quota_read", "session_planned", "push_confirmed", "seen_running", "output_collected"} <= set(events)
        told = [event for event in events if event in ("failing", "recovered")]
        assert told[:2] == ["failing", "recovered"]
        for secret in (kaggle.key, kaggle.token):
            assert secret not in done.stdout + done.stderr + log.read_text(encoding="utf-8")


@pytest.mark.slow
def test_up_beside_a_daemon_leaves_the_run_to_it_and_follows(tmp_path: Path) -> None:
    with laptop(tmp_path) as (mine, kaggle):
        daemon = mine.daemon()
        mine.until(lambda: (mine.home / "relay.db").exists() and mine.ask("SELECT 1 FROM lease"), daemon)
        done = mine.relay("up", str(mine.pipeline))
        assert done.returncode == 0, done.stderr
        assert f"is executed by the running daemon (process {daemon.pid} on " in done.stderr
        assert "finished" in done.stdout.splitlines()[-1]
        mine.assert_finished(kaggle)
        assert daemon.poll() is None, "the daemon goes on"


@pytest.mark.slow
def test_a_daemon_that_cannot_begin_says_why_in_its_log_too(tmp_path: Path) -> None:
    with laptop(tmp_path) as (mine, kaggle):
        mine.environ = {**mine.environ, "KAGGLE_KEY": "", "KAGGLE_API_TOKEN": "", "KAGGLE_USERNAME": ""}
        refused = mine.relay("daemon", "--log-file", str(tmp_path / "told.log"))
    assert refused.returncode == 2
    sentence = refused.stderr.strip().removeprefix("relay: ")
    assert (tmp_path / "told.log").read_text(encoding="utf-8").strip().endswith(sentence)
    assert kaggle.key not in refused.stderr


@pytest.mark.slow
def test_a_quiet_daemon_says_nothing_of_a_run_that_is_well(tmp_path: Path) -> None:
    with laptop(tmp_path) as (mine, _kaggle):
        assert mine.relay("daemon", "--once", "--quiet").stdout == ""
        assert "idle until" in mine.relay("daemon", "--once", "--verbose").stdout
