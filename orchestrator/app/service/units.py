"""Contents of the service files: a systemd unit, a launchd property list, a task of Windows. Pure text without secrets."""

import plistlib
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from orchestrator.base.errors import BadInput

UNIT = "relay.service"
LABEL = "relay.daemon"
TASK = "relay-daemon"

MARK = "Written by relay service install: relay replaces and removes only a file that says so."

STEPS_SINCE = 254
"""First version of systemd that supports increasing restart delays."""

NO_RESTART_STATUS = 2
"""Exit status of the daemon for bad input, or if another daemon works already: a restart cannot help."""


@dataclass(frozen=True)
class Start:
    """Start command of the daemon, with its folder and environment. All paths are absolute."""

    python: Path
    home: Path
    folder: Path | None
    """Working directory in which Python finds relay; None if any directory works."""
    environ: Mapping[str, str]
    """Environment variables for the service; never secrets."""

    @property
    def arguments(self) -> list[str]:
        """The command line."""
        return [str(self.python), "-m", "orchestrator", "--home", str(self.home), "daemon", "--log-file"]


def systemd_unit(start: Start, version: int) -> str:
    """Return the unit for `~/.config/systemd/user`. Raises BadInput if a path cannot be written in one."""
    for text in (*start.arguments, *start.environ.values(), str(start.folder)):
        if "\n" in text or "\r" in text:
            raise BadInput(f"{text!r} has a line break, which a unit of systemd cannot hold: choose another place")
    if any(sign in str(start.python) for sign in "\"'\\"):
        raise BadInput(
            f"systemd starts no program whose path has a quote or a backslash: install relay elsewhere than {start.python}"
        )
    program, *words = start.arguments
    stepping = ["RestartSteps=5", "RestartMaxDelaySec=1800"] if version >= STEPS_SINCE else []
    lines = [
        f"# {MARK}",
        "[Unit]",
        "Description=relay: training on Kaggle, session after session",
        # no start limit: the delay between restarts bounds their rate
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
        f"ExecStart={' '.join([_quoted(program), *(_word(word) for word in words)])}",
        *([f"WorkingDirectory={_percent(str(start.folder))}"] if start.folder else []),
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in sorted(start.environ.items())),
        "Restart=on-failure",
        f"RestartSec={30 if stepping else 60}",
        *stepping,
        f"RestartPreventExitStatus={NO_RESTART_STATUS}",
        "# on SIGTERM the daemon finishes its current tick; if killed, it loses nothing either",
        "TimeoutStopSec=120",
        "UMask=0077",
        "NoNewPrivileges=yes",
        "LockPersonality=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "SystemCallArchitectures=native",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n"


def launchd_plist(start: Start) -> bytes:
    """Return the agent for `~/Library/LaunchAgents`."""
    agent: dict[str, Any] = {
        "Label": LABEL,
        # launchd restarts after every exit status but 0, without exceptions
        "ProgramArguments": [*start.arguments, "--launchd"],
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 60,
        "ExitTimeOut": 120,
        "ProcessType": "Background",
        "Umask": 0o077,
        "StandardOutPath": "/dev/null",
        "StandardErrorPath": str(start.home / "logs" / "daemon.err"),
        "EnvironmentVariables": dict(start.environ),
    }
    if start.folder:
        agent["WorkingDirectory"] = str(start.folder)
    head, line, rest = plistlib.dumps(agent).partition(b"<plist")
    return head + f"<!-- {MARK} -->\n".encode() + line + rest


TASK_XML = """<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo><Description>{mark}</Description></RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <Enabled>true</Enabled>
      <Repetition><Interval>PT5M</Interval><StopAtDurationEnd>false</StopAtDurationEnd></Repetition>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author"><LogonType>InteractiveToken</LogonType><RunLevel>LeastPrivilege</RunLevel></Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <StartWhenAvailable>true</StartWhenAvailable>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <Enabled>true</Enabled>
  </Settings>
  <Actions Context="Author">
    <Exec><Command>{command}</Command><Arguments>{arguments}</Arguments>{folder}</Exec>
  </Actions>
</Task>
"""
"""Task of Windows' Task Scheduler. The repetition starts a daemon that ended again; while one runs, it is ignored."""


def scheduled_task(start: Start) -> bytes:
    """Return the task for `schtasks /Create /XML`, in UTF-16, which that program reads everywhere.

    A task has no environment variables of its own: it has those of the user's account. Python starts without a window
    (`pythonw.exe`) where that program exists.
    """
    windowless = start.python.with_name("pythonw.exe")
    program, *words = [str(windowless if windowless.exists() else start.python), *start.arguments[1:]]
    folder = f"<WorkingDirectory>{escape(str(start.folder))}</WorkingDirectory>" if start.folder else ""
    text = TASK_XML.format(
        mark=MARK, command=escape(program), arguments=escape(subprocess.list2cmdline(words)), folder=folder
    )
    return text.replace("\n", "\r\n").encode("utf-16")


def shell_command(start: Start) -> str:
    """Return a shell command that starts the daemon and keeps it running after the terminal closes."""
    if sys.platform == "win32":
        inside = f"cd /d {subprocess.list2cmdline([str(start.folder)])} && " if start.folder else ""
        return f'{inside}start "relay" /min {subprocess.list2cmdline(start.arguments)}'
    inside = f"cd {shlex.quote(str(start.folder))} && " if start.folder else ""
    return f"{inside}nohup {shlex.join(start.arguments)} >/dev/null 2>&1 &"


def _word(word: str) -> str:
    """Quote an argument of the command, in which systemd would expand variables."""
    return _quoted(word.replace("$", "$$"))


def _quoted(text: str) -> str:
    plain = text.replace("/", "").replace("-", "").replace("_", "").replace(".", "").replace("=", "").isalnum()
    escaped = _percent(text).replace("\\", "\\\\").replace('"', '\\"')
    return text if plain and text.isascii() else f'"{escaped}"'


def _percent(text: str) -> str:
    return text.replace("%", "%%")
