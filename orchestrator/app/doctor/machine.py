"""Checks of this machine: free disk space, file permissions, the local checkpoint copies, and the daemon."""

from collections.abc import Iterator
from pathlib import Path

from orchestrator.app.doctor.subject import DoctorSubject
from orchestrator.base.disk import RESERVE_BYTES, free_bytes, modes_for_others, shortage_message
from orchestrator.engine.checkpoint_checks import damage_here
from orchestrator.platforms.names import name_in
from orchestrator.preflight.check.findings import Finding, note, ok, problem, warning
from orchestrator.views.document import daemon_document
from state.failures import StoreCorrupt, StoreUnavailable
from state.model.run_state import RunState
from state.model.statuses import RunStatus
from state.read_only import ReadOnlyStore
from state.revisions import SchemaError

GOING = (RunStatus.ACTIVE, RunStatus.WAITING, RunStatus.PARKED)
NAMED_MAX = 3


def disk_space(patient: DoctorSubject) -> Iterator[Finding]:
    """Check that the next checkpoint of each open run fits on the disk."""
    path = patient.home.path
    sizes = [max((one.size_bytes for one in state.checkpoints), default=0) for state in _going(patient)]
    free = free_bytes(path)
    if problem_ := shortage_message(path, sum(sizes)):
        yield problem("disk", problem_.partition(": ")[0], "free some space; until then the daemon waits")
    else:
        wanted = f", and the next checkpoints take {sum(sizes):,}" if any(sizes) else ""
        yield ok(
            "disk", f"{free:,} bytes are free for {path}{wanted} ({RESERVE_BYTES:,} are left for relay's own records)"
        )


def _going(patient: DoctorSubject) -> list[RunState]:
    return [state for state in patient.states() if state.run.status in GOING]


def permissions(patient: DoctorSubject) -> Iterator[Finding]:
    """Check that relay's folder is accessible to its owner only."""
    path = patient.home.path
    if not path.exists():
        yield note("permissions", f"{path} is not there yet: relay start makes it")
        return
    files = [place for place in (path, patient.home.database, patient.home.backups) if place.exists()]
    for place in files:
        if mode := modes_for_others(place):
            yield warning(
                "permissions", f"{place} is open to other users of this machine ({mode:o})", f"chmod go-rwx {place}"
            )
            return
    yield ok("permissions", f"{path} is its owner's alone")


def daemon(patient: DoctorSubject) -> Iterator[Finding]:
    """Check that a daemon is running if a run needs one."""
    if not patient.has_database:
        return
    try:
        found = daemon_document(ReadOnlyStore(patient.home.path).lease(), patient.now)
    except (SchemaError, StoreCorrupt, StoreUnavailable):
        return  # reported by the check of the database
    waits = [state.run.id for state in _going(patient) if state.run.status is not RunStatus.PARKED]
    if found is not None and found["runs"]:
        yield ok("daemon", f"process {found['pid']} on {found['host']} is the running daemon")
    elif waits:
        yield warning("daemon", f"no daemon is running for {', '.join(waits[:NAMED_MAX])}", "relay daemon")


def checkpoints(patient: DoctorSubject) -> Iterator[Finding]:
    """Verify every byte of the local checkpoint copies against their manifests."""
    whole = 0
    for state in patient.states():
        for checkpoint in state.checkpoints:
            if not checkpoint.usable:
                continue
            damage = damage_here(checkpoint, patient.home)
            whole += not damage
            for found in list(damage.values())[:1]:
                more = f" (and {len(damage) - 1} files more)" if len(damage) > 1 else ""
                pull = f"relay checkpoints {checkpoint.run} --pull {checkpoint.name}"
                yield problem(
                    "checkpoints",
                    f"{checkpoint.name}: {found.says}{more}",
                    f"{pull} downloads it again from {name_in(state.run.pipeline)}",
                )
    if whole:
        yield ok(
            "checkpoints",
            f"{whole} of the local copies {'matches its manifest' if whole == 1 else 'match their manifests'}, every "
            "byte",
        )


def quarantine(patient: DoctorSubject) -> Iterator[Finding]:
    """Report damaged files that were kept in quarantine."""
    kept = [path for run in patient.run_ids() for path in _kept(patient.home.quarantine(run))]
    if kept:
        yield note("quarantine", f"{len(kept)} damaged files are kept for inspection, the newest {kept[-1]}")


def _kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("*")) if folder.is_dir() else []
