"""Plays a chain of counting sessions on this machine through a real sshd, and the same chain on the local Kaggle.

    python -m benchmarks.ssh_chain

The answer of the start of session 1 is lost, and its program is killed; session 2 is frozen until the machine ends it at
its time limit; session 3 gets SIGTERM as on a spot machine that is taken away, after the daemon was killed and the machine
could not be reached for a while; session 4 finishes. Then the digests are compared, and the starts of each session are
counted by the machine's own traces. Takes about three minutes. Needs sshd, and says what to install.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.slurm_chain import COUNTING, ROOT, SESSIONS, Chain, final_state, programs_in, until, verdict
from tests.ssh_machine import HOST, SshMachine, missing, ssh_machine

ON_SSH = """
platform: ssh
ssh: {{host: {host}, folder: {folder}, python: {python}, signal_s: 0}}
"""
PIPELINE = COUNTING + SESSIONS % (60, 5)
AWAY_S = 10.0


class SshChain(Chain):
    """A chain whose sessions run on the machine `vm`."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        super().__init__(folder, environment, PIPELINE)
        self._pipeline.write_text(PIPELINE + ON_SSH.format(host=HOST, folder=self.shared, python=sys.executable))


def play(folder: Path, machine: SshMachine) -> SshChain:
    """Play the chain with its four ends of sessions."""
    chain = SshChain(folder, {"PATH": machine.path})
    chain.start()
    machine.lose_start()
    daemon = chain.daemon()
    first = until(
        "session 1 has a checkpoint, and its start had no answer: its program is killed", lambda: chain.running(1)
    )
    os.kill(programs_in(first)[0], signal.SIGKILL)
    second = until("session 2 has a checkpoint: frozen until its time limit", lambda: chain.running(2))
    os.kill(programs_in(second)[0], signal.SIGSTOP)
    third = until("session 3 has a checkpoint: the daemon is killed, the machine away", lambda: chain.running(3))
    daemon.kill()
    daemon.wait()
    machine.disconnect()
    daemon = chain.daemon()
    time.sleep(AWAY_S)
    machine.connect()
    os.killpg(int((third / "claim").read_text().split()[0]), signal.SIGTERM)
    print(f"after {AWAY_S:g} s the machine is back, and sends session 3 SIGTERM", flush=True)
    until("the run is over", lambda: chain.ask("SELECT status FROM run")[0][0] in ("finished", "parked"))
    daemon.terminate()
    daemon.wait()
    return chain


def main() -> int:
    """Play the chain and compare it; returns 0 if everything is as promised."""
    if why := missing():
        print(why)
        return 2
    with tempfile.TemporaryDirectory(prefix="relay-ssh-chain-") as name:
        folder = Path(name)
        with ssh_machine(folder / "machine") as machine:
            chain = play(folder, machine)
        ends = chain.ask("SELECT number, attempt, outcome, cause, reason FROM session ORDER BY number, attempt")
        print(*ends, sep="\n")
        kaggle = folder / "kaggle.yaml"
        kaggle.write_text(PIPELINE)
        rehearsed = [sys.executable, "-m", "orchestrator", "--home", str(folder / "rehearsal"), "rehearse", str(kaggle)]
        subprocess.run(rehearsed, cwd=ROOT, check=True, capture_output=True)
        starts = [len(list(session.glob("claim.*"))) for session in (chain.shared / "sessions").glob("count-*")]
        promises = {
            "the run finished": chain.ask("SELECT status FROM run") == [("finished",)],
            "four sessions, each started once by the machine's traces": starts == [1] * len(ends) and len(ends) == 4,
            "one was killed, one timed out, one was asked to end": [end[3] for end in ends][:2]
            == ["no-report", "time-limit"],
            "the digests of the local Kaggle": final_state(chain.home) == final_state(folder / "rehearsal"),
            "no error in the daemon's log": not re.search("Traceback", chain.log.read_text()),
        }
        return verdict(promises, chain.log)


if __name__ == "__main__":
    sys.exit(main())
