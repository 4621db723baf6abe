"""Sandbox that runs each pushed script in its own process, in a `/kaggle`-shaped folder with a clean environment."""

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from orchestrator.base.clock import Clock
from orchestrator.rehearsal.local_kaggle import launcher, notebook_program
from orchestrator.rehearsal.local_kaggle.sandbox import Exit, Launch, Mount, SessionLine
from orchestrator.rehearsal.local_kaggle.stored_file import Content, Files

LAST_WORDS_S = 5.0
"""Seconds to wait for the end of a dead session's log. Its pipes close with its last process."""

PROBE_S = 10.0
"""Timeout, in seconds, of the test whether a session can see `/kaggle`."""


@functools.cache
def shows_kaggle() -> bool:
    """Return True if this system can show a session its folder as `/kaggle`, which needs a private mount namespace."""
    if sys.platform != "linux":
        return False
    with tempfile.TemporaryDirectory(prefix="relay-kaggle-") as folder:
        directory = Path(folder).resolve() / "kaggle"
        script = _prepare_folder(directory, "open('/kaggle/working/seen', 'w').close()", ())
        try:
            command = _command(directory, ["/kaggle/src/" + script.name])
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=PROBE_S)
        except (OSError, subprocess.SubprocessError):
            return False
        return (directory / "working" / "seen").exists()


