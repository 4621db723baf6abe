"""The lease of a session on a machine, and the status that follows from it and from the session's other traces."""

from dataclasses import dataclass

from orchestrator.base.errors import Transient
from orchestrator.platforms.port import TIME_LIMIT, SessionSeen, Worker
from orchestrator.platforms.shared_folder import REVOKED

AT_LIMIT = "limit"
"""Exit status of a session that was killed at its time limit."""


@dataclass(frozen=True)
class SessionLease:
    """Claim of the process that runs a session: one process alone can make it, and it is never taken back.

    A process id is used again, at the latest after a restart of the machine; with the time at which the process began,
    in clock ticks since then, and the id of that boot it is not.
    """

    pid: int
    began: str
    boot: str
    slug: str
    token: str

    @classmethod
    def parse(cls, text: str) -> "SessionLease | None":
        """Return the lease in a line of five words; None if it is none, as after a loss of power."""
        words = text.split()
        if len(words) != 5 or not words[0].isdigit():
            return None
        return cls(int(words[0]), *words[1:])


@dataclass(frozen=True)
class MachineRecord:
    """Traces of a session on its machine at one moment."""

    claimed: bool
    """True if the file of the claim is there, whatever it says."""
    claim: str
    alive: bool
    """True if the process of the lease, or another of its process group, runs."""
    boot: str
    """Id of the machine's present boot."""
    stopped: bool
    """True if relay has asked the session to end."""
    ended: str
    """Exit status, or AT_LIMIT; empty if the session left none."""

    @classmethod
    def parse(cls, told: str) -> "MachineRecord":
        """Read the output of `scripts.LOOK`. Raises Transient if it is not whole."""
        found = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
        if not found.keys() >= {"claimed", "claim", "alive", "stopped", "ended", "whole"} or not found.get("boot"):
            raise Transient("the session's folder cannot be read now")
        yes = {name: found[name] == "1" for name in ("claimed", "alive", "stopped")}
        return cls(yes["claimed"], found["claim"], yes["alive"], found["boot"], yes["stopped"], found["ended"])


def seen_of(record: MachineRecord, slug: str) -> SessionSeen:
    """Return a session's status. One without claim is NEW_SCRIPT: `revoke` it before believing so."""
    if not record.claimed or record.claim == REVOKED:
        return SessionSeen(worker=Worker.NEW_SCRIPT)
    lease = SessionLease.parse(record.claim)
    if record.ended == AT_LIMIT:
        return SessionSeen(worker=Worker.CANCEL_ACKNOWLEDGED, message=f"it {TIME_LIMIT}")
    if record.alive and not record.ended:
        return SessionSeen(worker=Worker.CANCEL_REQUESTED if record.stopped else Worker.RUNNING)
    if record.stopped:
        return SessionSeen(worker=Worker.CANCEL_ACKNOWLEDGED, message="relay stopped it")
    if record.ended == "0":
        return SessionSeen(worker=Worker.COMPLETE)
    return SessionSeen(worker=Worker.ERROR, message=_reason(record, lease, slug))


def _reason(record: MachineRecord, lease: SessionLease | None, slug: str) -> str:
    if record.ended:
        return f"its program ended with status {record.ended}"
    if lease is None or lease.slug != slug:
        return "its lease cannot be read: the machine may have lost power when it began"
    if lease.boot != record.boot:
        return "its machine was restarted, or taken away and replaced, while it ran"
    return f"its process {lease.pid} is gone and left no exit status: it was killed"
