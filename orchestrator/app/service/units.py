"""Contents of the service files: a systemd unit, or a launchd property list. Pure text without secrets."""

import plistlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.base.errors import BadInput

UNIT = "relay.service"
LABEL = "relay.daemon"

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


def shell_command(start: Start) -> str:
    """Return a shell command that starts the daemon and keeps it running after the terminal closes."""
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
