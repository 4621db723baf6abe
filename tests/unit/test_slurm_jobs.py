"""The batch script of a session, run by the shell as Slurm would run it, and commands through SSH."""

import os
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from kaggle_kernels import build
from orchestrator.base.errors import Transient
from orchestrator.platforms.port import KernelPush, Worker
from orchestrator.platforms.shell_host import CommandAnswer, ShellHost
from orchestrator.slurm.options import ClusterOptions
from orchestrator.slurm.platform import SlurmPlatform
from stages.contract import Report
from stages.session.time_accounting import TimeClass
from tests.unit.counting_runs import order

pytestmark = pytest.mark.slow

SLUG = "gsm-3f9a-s0001"
LEAVES_A_MARK = "from pathlib import Path\nPath(f'ran-{len(list(Path().iterdir()))}').touch()\n"
PYTHON = """#!/bin/sh
# A Python whose `-m venv` takes no time, or fails where a file says so.
if [ "$2" = venv ]; then
  [ ! -e {folder}/broken ] || {{ echo "no room for a venv"; exit 1; }}
  echo made >> {folder}/made
  set -- -m venv --without-pip --system-site-packages "$3"
fi
exec {python} "$@"
"""
WAITS_FOR_TERM = """import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("ready", flush=True)
time.sleep(60)
"""
WAITS_FOR_USR1 = """import os, signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(7))
print(f"process {os.environ['RELAY_PROCESS']} of this host: {os.environ['RELAY_LOCAL_PROCESS']}", flush=True)
time.sleep(60)
"""
SRUN = """#!/bin/sh
# Starts two tasks, as srun would, passes USR1 on to them, and ends with the status of the last.
shown=
while :; do
  case "$1" in
    --kill-on-bad-exit=*|--ntasks=*) shown="$shown${shown:+ }$1"; shift ;;
    --*) shift ;;
    *) break ;;
  esac
done
echo "$shown"
SLURM_PROCID=0 SLURM_LOCALID=0 "$@" & first=$!
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & second=$!
trap 'kill -USR1 $first $second' USR1
wait $second || wait $second
"""


class ForgetfulSlurm(ShellHost):
    """A host whose Slurm takes every job, starts none, and forgets all of them."""

    def ask(self, *command: str, file: Path | None = None) -> CommandAnswer:
        if command[0] in ("squeue", "sacct"):
            return CommandAnswer(0, "", "")
        if command[0] == "scontrol":
            return CommandAnswer(0, "ClusterName = tiny\n", "")
        if "sbatch" in command:
            command = (*command[: command.index("sbatch")], "echo", "4711;tiny")
        return super().ask(*command, file=file)


def pushed(
    folder: Path,
    program: str,
    *,
    python: str = sys.executable,
    slug: str = SLUG,
    setup: tuple[str, ...] = (),
    tasks: int = 1,
) -> tuple[SlurmPlatform, Path]:
    options = ClusterOptions(shared=str(folder / "shared"), python=python, setup=setup, tasks_per_node=tasks)
    platform = SlurmPlatform(options, sleep=lambda _: None, host=ForgetfulSlurm())
    assert platform.owner().endswith("@tiny")
    platform.push(KernelPush(slug=slug, source=program, timeout_s=60))
    return platform, folder / "shared" / "sessions" / slug


def job(folder: Path, number: int, *programs: Path) -> "subprocess.Popen[str]":
    path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
    environment = {**os.environ, "SLURM_JOB_ID": str(number), "PATH": path}
    return subprocess.Popen(["sh", folder / "job.sh"], env=environment, stdout=subprocess.PIPE, text=True)


def test_of_two_jobs_with_one_name_the_first_alone_runs_the_session(tmp_path: Path) -> None:
    platform, folder = pushed(tmp_path, LEAVES_A_MARK)
    told = [job(folder, number).communicate()[0] for number in (4711, 4712)]
    assert "job 4711 has this session" in told[1]
    assert [file.name for file in platform.output(SLUG, 1)] == ["ran-0"]
    assert platform.session(SLUG, 1).worker is Worker.COMPLETE


def test_a_session_whose_job_left_the_queue_is_over_and_no_late_job_runs_it(tmp_path: Path) -> None:
    platform, folder = pushed(tmp_path, LEAVES_A_MARK)
    assert platform.session(SLUG, 1).worker is Worker.QUEUED, "a list may lag"
    os.utime(folder / "submitted", (0, 0))
    seen = platform.session(SLUG, 1)
    assert (seen.worker, "4711" in seen.message) == (Worker.CANCEL_ACKNOWLEDGED, True)
    job(folder, 4711).communicate()
    assert platform.output(SLUG, 1) == ()


