"""The process sandbox runs the pushed script alone, sees all it says, and never leaves a process behind."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.base.clock import SystemClock
from orchestrator.rehearsal.local_kaggle.processes import ProcessSandbox, ProcessSession, shows_kaggle
from orchestrator.rehearsal.local_kaggle.sandbox import Exit, Launch, Mount
from orchestrator.rehearsal.local_kaggle.stored_file import Content

OWN = ("RELAY_STAND_IN", "RELAY_KAGGLE_INPUT", "RELAY_KAGGLE_WORKING")

PATIENCE_S = 60.0
"""Far more than anything here takes; only a broken sandbox waits so long."""


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[ProcessSandbox]:
    sandbox = ProcessSandbox(tmp_path / "sessions", SystemClock(), {"EXTRA": "given"})
    yield sandbox
    sandbox.close()


def launch(source: str, *mounts: Mount, slug: str = "some-kernel") -> Launch:
    return Launch(
        owner="alice",
        slug=slug,
        version=3,
        source=textwrap.dedent(source),
        mounts=mounts,
        limit_s=3600.0,
        started=datetime.now(UTC),
    )


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def ended(session: ProcessSession) -> Exit:
    until(lambda: session.poll(1.0))
    found = session.poll(1.0)
    assert found is not None
    return found


def texts(session: ProcessSession, stream: str = "stdout") -> list[str]:
    return [line.text for line in session.log(1.0) if line.stream == stream]


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


WHERE = """
import os, pathlib, sys
print(os.getcwd())
print(__file__)
print(os.access(__file__, os.W_OK) and os.geteuid() != 0, oct(os.stat(__file__).st_mode & 0o777))
print(sys.flags.isolated, sys.argv[1:])
print(os.environ["RELAY_KAGGLE_INPUT"], os.environ["RELAY_KAGGLE_WORKING"])
"""

needs_namespaces = pytest.mark.skipif(not shows_kaggle(), reason="this system lets no session see a /kaggle of its own")


def test_a_script_runs_in_a_folder_that_is_shaped_like_kaggles(tmp_path: Path) -> None:
    sandbox = ProcessSandbox(tmp_path / "sessions", SystemClock(), folder=False)
    session = sandbox.start(launch(WHERE))
    assert ended(session).code == 0
    sandbox.close()
    kaggle = tmp_path / "sessions" / "alice" / "some-kernel" / "v3" / "kaggle"
    assert texts(session) == [
        str(kaggle / "working"),
        str(kaggle / "src" / "script.py"),
        "False 0o444",
        "1 []",
        f"{kaggle / 'input'} {kaggle / 'working'}",
    ]


@needs_namespaces
def test_a_script_sees_kaggles_own_folders_where_the_system_allows_it(tmp_path: Path) -> None:
    sandbox = ProcessSandbox(tmp_path / "sessions", SystemClock(), folder=True)
    session = sandbox.start(launch(WHERE))
    assert ended(session).code == 0
    sandbox.close()
    expected = ["/kaggle/working", "/kaggle/src/script.py", "False 0o444", "1 []", "/kaggle/input /kaggle/working"]
    assert texts(session) == expected


@pytest.mark.slow
@needs_namespaces
def test_a_script_that_names_kaggles_folders_reads_and_writes_its_own(sandbox: ProcessSandbox) -> None:
    script = """
    import os, pathlib
    pathlib.Path("/kaggle/working/out.txt").write_text(pathlib.Path("/kaggle/input/some-data/in.txt").read_text())
    print(os.getuid(), os.path.isdir(os.environ["HOME"]))
    """
    now = datetime.now(UTC)
    seen = []
    for number in (1, 2):
        content = Content.of_bytes(f"input of {number}".encode(), now)
        mount = Mount(name="alice/some-data", place="some-data", files={"in.txt": content})
        session = sandbox.start(launch(script, mount, slug=f"kernel-{number}"))
        assert ended(session).code == 0
        assert texts(session) == [f"{os.getuid()} True"]
        seen.append(session.output(1.0)["out.txt"].read())
    assert seen == [b"input of 1", b"input of 2"]


@needs_namespaces
def test_a_session_leaves_no_mount_behind_however_it_ends(sandbox: ProcessSandbox) -> None:
    def mounts() -> str:
        return Path("/proc/self/mountinfo").read_text()

    before = mounts()
    whole = sandbox.start(launch("print('whole')", slug="whole"))
    killed = sandbox.start(
        launch(
            """
            import subprocess, sys, time
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
            print(child.pid, flush=True)
            time.sleep(1000)
            """,
            slug="killed",
        )
    )
    until(lambda: texts(killed))
    assert mounts() == before, "what a session mounts, nobody else sees"
    killed.kill(1.0)
    assert ended(whole).code == 0
    until(lambda: gone(int(texts(killed)[0])))
    assert mounts() == before


def test_a_script_inherits_nothing_of_the_servers_environment(
    sandbox: ProcessSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_KEY", "a-secret-of-the-server")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    session = sandbox.start(launch("import json, os; print(json.dumps(dict(os.environ)))"))
    ended(session)
    seen = json.loads(texts(session)[0])
    seen.pop("LC_CTYPE", None)  # Python sets it by itself where the locale is C
    kaggle = tmp_path / "sessions" / "alice" / "some-kernel" / "v3" / "kaggle"
    assert set(seen) == {"PATH", "HOME", "TMPDIR", "LANG", "JAX_PLATFORMS", *OWN, "EXTRA"}
    assert (seen["HOME"], seen["TMPDIR"]) == (str(kaggle / "home"), str(kaggle / "tmp"))
    assert (seen["JAX_PLATFORMS"], seen["RELAY_STAND_IN"], seen["EXTRA"]) == ("cpu", "1", "given")


def test_a_script_sees_the_variables_of_its_image_and_its_compiler_flags_after_those_of_all_sessions(
    tmp_path: Path,
) -> None:
    sandbox = ProcessSandbox(tmp_path / "sessions", SystemClock(), {"XLA_FLAGS": "--devices=8", "EXTRA": "given"})
    image = {"XLA_FLAGS": "--isa=AVX", "NPROC": "1"}
    try:
        session = sandbox.start(
            replace(launch("import json, os; print(json.dumps(dict(os.environ)))"), environment=image)
        )
        ended(session)
        seen = json.loads(texts(session)[0])
    finally:
        sandbox.close()
    assert (seen["XLA_FLAGS"], seen["NPROC"], seen["EXTRA"]) == ("--devices=8 --isa=AVX", "1", "given")


def test_a_script_gets_no_open_file_of_the_server_and_an_empty_input(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    with (tmp_path / "database").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        session = sandbox.start(
            launch("import os, sys; print(sorted(os.listdir('/proc/self/fd'))[:4], repr(sys.stdin.read()))")
        )
        ended(session)
    assert texts(session) == ["['0', '1', '2', '3'] ''"]  # 3 is the directory that listdir reads


def test_inputs_are_copies_that_a_script_cannot_spoil(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    original = tmp_path / "state.bin"
    original.write_bytes(b"state")
    now = datetime.now(UTC)
    mount = Mount(
        name="bob/data",
        place="datasets/bob/data",
        files={"deep/state.bin": Content.of_path(original, now), "small.txt": Content.of_bytes(b"small", now)},
    )
    session = sandbox.start(
        launch(
            """
            import os, pathlib
            for path in sorted(pathlib.Path("../input").rglob("*.*")):
                print(path.as_posix(), path.read_text(), oct(path.stat().st_mode & 0o777))
                os.chmod(path, 0o644)
                path.write_text("spoilt")
            """,
            mount,
        )
    )
    ended(session)
    assert texts(session) == [
        "../input/datasets/bob/data/deep/state.bin state 0o444",
        "../input/datasets/bob/data/small.txt small 0o444",
    ]
    assert original.read_bytes() == b"state"


def test_every_line_is_kept_with_its_stream_and_its_time_even_without_a_last_newline(sandbox: ProcessSandbox) -> None:
    session = sandbox.start(
        launch(
            r"""
            import sys
            print("out", flush=True)
            print("err", file=sys.stderr, flush=True)
            sys.stdout.buffer.write(b"\xff broken\r\nunfinished")
            """
        )
    )
    ended(session)
    assert texts(session) == ["out", "\ufffd broken", "unfinished"]
    assert texts(session, "stderr") == ["err"]
    times = [line.at_s for line in session.log(1.0)]
    assert all(0 <= at_s < PATIENCE_S for at_s in times)
    assert [line.text for line in session.log(1.0, after=3)] == [session.log(1.0)[3].text]


def test_the_exit_code_and_the_traceback_of_a_failure_are_seen(sandbox: ProcessSandbox) -> None:
    session = sandbox.start(launch("raise ValueError('broken on purpose')"))
    assert ended(session).code == 1
    assert texts(session, "stderr")[-1] == "ValueError: broken on purpose"


def test_all_ordinary_files_are_output_and_links_are_not(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    session = sandbox.start(
        launch(
            f"""
            import os, pathlib
            pathlib.Path("relay/deep").mkdir(parents=True)
            pathlib.Path("relay/deep/state.bin").write_bytes(b"12345")
            pathlib.Path("empty.txt").touch()
            os.symlink("{secret}/key", "link.txt")
            os.symlink("{secret}", "linked")
            os.mkfifo("pipe")
            pathlib.Path("../tmp/scratch.txt").touch()
            """
        )
    )
    ended(session)
    files = session.output(1.0)
    assert {name: file.read() for name, file in files.items()} == {"empty.txt": b"", "relay/deep/state.bin": b"12345"}


def test_output_is_readable_whatever_the_script_did_to_its_permissions_and_names(sandbox: ProcessSandbox) -> None:
    session = sandbox.start(
        launch(
            r"""
            import os, pathlib
            pathlib.Path("closed").mkdir()
            pathlib.Path("closed/secret.bin").write_bytes(b"1")
            os.chmod("closed/secret.bin", 0)
            os.chmod("closed", 0)
            open(b"\xff.txt", "w").close()
            """
        )
    )
    assert ended(session).code == 0
    assert {name: file.read() for name, file in session.output(1.0).items()} == {
        "closed/secret.bin": b"1",
        "\ufffd.txt": b"",
    }


def test_a_script_that_removes_its_own_directory_leaves_nothing(sandbox: ProcessSandbox) -> None:
    session = sandbox.start(launch("import os, shutil; shutil.rmtree(os.getcwd())"))
    assert ended(session).code == 0
    assert session.output(1.0) == {}


def test_a_killed_session_keeps_what_it_wrote_and_takes_its_children_with_it(sandbox: ProcessSandbox) -> None:
    session = sandbox.start(
        launch(
            """
            import pathlib, subprocess, sys, time
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
            pathlib.Path("half.txt").write_text("half")
            print(child.pid, flush=True)
            time.sleep(1000)
            """
        )
    )
    until(lambda: texts(session))
    session.kill(5.0)
    assert session.poll(9.0) == Exit(-signal.SIGKILL, 5.0)
    until(lambda: gone(int(texts(session)[0])))
    assert session.output(9.0)["half.txt"].read() == b"half"
    session.kill(6.0)
    session.stall(7.0)


def test_a_child_that_outlives_its_script_is_cleared_away(sandbox: ProcessSandbox) -> None:
    session = sandbox.start(
        launch(
            """
            import subprocess, sys
            print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"]).pid)
            """
        )
    )
    assert ended(session).code == 0
    until(lambda: gone(int(texts(session)[0])))


def test_a_stalled_session_says_nothing_more_and_can_be_killed(sandbox: ProcessSandbox) -> None:
    session = sandbox.start(
        launch(
            """
            import itertools, os, time
            for number in itertools.count():
                print(os.getpid(), number, flush=True)
                time.sleep(0.001)
            """
        )
    )
    until(lambda: texts(session))
    session.stall(1.0)
    pid = int(texts(session)[0].split()[0])
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    assert session.poll(2.0) is None
    session.kill(3.0)
    assert session.poll(3.0) is not None
    assert gone(pid)


@pytest.mark.slow
def test_a_slowed_session_is_held_again_and_again_and_yet_goes_on(sandbox: ProcessSandbox) -> None:
    session = sandbox.start(
        launch(
            """
            import itertools, os, time
            for number in itertools.count():
                print(os.getpid(), flush=True)
                time.sleep(0.001)
            """
        )
    )
    until(lambda: texts(session))
    session.slow(1.0)
    pid = int(texts(session)[0])
    for _ in range(3):
        until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        said = len(texts(session))
        until(lambda said=said: len(texts(session)) > said)
    session.kill(3.0)
    assert gone(pid)


def test_closing_the_sandbox_ends_all_that_it_started(tmp_path: Path) -> None:
    sandbox = ProcessSandbox(tmp_path, SystemClock())
    sessions = [
        sandbox.start(
            launch("import os, time; print(os.getpid(), flush=True); time.sleep(1000)", slug=f"kernel-{number}")
        )
        for number in (1, 2)
    ]
    until(lambda: all(texts(session) for session in sessions))
    sandbox.close()
    assert all(gone(int(texts(session)[0])) for session in sessions)


def test_the_same_kernel_again_begins_with_an_empty_directory(sandbox: ProcessSandbox) -> None:
    first = sandbox.start(launch("open('left.txt', 'w').close()"))
    ended(first)
    second = sandbox.start(launch("import os; print(os.listdir())"))
    ended(second)
    assert texts(second) == ["[]"]


SERVER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from orchestrator.base.clock import SystemClock
from orchestrator.rehearsal.local_kaggle.processes import ProcessSandbox
from orchestrator.rehearsal.local_kaggle.sandbox import Launch
import threading
sandbox = ProcessSandbox(Path(sys.argv[1]), SystemClock())
source = "import os, time; print(os.getpid(), flush=True); time.sleep(1000)"
started = []
def start():
    started.append(sandbox.start(Launch(owner="a", slug="b", version=1, source=source, mounts=(), limit_s=9e9,
                                        started=datetime.now(UTC))))
thread = threading.Thread(target=start)
thread.start()
thread.join()
while not started[0].log(0.0):
    pass
print(started[0].log(0.0)[0].text, started[0].poll(0.0), flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_a_session_dies_with_a_server_that_is_killed_and_not_with_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        pid, _, exited = server.stdout.readline().strip().partition(" ")
        assert exited == "None"
        watch = os.pidfd_open(int(pid))
        try:
            server.kill()
            readable, _, _ = select.select([watch], [], [], PATIENCE_S)
            assert readable, "the session outlived its server"
        finally:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(watch, signal.SIGKILL)
            os.close(watch)
