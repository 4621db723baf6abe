"""Plays Windows in this process, for a test that starts it with commands to run: python -m tests.contract.played_windows FOLDER.

The commands run twice. First as they are, which loads what they need of other packages, whose own care for Windows is theirs.
Then relay's modules are loaded again where POSIX's modules and functions do not exist, `sys.platform` is `win32`, and
`os.kill` fails the test: on Windows, `os.kill(pid, 0)` is Ctrl-C.
"""

import builtins
import json
import os
import signal
import sys
import sysconfig
from pathlib import Path
from typing import Any

import uvicorn  # noqa: F401  # loaded before Windows is played: it handles a signal that only Windows has
from click.testing import CliRunner

OWN = ("orchestrator", "state", "stages", "kaggle_kernels")
ABSENT_MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "readline"}
ABSENT_FUNCTIONS = (
    *("fork", "forkpty", "getuid", "geteuid", "getgid", "getegid", "killpg", "setsid", "getpgid", "waitid", "uname"),
    *("sysconf", "major", "minor", "chown", "mkfifo", "sched_getaffinity", "getloadavg", "nice"),
    *("WIFEXITED", "WTERMSIG", "WNOHANG", "O_NOFOLLOW", "O_DIRECTORY", "O_CLOEXEC", "wait", "fchmod", "fchown"),
)
ABSENT_SIGNALS = ("SIGKILL", "SIGHUP", "SIGSTOP", "SIGCONT", "SIGUSR1", "SIGCHLD", "SIGALRM", "setitimer", "alarm")


def play_windows() -> None:
    sysconfig.get_config_vars()  # read from a file whose name has the platform
    for name in [name for name in sys.modules if name.partition(".")[0] in OWN]:
        del sys.modules[name]
    real_import = builtins.__import__

    def importing(name: str, scope: Any = None, *rest: Any, **named: Any) -> Any:
        asks = str((scope or {}).get("__name__", "")).partition(".")[0]
        if name.partition(".")[0] in ABSENT_MODULES and asks in OWN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real_import(name, scope, *rest, **named)

    real_kill = os.kill

    def kill(pid: int, number: int) -> None:
        if sys._getframe(1).f_globals["__name__"].partition(".")[0] in OWN:
            raise AssertionError(f"os.kill with {number}: on Windows this ends a process, or is Ctrl-C")
        real_kill(pid, number)  # psutil's own way on this system

    builtins.__import__ = importing
    for name in ABSENT_FUNCTIONS:
        if hasattr(os, name):
            delattr(os, name)
    for name in ABSENT_SIGNALS:
        if hasattr(signal, name):
            delattr(signal, name)
    os.kill = kill
    sys.platform = "win32"


def run(folder: Path, lines: list[list[str]]) -> list[dict[str, Any]]:
    """Run commands in a folder; the first word of each names its home folder."""
    from orchestrator.cli import main

    told = []
    os.chdir(folder)
    for home, *arguments in lines:
        done = CliRunner().invoke(main, ["--home", str(folder / home), *arguments])
        error = done.exception
        broken = "" if error is None or isinstance(error, SystemExit) else f"{type(error).__name__}: {error}"
        told.append({"arguments": arguments, "status": done.exit_code, "output": done.output, "broken": broken})
    return told


if __name__ == "__main__":
    commands: dict[str, list[list[str]]] = json.loads(sys.stdin.read())
    told = {"posix": run(Path(sys.argv[1], "posix"), commands["both"])}
    play_windows()
    told["windows"] = run(Path(sys.argv[1], "windows"), commands["both"] + commands["windows"])
    print(json.dumps(told))
