"""The batch script of a session, run by the shell as Slurm would run it, and commands through SSH."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.base.errors import Transient
from orchestrator.platforms.port import KernelPush, Worker
from orchestrator.platforms.shell_host import CommandAnswer, ShellHost
from orchestrator.slurm.options import ClusterOptions
from orchestrator.slurm.platform import SlurmPlatform

pytestmark = pytest.mark.slow

SLUG = "gsm-3f9a-s0001"
LEAVES_A_MARK = "from pathlib import Path\nPath(f'ran-{len(list(Path().iterdir()))}').touch()\n"
WAITS_FOR_TERM = """import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("ready", flush=True)
time.sleep(60)
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


def pushed(folder: Path, program: str) -> tuple[SlurmPlatform, Path]:
    options = ClusterOptions(shared=str(folder / "shared"), python=sys.executable)
    platform = SlurmPlatform(options, sleep=lambda _: None, host=ForgetfulSlurm())
    assert platform.owner().endswith("@tiny")
    platform.push(KernelPush(slug=SLUG, source=program, timeout_s=60))
    return platform, folder / "shared" / "sessions" / SLUG


def job(folder: Path, number: int) -> "subprocess.Popen[str]":
    environment = {**os.environ, "SLURM_JOB_ID": str(number)}
    return subprocess.Popen(["sh", folder / "job.sh"], env=environment, stdout=subprocess.PIPE, text=True)


def test_of_two_jobs_with_one_name_the_first_alone_runs_the_session(tmp_path: Path) -> None:
    platform, folder = pushed(tmp_path, LEAVES_A_MARK)
    told = [job(folder, number).communicate()[0] for number in (4711, 4712)]
    assert "job 4711 has this session" in told[1]
    assert [file.name for file in platform.output(SLUG, 1)] == ["ran-0"]
    assert platform.session(SLUG, 1).worker is Worker.COMPLETE


def test_a_session_whose_job_left_the_queue_is_over_and_no_late_job_runs_it(tmp_path: Path) -> None:
    platform, folder = pushed(tmp_path, LEAVES_A_MARK)
    seen = platform.session(SLUG, 1)
    assert (seen.worker, "4711" in seen.message) == (Worker.CANCEL_ACKNOWLEDGED, True)
    job(folder, 4711).communicate()
    assert platform.output(SLUG, 1) == ()


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
