"""A machine with SSH: a real sshd on 127.0.0.1, as the current user, with keys and a configuration of its own.

Its commands skip `~/.bashrc` (bash reads that only at the lowest shell level), which may take a second each time.

`python -m tests.ssh_machine FOLDER` starts one by hand and keeps it until Ctrl-C; it prints the variable to set, with
which `ssh vm` reaches it.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

INSTALL = "apt-get install -y --no-install-recommends openssh-server openssh-client"
SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
PATIENCE_S = 30.0
HOST = "vm"

SERVER = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/user_key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 100
SetEnv SHLVL=2
"""
CLIENT = """
Host {host}
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  StrictHostKeyChecking accept-new
  ControlMaster auto
  ControlPath {sockets}/%C
  ControlPersist 60
"""
SSH = """#!/bin/sh
# The ssh of these tests: with their configuration; it loses the answer of one start of a session when it is told to.
case "$*" in
  *systemd-run*) if rm "{folder}/lose-start" 2>/dev/null; then "{ssh}" -F "{folder}/config" "$@" > /dev/null 2>&1; exit 255; fi ;;
esac
exec "{ssh}" -F "{folder}/config" "$@"
"""


def missing() -> str:
    """Why no sshd can be started here, with the command to type; empty if one can."""
    absent = [name for name in ("sshd", "ssh", "ssh-keygen") if shutil.which(name, path=SYSTEM_PATH) is None]
    return f"{', '.join(absent)} not installed: {INSTALL}" if absent else ""


@dataclass
class SshMachine:
    """The machine `vm`: its folder with keys and configurations, and its sshd while it can be reached."""

    folder: Path
    sockets: Path
    _server: "subprocess.Popen[bytes] | None" = field(default=None, init=False)
    _port: int = field(default=0, init=False)

    @property
    def path(self) -> str:
        """PATH on which `ssh` reaches the machine."""
        return f"{self.folder / 'bin'}:{os.environ['PATH']}"

    def connect(self) -> None:
        """Start the sshd."""
        command = [str(shutil.which("sshd", path=SYSTEM_PATH)), "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with (self.folder / "sshd.log").open("ab") as log:
            self._server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        _until(self._answers)

    def disconnect(self) -> None:
        """End the sshd and the connection that clients share; sessions go on."""
        subprocess.run(["ssh", "-O", "exit", HOST], env={"PATH": self.path}, check=False, capture_output=True)
        if self._server is not None:
            self._server.terminate()
            self._server.wait()
            self._server = None

    def lose_start(self) -> None:
        """Lose the answer of the next start of a session: it starts, and `ssh` fails."""
        (self.folder / "lose-start").touch()

    def prepare(self) -> None:
        """Write keys and configurations."""
        (self.folder / "bin").mkdir(parents=True)
        for name in ("host_key", "user_key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
            subprocess.run(command, check=True)
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self._port = int(found.getsockname()[1])
        values = {
            "folder": self.folder,
            "sockets": self.sockets,
            "port": self._port,
            "host": HOST,
            "user": getpass.getuser(),
            "ssh": shutil.which("ssh"),
        }
        for name, text in {"sshd_config": SERVER, "config": CLIENT, "bin/ssh": SSH}.items():
            (self.folder / name).write_text(text.format(**values))
        (self.folder / "bin" / "ssh").chmod(0o755)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd of root wants it; Debian's service makes it

    def _answers(self) -> bool:
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", self._port)) == 0


@contextmanager
def ssh_machine(folder: Path) -> Iterator[SshMachine]:
    """Start the machine; sessions that still run on it at the end go on, as they do on a real one."""
    with tempfile.TemporaryDirectory(prefix="relay-ssh-") as sockets:  # the path of a socket has to be short
        machine = SshMachine(folder, Path(sockets))
        machine.prepare()
        machine.connect()
        try:
            yield machine
        finally:
            machine.disconnect()


def _until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "sshd did not start"
        time.sleep(0.05)


if __name__ == "__main__":
    with ssh_machine(Path(sys.argv[1]).absolute()) as told:
        print(f"export PATH={told.path}", flush=True)
        for end in (signal.SIGINT, signal.SIGTERM):
            signal.signal(end, lambda *_: sys.exit(0))
        signal.pause()
