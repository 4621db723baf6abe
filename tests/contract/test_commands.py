"""The commands as a user types them: what they say, what they exit with, and what they leave behind."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from orchestrator.base.clock import SystemClock
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS, FaultPlan, SessionAction, SessionFault
from orchestrator.rehearsal.local_kaggle.processes import ProcessSandbox
from orchestrator.rehearsal.local_kaggle.rules import Rules
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle

COUNTING = """
name: count
accelerator: TpuV5E8
session: {limit_s: 4, margin_s: 1, save_interval_s: 1}
stages:
  - {name: one, kind: counting, steps: 30, options: {step_s: 0.05}}
  - {name: two, kind: counting, steps: 40, options: {step_s: 0.05}}
"""


def relay(
    *arguments: str, home: Path, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The program, in an environment that leads to no account of this machine's user."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(home.parent), "COLUMNS": "120", **(environ or {})}
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", "--home", str(home), *arguments],
        env=clean,
        cwd=cwd or home.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def kaggle(tmp_path: Path) -> Iterator[LocalKaggle]:
    clock = SystemClock()
    root = tmp_path / "kaggle"
    with LocalKaggle(root, clock, Rules.brisk(30.0), NO_FAULTS, ProcessSandbox(root, clock)) as found:
        yield found


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "count.yaml"
    path.write_text(COUNTING, encoding="utf-8")
    return path


@pytest.mark.slow
def test_up_brings_a_pipeline_to_its_end_and_status_tells_it_without_credentials(
    tmp_path: Path, kaggle: LocalKaggle, written: Path
) -> None:
    home = tmp_path / "home"
    done = relay("up", str(written), home=home, environ=kaggle.environment())
    assert done.returncode == 0, done.stderr
    assert "finished" in done.stdout
    told = relay("status", "--json", home=home)
    run = json.loads(told.stdout)["runs"][0]
    assert (run["state"], run["steps_done"], run["steps_total"]) == ("finished", 70, 70)
    assert [stage["done"] for stage in run["stages"]] == [30, 40]
    assert run["sessions"][-1]["outcome"] == "finished"
    kept = [checkpoint for checkpoint in run["checkpoints"] if checkpoint["status"] != "pruned"]
    assert all(checkpoint["dataset"] == f"rehearsal/{checkpoint['name']}" for checkpoint in kept)
    logs = relay("logs", run["id"], "--session", "1", home=home)
    end, target = run["sessions"][0]["to"], {stage["name"]: stage["target"] for stage in run["stages"]}
    assert f"{end['stage']} step {end['step']}/{target[end['stage']]}" in logs.stdout


@pytest.mark.slow
def test_no_credential_reaches_the_home_folder_or_the_kernel(
    tmp_path: Path, kaggle: LocalKaggle, written: Path
) -> None:
    home = tmp_path / "home"
    done = relay("up", str(written), home=home, environ=kaggle.environment())
    assert done.returncode == 0, done.stderr
    for path in [*home.rglob("*"), *(tmp_path / "kaggle").rglob("*")]:
        if path.is_file():
            data = path.read_bytes()
            assert kaggle.key.encode() not in data, path
            assert kaggle.token.encode() not in data, path
    assert kaggle.key not in done.stdout + done.stderr
    assert kaggle.token not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_second_start_of_an_open_run_is_refused_and_up_goes_on_with_it(
    tmp_path: Path, kaggle: LocalKaggle, written: Path
) -> None:
    home, environ = tmp_path / "home", kaggle.environment()
    assert relay("start", str(written), home=home, environ=environ).returncode == 0
    again = relay("start", str(written), home=home, environ=environ)
    assert again.returncode == 2
    assert "relay daemon continues it" in again.stderr
    written.write_text(COUNTING + "expect: {startup_s: 5}\n", encoding="utf-8")  # changes nothing that the run does
    assert relay("up", str(written), home=home, environ=environ).returncode == 0
    assert len(json.loads(relay("status", "--json", home=home).stdout)["runs"]) == 1


@pytest.mark.slow
def test_a_pipeline_changed_under_an_open_run_is_refused_with_the_key(
    tmp_path: Path, kaggle: LocalKaggle, written: Path
) -> None:
    home, environ = tmp_path / "home", kaggle.environment()
    relay("start", str(written), home=home, environ=environ)
    expecting = COUNTING + "expect: {startup_s: 5}\n"
    written.write_text(expecting.replace("steps: 40", "steps: 50"), encoding="utf-8")
    for command in ("start", "up"):
        changed = relay(command, str(written), home=home, environ=environ)
        assert changed.returncode == 2
        assert "stages[1].steps changed from 40 to 50" in changed.stderr
        assert "relay cancel" in changed.stderr
    assert len(json.loads(relay("status", "--json", home=home).stdout)["runs"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (COUNTING.replace("stages:", "stagse:"), "did you mean 'stages'"),
        (COUNTING.replace("steps: 30", "steps: thirty"), "stages[0].steps"),
        (COUNTING.replace("kind: counting, steps: 30", "kind: cuonting, steps: 30"), "did you mean 'counting'"),
        (COUNTING.replace("step_s: 0.05", "step: 0.05", 1), "stages[0].options.step"),
    ],
)
def test_bad_input_exits_with_2_and_creates_nothing(
    tmp_path: Path, kaggle: LocalKaggle, written: Path, wrong: str, said: str
) -> None:
    home = tmp_path / "home"
    written.write_text(wrong, encoding="utf-8")
    for command in ("start", "up"):
        refused = relay(command, str(written), home=home, environ=kaggle.environment())
        assert refused.returncode == 2
        assert refused.stderr.startswith(f"relay: {written}")
        assert said in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
    assert not home.exists()


@pytest.mark.slow
def test_a_missing_pipeline_file_exits_with_2_and_creates_nothing(tmp_path: Path, kaggle: LocalKaggle) -> None:
    refused = relay("start", "none.yaml", home=tmp_path / "home", environ=kaggle.environment())
    assert refused.returncode == 2
    assert "none.yaml does not exist" in refused.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_missing_credentials_exit_with_2_and_say_where_to_get_them(tmp_path: Path, written: Path) -> None:
    for command in ("start", "up"):
        refused = relay(command, str(written), home=tmp_path / "home")
        assert refused.returncode == 2
        assert "kaggle" in refused.stderr.lower()
        assert len(refused.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_refused_credentials_exit_with_2_and_are_not_repeated(
    tmp_path: Path, kaggle: LocalKaggle, written: Path
) -> None:
    environ = {**kaggle.environment(), "KAGGLE_KEY": "wrong-key-0123456789", "KAGGLE_API_TOKEN": ""}
    refused = relay("start", str(written), home=tmp_path / "home", environ=environ)
    assert refused.returncode == 2
    assert "wrong-key" not in refused.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_status_of_an_empty_home_makes_no_database(tmp_path: Path) -> None:
    told = relay("status", home=tmp_path / "home")
    assert told.returncode == 0
    assert "relay start PIPELINE" in told.stdout
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["pause", "resume", "cancel", "retry", "logs", "status"])
def test_an_unknown_run_exits_with_2_and_says_which_there_are(tmp_path: Path, command: str) -> None:
    refused = relay(command, "nobody", home=tmp_path / "home")
    assert refused.returncode == 2
    assert "relay start PIPELINE" in refused.stderr


@pytest.mark.slow
def test_a_request_that_does_not_fit_is_refused_at_once(tmp_path: Path, kaggle: LocalKaggle, written: Path) -> None:
    home = tmp_path / "home"
    relay("start", str(written), home=home, environ=kaggle.environment())
    refused = relay("resume", "count", home=home)
    assert refused.returncode == 2
    assert "is active: relay resume is for a run that is parked or waiting" in refused.stderr
    assert relay("pause", "count", home=home).returncode == 0
    assert relay("daemon", "--once", home=home, environ=kaggle.environment()).returncode == 0
    told = json.loads(relay("status", "--json", home=home).stdout)["runs"][0]
    assert (told["state"], told["reason"], told["remedy"]) == ("parked", "paused by you", f"relay resume {told['id']}")
    wrong = relay("resume", "count", "--from-step", "7", home=home)
    assert wrong.returncode == 2
    assert "its verified checkpoints are none yet" in wrong.stderr


@pytest.mark.slow
def test_a_second_daemon_is_refused(tmp_path: Path, kaggle: LocalKaggle, written: Path) -> None:
    home, environ = tmp_path / "home", kaggle.environment()
    relay("start", str(written), home=home, environ=environ)
    first = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "--home", str(home), "daemon"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environ},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert first.stdout is not None
        assert first.stdout.readline()
        second = relay("daemon", home=home, environ=environ)
        assert second.returncode == 2
        assert "another daemon" in second.stderr
    finally:
        first.terminate()
        assert first.wait(timeout=30) == 0
        first.stdout.close()
    assert relay("daemon", "--once", home=home, environ=environ).returncode == 0


@pytest.mark.slow
def test_a_run_of_another_account_is_named_and_stops_nothing(
    tmp_path: Path, kaggle: LocalKaggle, written: Path
) -> None:
    home, clock = tmp_path / "home", SystemClock()
    relay("start", str(written), home=home, environ=kaggle.environment())
    root = tmp_path / "other"
    with LocalKaggle(root, clock, Rules.brisk(30.0), NO_FAULTS, ProcessSandbox(root, clock), owner="other") as theirs:
        done = relay("daemon", "--once", home=home, environ=theirs.environment())
    assert done.returncode == 0, done.stderr
    assert "belongs to the Kaggle account rehearsal, and the credentials are other's" in done.stdout


@pytest.mark.slow
def test_a_rehearsal_does_not_clear_a_folder_that_is_not_its_own(tmp_path: Path, written: Path) -> None:
    home = tmp_path / "dear"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work", encoding="utf-8")
    refused = relay("rehearse", str(written), home=home)
    assert refused.returncode == 2
    assert "name another folder with --home" in refused.stderr
    assert (home / "thesis.tex").exists()


@pytest.mark.slow
def test_a_timed_out_session_parks_the_run_and_a_person_resumes_it(tmp_path: Path, written: Path) -> None:
    written.write_text(COUNTING + "on_timeout: park\n", encoding="utf-8")
    home, clock, root = tmp_path / "home", SystemClock(), tmp_path / "kaggle"
    hang = FaultPlan(sessions=(SessionFault(action=SessionAction.STALL, stage="one", step=8),))
    with LocalKaggle(root, clock, Rules.brisk(30.0), hang, ProcessSandbox(root, clock)) as kaggle:
        parked = relay("up", str(written), home=home, environ=kaggle.environment())
        assert parked.returncode == 1
        assert "was stopped at its time limit" in parked.stdout
        assert "type: relay resume count-" in parked.stdout
        assert relay("resume", "count", home=home).returncode == 0
        done = relay("up", str(written), home=home, environ=kaggle.environment())
    assert done.returncode == 0, done.stdout + done.stderr
    run = json.loads(relay("status", "--json", home=home).stdout)["runs"][0]
    ends = [session["outcome"] for session in run["sessions"]]
    assert ends.count("timed_out") == 1 and ends[-1] == "finished", (
        "on a busy machine a session may yield before the step at which it hangs"
    )
    assert run["state"] == "finished"


@pytest.mark.slow
def test_a_rehearsal_installs_nothing_into_this_python(tmp_path: Path, written: Path) -> None:
    written.write_text(f"{COUNTING}environment: [no-such-package==1.0]\n", encoding="utf-8")
    refused = relay("rehearse", str(written), home=tmp_path / "home")
    assert refused.returncode == 2
    assert "needs no-such-package==1.0 in this Python" in refused.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_help_and_status_import_neither_jax_nor_kaggle(tmp_path: Path) -> None:
    for arguments in (["--help"], ["--home", str(tmp_path / "home"), "status"]):
        code = (
            "import sys\nfrom orchestrator.cli import main\n"
            f"main({arguments!r}, standalone_mode=False)\n"
            "print([m for m in ('jax', 'kaggle', 'kagglesdk', 'numpy') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr


@pytest.mark.slow
def test_a_database_changed_by_hand_is_named_in_one_sentence(
    tmp_path: Path, kaggle: LocalKaggle, written: Path
) -> None:
    home = tmp_path / "home"
    relay("start", str(written), home=home, environ=kaggle.environment())
    with sqlite3.connect(home / "relay.db") as rival:
        rival.execute("UPDATE run SET status = 'finished'")
    refused = relay("pause", "count", home=home)
    assert refused.returncode == 1
    assert "do not fold to its rows" in refused.stderr
    assert "Traceback" not in refused.stderr
