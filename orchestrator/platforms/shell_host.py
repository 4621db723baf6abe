"""Commands where a platform's folders are: run on this machine, or through SSH. Both take the same path through `sh`."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from orchestrator.base.errors import BadInput, NoRoom, Transient

CALL_S = 120.0
"""Longest duration of one command, in seconds; transfers of files have no limit of their own."""
MESSAGE_CHARS_MAX = 600
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15")
"""SSH that never asks: a key or an agent has to be there, and a connection that died is noticed."""
SSH_FAILED = 255
NOT_FOUND = 127
INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "SLURM_CONF", "SSH_AUTH_SOCK", "KRB5CCNAME")
"""Environment variables that commands get. No others: sbatch would hand credentials on to the job."""
FULL = ("no space left", "disk quota exceeded")


@dataclass(frozen=True)
class CommandAnswer:
    """Result of a command that ran to its end."""

    status: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """Message of the command about its failure."""
        return " ".join((self.err or self.out).split())[-MESSAGE_CHARS_MAX:]


class ShellHost:
    """Runs commands where a platform's folders are. `login`: the SSH name of that machine; empty for this one.

    `remedy` ends the sentence about a command that is not there.
    """

    def __init__(self, login: str = "", remedy: str = "") -> None:
        self.login, self._remedy = login, remedy

    @property
    def name(self) -> str:
        """Name of the host in messages."""
        return self.login or "this machine"

    def ask(self, *command: str, file: Path | None = None) -> CommandAnswer:
        """Run a command, with a file as its standard input if one is given.

        Raises Transient if it gave no answer: it may have run or not. Raises BadInput if there is no such command.
        """
        with self._input(file) as stdin:
            try:
                done = subprocess.run(
                    self._command(command),
                    stdin=stdin,
                    capture_output=True,
                    env=_environment(),
                    timeout=None if file else CALL_S,
                    check=False,
                    start_new_session=True,  # Ctrl-C ends the daemon after its command, not the command
                )
            except subprocess.TimeoutExpired as error:
                raise Transient(f"{command[0]} on {self.name} gave no answer in {CALL_S:g} s") from error
            except OSError as error:
                raise self._not_there(command[0]) from error
        answer = CommandAnswer(
            done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )
        if self.login and answer.status == SSH_FAILED:
            raise Transient(f"{self.login} cannot be reached by SSH: {answer.message or 'ssh gave no reason'}")
        if answer.status == NOT_FOUND:
            raise self._not_there(command[0])
        return answer

    def script(self, text: str, *arguments: str, file: Path | None = None) -> str:
        """Run a script of `sh` and return its output. Raises NoRoom if a disk is full, Transient if it fails otherwise."""
        answer = self.ask("sh", "-c", text, "relay", *arguments, file=file)
        if answer.status != 0:
            if any(word in answer.err.lower() for word in FULL):
                raise NoRoom(f"the disk of relay's folder on {self.name} is full: {answer.message}")
            raise Transient(f"a command on {self.name} failed: {answer.message or f'status {answer.status}'}")
        return answer.out

    @contextmanager
    def reading(self, *command: str) -> Iterator[IO[bytes]]:
        """Run a command and yield its output as a stream. Raises Transient if it fails."""
        with subprocess.Popen(
            self._command(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        ) as running:
            assert running.stdout is not None, "the output is a pipe"
            try:
                yield running.stdout
            except BaseException:
                running.kill()
                raise
            if running.stdout.read(1):  # the reader has enough
                running.kill()
            elif running.wait() != 0:
                raise Transient(f"{command[0]} on {self.name} failed with status {running.returncode}")

    def _command(self, command: tuple[str, ...]) -> list[str]:
        return [*SSH, self.login, "--", shlex.join(command)] if self.login else list(command)

    @contextmanager
    def _input(self, file: Path | None) -> Iterator[IO[bytes] | int]:
        if file is None:
            yield subprocess.DEVNULL
            return
        with file.open("rb") as stream:
            yield stream

    def _not_there(self, program: str) -> BadInput:
        return BadInput(f"{program} is not there on {self.name}{f': {self._remedy}' if self._remedy else ''}")


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in INHERITED if name in os.environ}
