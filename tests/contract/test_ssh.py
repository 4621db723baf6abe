"""Sessions on a machine with a real sshd: started once, seen and ended whatever happens to the connection and to processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.base.errors import Ambiguous, BadInput, NameTaken, NoSlot, Transient
from orchestrator.platforms.port import TIME_LIMIT, KernelPush, SessionSeen, Worker
from orchestrator.ssh.options import MachineOptions
from orchestrator.ssh.platform import SshPlatform
from tests.ssh_machine import HOST, SshMachine, missing, ssh_machine

pytestmark = pytest.mark.slow

COUNTED = "open('../started', 'a').write('x')\n"
LONG = f"{COUNTED}import time\ntime.sleep(300)\n"
SAVES_WHEN_ASKED = f"""{COUNTED}
import signal, sys, time

def save(*_):
    open("saved", "w").write("whole")
    sys.exit(0)

signal.signal(signal.SIGTERM, save)
time.sleep(300)
"""
DEAF = f"{COUNTED}import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(300)\n"
WAITED_S = 60.0


class OnMachine:
    """The platform on the machine, and the folders of its sessions as the machine sees them."""

    def __init__(self, machine: SshMachine, folder: Path) -> None:
        self.machine, self.folder = machine, folder
        self.options = MachineOptions(host=HOST, folder=str(folder), jobs=20, python=sys.executable, signal_s=2)
        self.platform = SshPlatform(self.options, sleep=time.sleep, grace_s=1)

    def push(self, slug: str, source: str, limit_s: int = 300) -> Path:
        """Start a session; returns its folder."""
        self.platform.push(KernelPush(slug=slug, source=source, timeout_s=limit_s))
        return self.folder / "sessions" / slug

    def ended(self, slug: str) -> SessionSeen:
        """The status of a session once it has ended."""
        until(lambda: self.platform.session(slug, 1).worker.terminal)
        return self.platform.session(slug, 1)


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAITED_S
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def leader(session: Path) -> int:
    """Process id in a session's lease."""
    return int((session / "claim").read_text().split()[0])


def running(session: Path) -> bool:
    """True once the session's own program runs."""
    return (session / "started").exists()


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnMachine]:
    if why := missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("ssh")
    with pytest.MonkeyPatch.context() as patch, ssh_machine(folder / "m") as machine:
        patch.setenv("PATH", machine.path)
        yield OnMachine(machine, folder / "vm")
        for claim in folder.glob("vm/sessions/*/claim"):
            if claim.read_text()[0].isdigit():
                with suppress(ProcessLookupError):  # not by kill(1): procps takes -12345 for -1, which is every process
                    os.killpg(leader(claim.parent), signal.SIGKILL)


def test_a_start_whose_answer_was_lost_is_found_and_nothing_starts_a_second_one(there: OnMachine) -> None:
    there.machine.lose_start()
    with pytest.raises(Ambiguous):
        there.push("lost", LONG)
    assert there.platform.session("lost", 1).worker is Worker.RUNNING
    found = there.platform.find_kernel("lost")
    assert found is not None
    assert found.source == LONG
    with pytest.raises(NameTaken):
        there.push("lost", LONG)
    session = there.folder / "sessions" / "lost"
    subprocess.run(
        ["setsid", "sh", str(session / "session.sh")], check=True, timeout=WAITED_S
    )  # a start that arrives late
    until(lambda: running(session))
    assert (session / "started").read_text() == "x"


def test_a_start_that_never_arrived_is_made_impossible_before_another_is_made(there: OnMachine) -> None:
    session = there.push("late", LONG)
    (session / "claim").unlink()
    os.killpg(leader_of_group(session), signal.SIGKILL)
    assert there.platform.session("late", 1).worker is Worker.NEW_SCRIPT
    (session / "started").unlink(missing_ok=True)
    subprocess.run(["setsid", "sh", str(session / "session.sh")], check=True, timeout=WAITED_S)
    assert there.platform.session("late", 1).worker is Worker.NEW_SCRIPT
    assert not running(session)
    there.push("late", LONG)
    assert there.platform.session("late", 1).worker is Worker.RUNNING


def leader_of_group(session: Path) -> int:
    """Process id that took the session, by the name under which it wrote its lease."""
    return int(next(session.glob("claim.*")).name.removeprefix("claim."))


