"""The two systems that can start the daemon, and the programs by which they are asked. No other module runs them."""

import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.app.service.units import LABEL, MARK, UNIT, Start, launchd_plist, systemd_unit

PATIENCE_S = 60.0


@dataclass(frozen=True)
class CompletedProgram:
    """How a program ended: its exit status (127: there is none of that name) and what it said."""

    status: int
    said: str

    @property
    def well(self) -> bool:
        """Whether it did what it was asked for."""
        return self.status == 0


Run = Callable[[Sequence[str]], CompletedProgram]


def run(command: Sequence[str]) -> CompletedProgram:
    """Run a program of the system and wait for it."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except FileNotFoundError:
        return CompletedProgram(127, f"there is no {command[0]} here")
    except (OSError, subprocess.TimeoutExpired) as error:
        return CompletedProgram(126, f"{command[0]} failed: {error}")
    return CompletedProgram(done.returncode, (done.stdout + done.stderr).strip())


@dataclass(frozen=True)
class System(ABC):
    """Keeps the daemon running for this user."""

    environ: Mapping[str, str]
    user_home: Path
    run: Run = run

    @property
    @abstractmethod
    def path(self) -> Path:
        """The file that tells the system of the daemon."""

    @abstractmethod
    def content(self, start: Start) -> bytes:
        """What is to stand in it. Raises BadInput where it cannot."""

    @abstractmethod
    def starting(self, *, changed: bool) -> list[list[str]]:
        """The commands, in order, after which the daemon runs now and from now on."""

    @abstractmethod
    def ending(self) -> list[list[str]]:
        """The commands after which it runs no more; each may fail where it does not run."""

    @abstractmethod
    def is_running(self) -> bool:
        """Whether the system runs it now."""

    @property
    def ours(self) -> bool:
        """Whether relay wrote the file that is there."""
        return MARK.encode() in self.path.read_bytes()

    def afterwards(self) -> list[str]:
        """What a person should know once it is installed."""
        return []


class Systemd(System):
    """The user's own instance of systemd."""

    @property
    def path(self) -> Path:
        configured = Path(self.environ.get("XDG_CONFIG_HOME") or "")
        base = configured if configured.is_absolute() else self.user_home / ".config"
        return base / "systemd" / "user" / UNIT

    def content(self, start: Start) -> bytes:
        words = self.run(["systemctl", "--version"]).said.split()
        version = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        return systemd_unit(start, version).encode()

    def starting(self, *, changed: bool) -> list[list[str]]:
        begin = ["restart", UNIT] if changed else ["start", UNIT]
        return [["systemctl", "--user", *words] for words in (["daemon-reload"], ["enable", UNIT], begin)]

    def ending(self) -> list[list[str]]:
        return [["systemctl", "--user", "disable", "--now", UNIT]]

    def is_running(self) -> bool:
        return self.run(["systemctl", "--user", "is-active", "--quiet", UNIT]).well

    def afterwards(self) -> list[str]:
        if "Linger=yes" in self.run(["loginctl", "show-user", str(os.getuid()), "--property=Linger"]).said:
            return ["it runs whether you are logged in or not"]
        return [
            "it runs while you are logged in; to have it run without, also after a reboot, type: loginctl enable-linger"
        ]


class Launchd(System):
    """macOS's agents of a user."""

    @property
    def path(self) -> Path:
        return self.user_home / "Library" / "LaunchAgents" / f"{LABEL}.plist"

    def content(self, start: Start) -> bytes:
        return launchd_plist(start)

    def starting(self, *, changed: bool) -> list[list[str]]:
        load = [["launchctl", "bootstrap", self._domain, str(self.path)]]
        return [] if self.is_running() and not changed else load

    def ending(self) -> list[list[str]]:
        return [["launchctl", "bootout", f"{self._domain}/{LABEL}"]]

    def is_running(self) -> bool:
        return self.run(["launchctl", "print", f"{self._domain}/{LABEL}"]).well

    @property
    def _domain(self) -> str:
        return f"gui/{os.getuid()}"

    def afterwards(self) -> list[str]:
        return ["it runs while you are logged in"]
