"""`relay service`: install, remove and inspect the service that keeps the daemon running."""

import codecs
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.app.service.environment import ServiceEnvironment, inspect_environment, start_command
from orchestrator.app.service.systems import Launchd, ScheduledTask, System, Systemd
from orchestrator.app.service.units import shell_command
from orchestrator.app.settings import Settings
from orchestrator.base.disk import disk_errors, private_folder, write_whole
from orchestrator.base.errors import BadInput
from orchestrator.base.systems import shell_line
from orchestrator.engine.home import HomeLayout

SYSTEMS: Mapping[str, Callable[[Mapping[str, str], Path], System]] = {
    "systemd": Systemd,
    "launchd": Launchd,
    "schtasks": ScheduledTask,
}


def system_for(settings: Settings, wanted: str | None, user_home: Path) -> System:
    """Return the named service manager, else this platform's default. Raises BadInput if relay supports none here."""
    usual = {"linux": "systemd", "darwin": "launchd", "win32": "schtasks"}.get(sys.platform)
    name = wanted or usual
    if name is None:
        raise BadInput(f"relay knows no services of {sys.platform}: have its scheduler start `relay daemon --log-file`")
    return SYSTEMS[name](settings.environ, user_home)


@dataclass(frozen=True)
class DaemonService:
    """The service for one home folder on one service manager."""

    settings: Settings
    system: System
    user_home: Path
    say: Callable[[str], None]
    other_daemon: Callable[[], str]
    """Names the process of a daemon that already works on the home folder; empty if there is none."""

    def install(self, *, start: bool) -> int:
        """Write the service file and start the daemon. Return the exit status: 1 if it should start and did not."""
        surroundings = inspect_environment(self.settings.home, self.settings.environ, self.user_home)
        system = self.system
        content = system.content(surroundings.start)
        changed = self._write(content)
        for warning in (*surroundings.warnings, *system.lacking(surroundings.start)):
            self.say(warning)
        if surroundings.problem:
            self.say(f"not started: {surroundings.problem}")
            return 1
        commands = system.start_commands(changed=changed)
        if not start:
            self.say("not started; to start it, type")
            self._print_commands(commands)
            return 0
        return self._start(commands, surroundings, changed=changed)

    def _start(self, commands: list[list[str]], surroundings: ServiceEnvironment, *, changed: bool) -> int:
        running = self.system.is_running()
        other = "" if running else self.other_daemon()
        if other:
            self.say(
                f"not started: a daemon works on {surroundings.start.home} already ({other}): stop it, then "
                "type relay service install"
            )
            return 1
        if running and changed:
            commands = [*self.system.before_start(), *commands]
        if failed := self._run_all(commands):
            self.say(f"not started: {failed}; where this user has such a session, type")
            self._print_commands(commands)
            self.say("or, without it,")
            self.say(f"  {shell_command(surroundings.start)}")
            return 1
        self.say("started: relay status shows what it does, relay service status whether it runs")
        for sentence in self.system.notes():
            self.say(sentence)
        return 0

    def uninstall(self) -> int:
        """Stop the service and remove its file. Return the exit status: 1 if the service manager could not stop it."""
        path = self.system.path
        if not path.exists():
            self.say(f"no service is installed: there is no {path}")
            return 0
        self._refuse_foreign()
        failed = self._run_all(self.system.stop_commands())
        with disk_errors(path):
            path.unlink()
        self.say(f"removed {path}; the runs and {self.settings.home} stay")
        if isinstance(self.system, Systemd):
            self.system.run(["systemctl", "--user", "daemon-reload"])
        if failed and not isinstance(self.system, Launchd):
            self.say(f"whether it still runs is not known: {failed}")
            return 1
        return 0

    def status(self) -> int:
        """Report whether the service is installed and running. Return the exit status: 0 only if it is running."""
        found = self.document()
        if found["file"] is None:
            self.say("no service is installed: relay service install makes one")
        else:
            self.say(f"installed: {found['file']}{'' if found['ours'] else ', which relay did not write'}")
        self.say("running" if found["running"] else "not running")
        if found["daemon"]:
            self.say(f"a daemon works on {self.settings.home.absolute()}: {found['daemon']}")
        if found["log"]:
            self.say(f"log: {found['log']}")
        return 0 if found["running"] else 1

    def document(self) -> dict[str, Any]:
        """Return the status as JSON (docs/json.md)."""
        path, log = self.system.path, HomeLayout(self.settings.home.absolute()).daemon_log
        there = path.exists()
        running = there and self.system.is_running()
        return {
            "format": 1,
            "file": str(path) if there else None,
            "ours": there and self.system.is_written_by_relay,
            "running": running,
            "daemon": self.other_daemon() or None,
            "log": str(log) if log.exists() else None,
            "command": None if running else "relay service install",
        }

    def show(self) -> int:
        """Print the file that `install` would write."""
        start = start_command(self.settings.home, self.settings.environ)
        content = self.system.content(start)
        self.say(
            content.decode("utf-16" if content.startswith(codecs.BOM_UTF16) else "utf-8").replace("\r\n", "\n").rstrip()
        )
        return 0

    def _write(self, content: bytes) -> bool:
        """Write the service file. Return whether it changed."""
        path = self.system.path
        if path.exists():
            self._refuse_foreign()
            if path.read_bytes() == content:
                self.say(f"{path} is as it should be")
                return False
        try:
            private_folder(path.parent)
            write_whole(path, content)
            private_folder(self.settings.home.absolute() / "logs")
        except OSError as error:
            raise BadInput(f"{path} cannot be written ({error.strerror}): make its folder writable for you") from error
        self.say(f"wrote {path}")
        return True

    def _refuse_foreign(self) -> None:
        if not self.system.is_written_by_relay:
            raise BadInput(f"{self.system.path} was not written by relay: move it away, and type the command again")

    def _run_all(self, commands: list[list[str]]) -> str:
        """Run commands in order. Return the output of the first one that fails; empty if none does."""
        for command in commands:
            ran = self.system.run(command)
            if not ran.succeeded:
                return f"{shell_line(command[:3])} said: {' '.join(ran.said.split()) or f'exit status {ran.status}'}"
        return ""

    def _print_commands(self, commands: list[list[str]]) -> None:
        for command in commands:
            self.say(f"  {shell_line(command)}")
