"""Files as a client without HTTP receives them: damaged in transit by a fault, verified, and written whole."""

import hashlib
from pathlib import Path

from orchestrator.base.errors import Corrupt
from orchestrator.platforms.port import Downloaded, FileWanted
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault
from orchestrator.rehearsal.local_kaggle.http_faults import flipped
from orchestrator.rehearsal.local_kaggle.stored_file import Content


def as_received(content: Content, fault: CallFault | None) -> Content:
    """Return the file as it arrives, with a bit flipped if the fault says so."""
    if fault is None or fault.action is not CallAction.FLIP:
        return content
    return Content.of_bytes(flipped(content.read(), fault.after_bytes), content.modified)


def _problem(data: bytes, wanted: FileWanted) -> str:
    return wanted.problem(len(data), hashlib.sha256(data).hexdigest())


def _existing_bytes(into: Path) -> bytes:
    """Return the bytes already on disk; none if they cannot be read."""
    try:
        return into.read_bytes()
    except OSError:
        return b""


def write_file(content: Content, into: Path, wanted: FileWanted) -> Downloaded:
    """Write the file whole or not at all, as the port requires. Without fsync: a simulation has no power failures."""
    data = _existing_bytes(into) if wanted.sha256 is not None else b""
    if not data or _problem(data, wanted):
        data = content.read()
        if problem := _problem(data, wanted):
            if wanted.damaged is not None and data:
                wanted.damaged.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                wanted.damaged.write_bytes(data)
            raise Corrupt(f"{into.name} is not what was promised: {problem}")
        into.parent.mkdir(parents=True, exist_ok=True)
        part = into.with_name(into.name + ".part")
        part.write_bytes(data)
        part.replace(into)
    return Downloaded(path=into, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