def test_while_the_machine_cannot_be_reached_nothing_is_known_and_the_session_goes_on(there: OnMachine) -> None:
    session = there.push("away", LONG)
    there.machine.disconnect()
    try:
        with pytest.raises(Transient, match="cannot be reached by SSH"):
            there.platform.session("away", 1)
        with pytest.raises(Transient):
            there.push("other", LONG)
        os.kill(leader(session), 0)
    finally:
        there.machine.connect()
    assert there.platform.session("away", 1).worker is Worker.RUNNING
    assert there.platform.find_kernel("other") is None


def test_what_lies_on_the_machine_is_for_its_user_alone(there: OnMachine) -> None:
    there.platform.owner()
    there.platform.list_kernels("")
    assert [path.stat().st_mode & 0o077 for path in (there.folder, there.folder / "sessions")] == [0, 0]


def test_a_machine_has_only_as_many_sessions_at_once_as_it_may(there: OnMachine) -> None:
    there.push("first", LONG)
    alone = SshPlatform(replace(there.options, jobs=1), sleep=time.sleep)
    with pytest.raises(NoSlot, match="as many sessions as ssh"):
        alone.push(KernelPush(slug="second", source=LONG, timeout_s=300))
    assert alone.session("second", 1).worker is Worker.NEW_SCRIPT


def test_a_session_is_asked_to_save_before_its_time_limit_and_killed_at_it(there: OnMachine) -> None:
    saving, deaf = there.push("saving", SAVES_WHEN_ASKED, limit_s=5), there.push("deaf", DEAF, limit_s=5)
    assert there.ended("saving").worker is Worker.COMPLETE
    assert (saving / "working" / "saved").read_text() == "whole"
    seen = there.ended("deaf")
    assert (seen.worker, TIME_LIMIT in seen.message) == (Worker.CANCEL_ACKNOWLEDGED, True)
    assert running(deaf)


def test_a_stopped_session_ends_at_the_latest_when_its_grace_is_over(there: OnMachine) -> None:
    session = there.push("stopped", DEAF)
    until(lambda: running(session))
    there.platform.stop("stopped", 1)
    assert there.ended("stopped").worker is Worker.CANCEL_ACKNOWLEDGED
    there.platform.stop("stopped", 1)


def test_a_process_that_has_the_same_id_later_is_neither_the_session_nor_stopped(there: OnMachine) -> None:
    session = there.push("reused", LONG)
    os.killpg(leader(session), signal.SIGKILL)
    assert there.ended("reused").worker is Worker.ERROR
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as other:
        try:
            _, *rest = (session / "claim").read_text().split()
            (session / "claim").write_text(" ".join([str(other.pid), *rest]) + "\n")
            assert there.platform.session("reused", 1).worker is Worker.ERROR
            there.platform.stop("reused", 1)
            assert other.poll() is None
        finally:
            other.kill()


def test_a_session_whose_machine_was_restarted_has_failed(there: OnMachine) -> None:
    session = there.push("restarted", LONG)
    lease = (session / "claim").read_text()
    pid, began, _, *rest = lease.split()
    (session / "claim").write_text(" ".join([pid, began, "an-earlier-boot", *rest]) + "\n")
    seen = there.platform.session("restarted", 1)
    (session / "claim").write_text(lease)
    assert (seen.worker, "restarted" in seen.message) == (Worker.ERROR, True)


def test_a_session_that_lost_only_its_shell_still_runs_and_can_be_stopped(there: OnMachine) -> None:
    session = there.push("headless", LONG)
    until(lambda: running(session))
    os.kill(leader(session), signal.SIGKILL)
    until(lambda: not Path(f"/proc/{leader(session)}").exists())
    assert there.platform.session("headless", 1).worker is Worker.RUNNING
    there.platform.stop("headless", 1)
    assert there.ended("headless").worker is Worker.CANCEL_ACKNOWLEDGED


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"python": "python9"}, "ssh.python: python9 is not there on vm"),
        ({"folder": "/proc/relay"}, "ssh.folder: /proc/relay cannot be made on vm"),
        ({"host": "no-such-machine.invalid"}, "ssh.host: .*make `ssh no-such-machine.invalid true` work"),
    ],
)
def test_what_the_machine_lacks_is_said_at_the_start(there: OnMachine, changes: dict[str, str], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        SshPlatform(replace(there.options, **changes), sleep=time.sleep).owner()  # type: ignore[arg-type]