def packaged(folder: Path, slug: str) -> Path:
    """Push a session whose order pins a package, which lies as a file on this machine; returns the session's folder."""
    python = folder / "python"
    python.write_text(PYTHON.format(folder=folder, python=sys.executable))
    python.chmod(0o755)
    with zipfile.ZipFile(folder / "tiny_words-1.2-py3-none-any.whl", "w") as wheel:
        about = "tiny_words-1.2.dist-info"
        wheel.writestr("tiny_words.py", "")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-words\nVersion: 1.2\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    program = build.script(replace(order(), pins=("tiny-words==1.2",), lock=""))
    setup = (f"export PIP_NO_INDEX=1 PIP_FIND_LINKS={folder}", "sleep 1")
    return pushed(folder, program, python=str(python), slug=slug, setup=setup)[1]


def test_jobs_that_begin_together_make_the_environment_of_their_packages_once_and_both_run_in_it(
    tmp_path: Path,
) -> None:
    folders = [packaged(tmp_path, f"gsm-3f9a-s000{number}") for number in (1, 2)]
    running = [job(folder, number) for number, folder in enumerate(folders, 1)]
    told = [each.communicate()[0] for each in running]
    assert [each.returncode for each in running] == [0, 0], told
    assert (tmp_path / "made").read_text() == "made\n"
    assert not any("installing" in text for text in told), "the session finds its packages installed"
    report = Report.from_json((folders[0] / "working" / "relay" / "report.json").read_text())
    assert report.seconds[TimeClass.INSTALL.value] >= 1, "preparations count as the session's time"


def test_a_session_whose_environment_cannot_be_made_reports_why_and_asks_for_another_attempt(tmp_path: Path) -> None:
    folder = packaged(tmp_path, SLUG)
    (tmp_path / "broken").touch()
    assert "no room for a venv" in job(folder, 1).communicate()[0]
    report = Report.from_json((folder / "working" / "relay" / "report.json").read_text())
    assert (report.cause, report.transient, "no room for a venv" in report.reason) == (
        "environment-install",
        True,
        True,
    )


def test_srun_starts_the_processes_of_a_session_and_is_asked_to_end_by_the_signal_that_it_passes_on(
    tmp_path: Path,
) -> None:
    srun = tmp_path / "srun"
    srun.write_text(SRUN)
    srun.chmod(0o755)
    platform, folder = pushed(tmp_path, WAITS_FOR_USR1, tasks=2)
    running = job(folder, 4711, tmp_path)
    assert running.stdout is not None
    told = [running.stdout.readline() for _ in range(3)]
    assert sorted(told) == [
        "--kill-on-bad-exit=1 --ntasks=2\n",
        "process 0 of this host: 0\n",
        "process 1 of this host: 1\n",
    ]
    running.send_signal(signal.SIGTERM)
    running.communicate()
    assert (folder / "ended").read_text() == "7\n"
    assert platform.session(SLUG, 1).worker is Worker.ERROR


@pytest.mark.parametrize("sent", [signal.SIGUSR1, signal.SIGTERM])
def test_slurms_signals_ask_the_session_to_end_and_its_own_status_is_kept(tmp_path: Path, sent: signal.Signals) -> None:
    platform, folder = pushed(tmp_path, WAITS_FOR_TERM)
    running = job(folder, 4711)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(sent)
    running.communicate()
    assert running.returncode == 7
    assert (folder / "ended").read_text() == "7\n"
    assert platform.session(SLUG, 1).worker is Worker.ERROR


def test_commands_reach_a_login_node_word_for_word_and_its_silence_is_transient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(
        '#!/bin/sh\nwhile [ "$1" != -- ]; do node=$1; shift; done; shift\n[ "$node" = up ] || exit 255\nexec sh -c "$*"\n'
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    words = ["a b", "$HOME", "it's", "*", ""]
    assert ShellHost("up").script('printf "<%s>" "$@"', *words) == "".join(f"<{word}>" for word in words)
    with pytest.raises(Transient, match="down cannot be reached by SSH"):
        ShellHost("down").ask("true")


def test_no_credential_of_the_daemon_reaches_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    assert "secret" not in ShellHost().script("env")
