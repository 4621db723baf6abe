"""What the system is told about the daemon: a systemd unit, or a launchd property list. Pure text, no secrets in it."""

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
"""The systemd that can wait longer before each further start."""

NO_RESTART_STATUS = 2
"""The daemon's exit status for bad input, and where another daemon works: starting again cannot help."""


@dataclass(frozen=True)
class Start:
    """How the daemon is started. All paths absolute."""

    python: Path
    home: Path
    folder: Path | None
    """Where the program has to be started to be found; None where Python finds it anywhere."""
    environ: Mapping[str, str]
    """What the service needs of this environment; nothing of it is secret."""

    @property
    def arguments(self) -> list[str]:
        """The command."""
        return [str(self.python), "-m", "orchestrator", "--home", str(self.home), "daemon", "--log-file"]


def systemd_unit(start: Start, version: int) -> str:
    """The unit for `~/.config/systemd/user`. Raises BadInput where a path cannot stand in one."""
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
        # Its own waits are long enough: it is started again for as long as it takes.
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
        "# told to stop, it finishes the turn that is under way; killed it loses nothing either",
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
    """The agent for `~/Library/LaunchAgents`."""
    agent: dict[str, Any] = {
        "Label": LABEL,
        # launchd starts anew whatever ends with another status than 0, and knows no exceptions
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
    """The same in a shell that outlives its terminal."""
    inside = f"cd {shlex.quote(str(start.folder))} && " if start.folder else ""
    return f"{inside}nohup {shlex.join(start.arguments)} >/dev/null 2>&1 &"


def _word(word: str) -> str:
    """A word of a command after the program, where systemd would expand variables."""
    return _quoted(word.replace("$", "$$"))


def _quoted(text: str) -> str:
    plain = text.replace("/", "").replace("-", "").replace("_", "").replace(".", "").replace("=", "").isalnum()
    escaped = _percent(text).replace("\\", "\\\\").replace('"', '\\"')
    return text if plain and text.isascii() else f'"{escaped}"'


def _percent(text: str) -> str:
    return text.replace("%", "%%")
