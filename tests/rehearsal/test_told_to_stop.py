"""Signals to a real daemon: asked once it finishes its tick, asked twice it ends at once, and held it harms nobody."""

import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, FaultPlan
from tests.rehearsal.laptop import Laptop, laptop

SILENT = FaultPlan(calls=(CallFault(call="SaveKernel", action=CallAction.HANG, times=0, seconds=25.0),))
BUSY = FaultPlan(
    calls=(CallFault(call="GetKernel", action=CallAction.STATUS, status=429, retry_after_s=80.0, times=0),)
)


def ended(daemon: subprocess.Popen[bytes], within_s: float = 60.0) -> int:
    """Its exit status."""
    return daemon.wait(timeout=within_s)


def lease_is_free(mine: Laptop) -> bool:
    """Whether the next daemon can begin at once, which `--once` shows."""
    return mine.relay("daemon", "--once").returncode == 0


@pytest.mark.slow
def test_a_daemon_that_sleeps_ends_at_once_and_gives_its_lease_back(tmp_path: Path) -> None:
    with laptop(tmp_path) as (mine, _kaggle):
        daemon = mine.daemon()
        mine.until(mine.runs_a_session, daemon)
        daemon.send_signal(signal.SIGTERM)
        assert ended(daemon) == 0
        assert "Traceback" not in mine.told
        assert lease_is_free(mine)


@pytest.mark.slow
def test_a_daemon_that_was_told_to_stop_finishes_its_tick_and_begins_no_other(tmp_path: Path) -> None:
    hang = FaultPlan(calls=(CallFault(call="SaveKernel", action=CallAction.HANG, seconds=3.0),))
    with laptop(tmp_path, faults=hang) as (mine, kaggle):
        daemon = mine.daemon()
        mine.until(lambda: mine.ask("SELECT 1 FROM fact WHERE name = 'push_intended'"), daemon)
        daemon.send_signal(signal.SIGTERM)
        assert ended(daemon) == 0
        assert [name for (name,) in mine.ask("SELECT name FROM fact")][-1] == "push_confirmed", mine.told
        mine.until(mine.is_over, mine.daemon())
        mine.assert_finished(kaggle)


@pytest.mark.slow
def test_a_daemon_that_waits_for_kaggle_gives_up_waiting_when_told_to_stop(tmp_path: Path) -> None:
    with laptop(tmp_path, faults=BUSY) as (mine, kaggle):
        daemon = mine.daemon()
        mine.until(lambda: kaggle.world.fault_injector.struck, daemon)
        time.sleep(1.0)  # it waits for as long as it was told to
        daemon.send_signal(signal.SIGTERM)
        assert ended(daemon) == 0
        assert mine.ask("SELECT failures FROM poll_state") == [(1,)]


@pytest.mark.slow
def test_a_daemon_that_is_told_twice_ends_at_once(tmp_path: Path) -> None:
    with laptop(tmp_path, faults=SILENT) as (mine, kaggle):
        daemon = mine.daemon()
        mine.until(
            lambda: kaggle.world.fault_injector.struck, daemon
        )  # the push hangs for far longer than is waited here
        daemon.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            ended(daemon, within_s=2.0)
        daemon.send_signal(signal.SIGTERM)
        assert ended(daemon) == 1
        assert "Traceback" not in mine.told
        assert [name for (name,) in mine.ask("SELECT name FROM fact")][-1] == "push_intended"


def hold(mine: Laptop, daemon: subprocess.Popen[bytes]) -> None:
    """Stop the process at a moment at which it does not hold the database."""
    mine.until(mine.runs_a_session, daemon)
    while True:
        daemon.send_signal(signal.SIGSTOP)
        if not locked(mine.home / "relay.db"):
            break
        daemon.send_signal(signal.SIGCONT)
        time.sleep(0.1)


def run_out(mine: Laptop) -> None:
    """Let the lease have run out, as if its time had gone by."""
    with closing(sqlite3.connect(mine.home / "relay.db")) as rival, rival:
        rival.execute("UPDATE lease SET expires_at = datetime('now', '-1 second')")


def locked(database: Path) -> bool:
    """Whether somebody writes."""
    rival = sqlite3.connect(database, isolation_level=None, timeout=0.2)
    try:
        rival.execute("BEGIN IMMEDIATE")
        rival.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return True
    finally:
        rival.close()
    return False


@pytest.mark.slow
def test_a_daemon_that_was_held_for_longer_than_its_lease_gives_way_to_the_one_that_took_over(tmp_path: Path) -> None:
    with laptop(tmp_path) as (mine, kaggle):
        held = mine.daemon()
        hold(mine, held)
        run_out(mine)
        second = mine.daemon()
        mine.until(lambda: mine.ask("SELECT fence FROM lease") == [(2,)], second)
        held.send_signal(signal.SIGCONT)
        assert ended(held) == 1
        assert "another daemon took this database over: this daemon stopped before its next effect" in mine.told
        mine.until(mine.is_over, second)
        mine.assert_finished(kaggle)


@pytest.mark.slow
def test_a_daemon_that_was_held_for_longer_than_its_lease_goes_on_where_nobody_took_over(tmp_path: Path) -> None:
    with laptop(tmp_path) as (mine, kaggle):
        held = mine.daemon()
        hold(mine, held)
        run_out(mine)
        held.send_signal(signal.SIGCONT)
        mine.until(mine.is_over, held)
        mine.assert_finished(kaggle)
        assert mine.ask("SELECT fence FROM lease") == [(1,)]