def compile_cache(folder: Path) -> dict[str, str]:
    """Return variables that make sessions share compiled programs.

    They are kept in JAX_COMPILATION_CACHE_DIR or, if that is unset, in `folder`. Kaggle's sessions begin with an empty
    cache. Here that would only make a laptop compile the same programs repeatedly.
    """
    named = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    cache = Path(named) if named else folder
    cache.mkdir(parents=True, exist_ok=True)
    return {"JAX_COMPILATION_CACHE_DIR": str(cache.resolve()), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


class ProcessSandbox:
    """Runs each session in `root/<owner>/<slug>/v<N>/kaggle/{input,working,src,tmp}`.

    If this system allows it, a session sees that folder as `/kaggle` (`folder`: None detects it).

    A session's environment holds PATH, HOME and TMPDIR (inside its folder), LANG, JAX_PLATFORMS=cpu, RELAY_STAND_IN=1
    (the CPU stands in for the promised accelerator), RELAY_KAGGLE_INPUT and RELAY_KAGGLE_WORKING (its input and output
    folders), `extra_env` and the variables of its image, but nothing else of this process's environment. An image's
    XLA_FLAGS come after those of `extra_env`. The sandbox isolates nothing else: a script can read whatever this user
    can read.
    """

    def __init__(
        self, root: Path, clock: Clock, extra_env: Mapping[str, str] | None = None, *, folder: bool | None = None
    ) -> None:
        self._root = root.resolve()
        self._clock = clock
        self._folder = shows_kaggle() if folder is None else folder
        self._extra_env = dict(extra_env or {})
        self._started: list[ProcessSession] = []
        # On Linux, PR_SET_PDEATHSIG fires when the parent's *thread* ends: one long-lived thread starts all sessions.
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox")

    def start(self, launch: Launch) -> "ProcessSession":
        self._started = [session for session in self._started if not session.over]
        directory = self._root / launch.owner / launch.slug / f"v{launch.version}" / "kaggle"
        program = _program(directory, launch, Path("/kaggle") if self._folder else directory)
        popen = self._starter.submit(self._popen, directory, program, launch.environment).result()
        session = ProcessSession(popen, directory / "working", launch.started, self._clock)
        self._started.append(session)
        return session

    def close(self) -> None:
        for session in self._started:
            session.kill(0.0)
        self._starter.shutdown()

    def _popen(self, directory: Path, program: list[str], image: Mapping[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            _command(directory if self._folder else None, program),
            cwd=directory / "working",
            env=_in_image(self._environment(directory), image),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def _environment(self, directory: Path) -> dict[str, str]:
        seen = Path("/kaggle") if self._folder else directory
        return {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
            "HOME": str(directory / "home"),
            "TMPDIR": str(directory / "tmp"),
            "LANG": "C.UTF-8",
            "JAX_PLATFORMS": "cpu",
            "RELAY_STAND_IN": "1",
            "RELAY_KAGGLE_INPUT": str(seen / "input"),
            "RELAY_KAGGLE_WORKING": str(seen / "working"),
            **self._extra_env,
        }


class ProcessSession:
    """A running script, with two threads that read its output."""

    def __init__(self, popen: subprocess.Popen[bytes], working: Path, started: datetime, clock: Clock) -> None:
        self._popen = popen
        self._working = working
        self._started = started
        self._clock = clock
        self._lines: list[SessionLine] = []
        self._exit: Exit | None = None
        self._lines_lock = threading.Lock()
        self._throttling_thread: threading.Thread | None = None
        self._throttling_stopped = threading.Event()
        assert popen.stdout is not None
        assert popen.stderr is not None
        self._reader_threads = [self._start_reader(popen.stdout, "stdout"), self._start_reader(popen.stderr, "stderr")]

    @property
    def over(self) -> bool:
        """True once the script and all its child processes have ended and its pipes were read."""
        return self._exit is not None

    def poll(self, at_s: float) -> Exit | None:
        if self._exit is None and self._has_ended():
            self._kill_and_collect(at_s)
        return self._exit

    def log(self, at_s: float, after: int = 0) -> Sequence[SessionLine]:
        with self._lines_lock:
            return self._lines[after:]

    def output(self, at_s: float) -> Files:
        """Return every regular file below the working folder. Links are left out, since they may point anywhere."""
        found = sorted(_regular_files(self._working)) if self._working.is_dir() else []
        return {
            _readable_name(path.relative_to(self._working)): Content.of_path(path, _modified(path)) for path in found
        }

    def slow(self, at_s: float) -> None:
        if self._exit is None and self._throttling_thread is None:
            self._throttling_thread = threading.Thread(
                target=self._throttle, name=f"slow-{self._popen.pid}", daemon=True
            )
            self._throttling_thread.start()

    def _throttle(self) -> None:
        """Suspend the script for 90 % of the time, until it ends or stalls."""
        while not self._throttling_stopped.wait(0.02):
            self._signal(signal.SIGSTOP)
            self._throttling_stopped.wait(0.18)
            self._signal(signal.SIGCONT)

    def _stop_throttling(self) -> None:
        self._throttling_stopped.set()
        if self._throttling_thread is not None:
            self._throttling_thread.join()

    def stall(self, at_s: float) -> None:
        if self._exit is None:
            self._stop_throttling()
            self._signal(signal.SIGSTOP)

    def kill(self, at_s: float) -> None:
        if self._exit is None:
            self._kill_and_collect(at_s)

    def _has_ended(self) -> bool:
        """Like `Popen.poll`, but keep the process as a zombie, so that its id and group cannot be reused yet."""
        if not hasattr(os, "waitid"):
            return self._popen.poll() is not None
        return os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _kill_and_collect(self, at_s: float) -> None:
        self._stop_throttling()
        self._signal(signal.SIGKILL)
        code = self._popen.wait()
        for listener in self._reader_threads:
            listener.join(LAST_WORDS_S)
        for pipe in (self._popen.stdout, self._popen.stderr):
            if pipe is not None and not any(listener.is_alive() for listener in self._reader_threads):
                pipe.close()
        self._exit = Exit(code, at_s)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the group has ended, or only zombies are left
            os.killpg(self._popen.pid, number)

    def _start_reader(self, pipe: IO[bytes], stream: str) -> threading.Thread:
        def read_lines() -> None:
            for raw in pipe:
                at_s = (self._clock.now() - self._started).total_seconds()
                text = raw.decode("utf-8", "replace").rstrip("\r\n")
                with self._lines_lock:
                    self._lines.append(SessionLine(max(0.0, at_s), text, stream))

        thread = threading.Thread(target=read_lines, name=f"listen-{stream}-{self._popen.pid}", daemon=True)
        thread.start()
        return thread


def _in_image(environment: Mapping[str, str], image: Mapping[str, str]) -> dict[str, str]:
    """Return a session's environment in this image. Its compiler flags are added, since a rehearsal sets some itself."""
    flags = " ".join(filter(None, (environment.get("XLA_FLAGS"), image.get("XLA_FLAGS"))))
    return {**environment, **image, **({"XLA_FLAGS": flags} if flags else {})}


def _command(kaggle: Path | None, program: list[str]) -> list[str]:
    """Return the command of a program that dies with this process and sees `kaggle` as `/kaggle`."""
    shown = str(kaggle) if kaggle is not None else ""
    return [sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), shown, *program]


def _program(directory: Path, launch: Launch, seen: Path) -> list[str]:
    """Prepare a session's folder, and return the program to run with its paths as the session sees them."""
    if not launch.is_notebook:
        return [str(seen / "src" / _prepare_folder(directory, launch.source, launch.mounts).name)]
    script = _prepare_folder(directory, Path(notebook_program.__file__).read_text(encoding="utf-8"), launch.mounts)
    notebook = script.with_name("notebook.ipynb")
    notebook.write_bytes(launch.source.encode())
    notebook.chmod(0o444)
    return [str(seen / "src" / script.name), str(seen / "src" / notebook.name)]


def _prepare_folder(directory: Path, source: str, mounts: Sequence[Mount]) -> Path:
    """Create the folders, copy the inputs and write the script. Inputs and script are read-only."""
    if directory.exists():
        shutil.rmtree(directory)  # left by a deleted kernel, or by an earlier rehearsal in the same folder
    for name in ("input", "working", "src", "tmp", "home"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    (directory.parent / "root").mkdir(exist_ok=True)  # the launcher mounts the session's root here
    for mount in mounts:
        for path, content in mount.files.items():
            content.copy_to(directory / "input" / mount.place / path)
    script = directory / "src" / "script.py"
    script.write_bytes(source.encode())
    script.chmod(0o444)
    return script


def _regular_files(directory: Path) -> Iterator[Path]:
    """Yield the regular files below a folder and make them readable, since Kaggle reads them as root."""
    directory.chmod(directory.stat().st_mode | 0o700)
    for path in directory.iterdir():
        if path.is_symlink():
            continue
        if path.is_dir():
            yield from _regular_files(path)
        elif path.is_file():
            path.chmod(path.stat().st_mode | 0o400)
            yield path


def _readable_name(path: Path) -> str:
    return os.fsencode(path.as_posix()).decode("utf-8", "replace")


def _modified(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
