"""The service managers that can start the daemon, and the only code that runs their programs."""

import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.app.service.units import LABEL, MARK, TASK, UNIT, Start, launchd_plist, scheduled_task, systemd_unit

ANSWER_S_MAX = 60.0


@dataclass(frozen=True)
class CompletedProgram:
    """Result of a program: exit status (127: the program does not exist) and output."""

    status: int
    said: str

    @property
    def succeeded(self) -> bool:
        """True if the program succeeded."""
        return self.status == 0


Run = Callable[[Sequence[str]], CompletedProgram]


def run(command: Sequence[str]) -> CompletedProgram:
    """Run a system program and wait for it, at most `ANSWER_S_MAX` seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S_MAX, check=False)
    except FileNotFoundError:
        return CompletedProgram(127, f"there is no {command[0]} here")
    except (OSError, subprocess.TimeoutExpired) as error:
        return CompletedProgram(126, f"{command[0]} failed: {error}")
    return CompletedProgram(done.returncode, (done.stdout + done.stderr).strip())


@dataclass(frozen=True)
class System(ABC):
    """A service manager that keeps the daemon running for this user."""

    environ: Mapping[str, str]
    user_home: Path
    run: Run = run

    @property
    @abstractmethod
    def path(self) -> Path:
        """Path of the service file."""

    @abstractmethod
    def content(self, start: Start) -> bytes:
        """Return the contents of the service file. Raises BadInput if a path cannot be written in it."""

    @abstractmethod
    def start_commands(self, *, changed: bool) -> list[list[str]]:
        """Return the commands, in order, that start the daemon now and at each login."""

    @abstractmethod
    def stop_commands(self) -> list[list[str]]:
        """Return the commands that stop the daemon. Each may fail if it is not running."""

    @abstractmethod
    def is_running(self) -> bool:
        """Return whether the service manager runs the daemon now."""

    @property
    def is_written_by_relay(self) -> bool:
        """True if relay wrote the existing file."""
        return MARK.encode() in self.path.read_bytes()

    def before_start(self) -> list[list[str]]:
        """Return the commands that end a running daemon whose file has changed; each may fail."""
        return []

    def lacking(self, start: Start) -> list[str]:
        """Return warnings about what the service cannot have of this shell's environment."""
        return []

    def notes(self) -> list[str]:
        """Return what the user should know after the installation."""
        return []


class Systemd(System):
    """The systemd instance of the user."""

    @property
    def path(self) -> Path:
        configured = Path(self.environ.get("XDG_CONFIG_HOME") or "")
        base = configured if configured.is_absolute() else self.user_home / ".config"
        return base / "systemd" / "user" / UNIT

    def content(self, start: Start) -> bytes:
        words = self.run(["systemctl", "--version"]).said.split()
        version = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        return systemd_unit(start, version).encode()

    def start_commands(self, *, changed: bool) -> list[list[str]]:
        begin = ["restart", UNIT] if changed else ["start", UNIT]
        return [["systemctl", "--user", *words] for words in (["daemon-reload"], ["enable", UNIT], begin)]

    def stop_commands(self) -> list[list[str]]:
        return [["systemctl", "--user", "disable", "--now", UNIT]]

    def is_running(self) -> bool:
        return self.run(["systemctl", "--user", "is-active", "--quiet", UNIT]).succeeded

    def notes(self) -> list[str]:
        if "Linger=yes" in self.run(["loginctl", "show-user", str(os.getuid()), "--property=Linger"]).said:
            return ["it runs whether you are logged in or not"]
        return [
            "it runs while you are logged in; to have it run without, also after a reboot, type: loginctl enable-linger"
        ]


class Launchd(System):
    """The launchd agents of a macOS user."""

    @property
    def path(self) -> Path:
        return self.user_home / "Library" / "LaunchAgents" / f"{LABEL}.plist"

    def content(self, start: Start) -> bytes:
        return launchd_plist(start)

    def start_commands(self, *, changed: bool) -> list[list[str]]:
        load = [["launchctl", "bootstrap", self._domain, str(self.path)]]
        return [] if self.is_running() and not changed else load

    def stop_commands(self) -> list[list[str]]:
        return [["launchctl", "bootout", f"{self._domain}/{LABEL}"]]

    def before_start(self) -> list[list[str]]:
        return self.stop_commands()

    def is_running(self) -> bool:
        return self.run(["launchctl", "print", f"{self._domain}/{LABEL}"]).succeeded

    @property
    def _domain(self) -> str:
        return f"gui/{os.getuid()}"

    def notes(self) -> list[str]:
        return ["it runs while you are logged in"]


class ScheduledTask(System):
    """The Task Scheduler of a Windows user. It reads the file once, when the task is made from it."""

    @property
    def path(self) -> Path:
        configured = Path(self.environ.get("LOCALAPPDATA") or "")
        base = configured if configured.is_absolute() else self.user_home / "AppData" / "Local"
        return base / "relay" / f"{TASK}.xml"

    def content(self, start: Start) -> bytes:
        return scheduled_task(start)

    def start_commands(self, *, changed: bool) -> list[list[str]]:
        make = [["schtasks", "/Create", "/TN", TASK, "/XML", str(self.path), "/F"]]
        return [*(make if changed or not self._exists() else []), ["schtasks", "/Run", "/TN", TASK]]

    def before_start(self) -> list[list[str]]:
        return [["schtasks", "/End", "/TN", TASK]]

    def stop_commands(self) -> list[list[str]]:
        ending = self.before_start() if self.is_running() else []  # it fails for a task that does not run
        return [*ending, ["schtasks", "/Delete", "/TN", TASK, "/F"]]

    def is_running(self) -> bool:
        # the words of `schtasks /Query` are in the user's language, the states of PowerShell's cmdlet are not
        asked = self.run(["powershell", "-NoProfile", "-Command", f"(Get-ScheduledTask -TaskName {TASK}).State"])
        return asked.succeeded and asked.said.strip() == "Running"

    def lacking(self, start: Start) -> list[str]:
        named = (name for name in start.environ if name != "KAGGLE_API_TOKEN")
        return [
            f"a task of Windows has no variables of its own: for {name}, type {subprocess.list2cmdline(['setx', name, start.environ[name]])}"
            for name in named
        ]

    def _exists(self) -> bool:
        return self.run(["schtasks", "/Query", "/TN", TASK]).succeeded

    @property
    def is_written_by_relay(self) -> bool:
        """True if relay wrote the existing file."""
        return MARK.encode("utf-16-le") in self.path.read_bytes()

    def notes(self) -> list[str]:
        return [
            "it runs while you are logged in, and starts again within five minutes if it ends",
            "Windows' own sleep stops it: keep the computer awake, or it goes on when it wakes",
        ]
