"""Files that a simulated session reads and writes: parent checkpoint, checkpoints, report."""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from orchestrator.rehearsal.local_kaggle.sandbox import Played
from orchestrator.rehearsal.simulation.hash_chain import BEGIN
from stages.contract import (
    BLOB_NAME,
    CHECKPOINTS_DIRECTORY,
    COMPILED_NAME,
    MANIFEST_NAME,
    OUTPUT_DIRECTORY,
    REPORT_NAME,
    REPORT_SEAL_NAME,
    SEAL_NAME,
    Cursor,
    FileEntry,
    Manifest,
    Order,
    Report,
    seal_of,
)
from stages.documents import ContractError
from stages.numerics import Numerics
from stages.session.parent_checkpoint import check_fits
from stages.stage import StageFailed

Mounts = Mapping[str, Mapping[str, bytes]]
"""Mounted files: owner/slug → path → bytes."""

REPORT = f"{OUTPUT_DIRECTORY}/{REPORT_NAME}"


def parent_digest(order: Order, mounts: Mounts) -> str:
    """Return the digest of the parent checkpoint.

    Raises StageFailed, as `stages.session.parent_checkpoint` does, unless the order's parent is mounted byte for byte.
    """
    if order.parent is None:
        return BEGIN
    damaged = False
    for files in mounts.values():
        for path, data in files.items():
            if not path.endswith(MANIFEST_NAME):
                continue
            try:
                manifest = Manifest.from_json(data)
            except ContractError:
                continue
            if manifest.digest != order.parent.digest:
                continue
            check_fits(order, manifest)
            folder = path.removesuffix(MANIFEST_NAME)
            if all(_whole(entry, files.get(folder + entry.path)) for entry in manifest.files if _needed(entry)):
                found: str = json.loads(files[folder + BLOB_NAME])["digest"]
                return found
            damaged = True
    if damaged:
        raise StageFailed("parent-corrupt", f"the checkpoint {order.parent.name} arrived damaged")
    raise StageFailed("parent-missing", f"the checkpoint {order.parent.name} is not mounted", transient=True)


def _needed(entry: FileEntry) -> bool:
    """Return False for the compiled programs: damaged ones are simply compiled again."""
    return entry.path != COMPILED_NAME


def _whole(entry: FileEntry, data: bytes | None) -> bool:
    return data is not None and len(data) == entry.size_bytes and hashlib.sha256(data).hexdigest() == entry.sha256


def parent_numerics(order: Order, mounts: Mounts) -> Numerics | None:
    """Return the record of the mounted parent checkpoint; None if it has none, or if there is no parent."""
    for files in mounts.values():
        for path, data in files.items():
            if path.endswith(MANIFEST_NAME) and order.parent is not None:
                with contextlib.suppress(ContractError):
                    manifest = Manifest.from_json(data)
                    if manifest.digest == order.parent.digest:
                        return manifest.numerics
    return None


def checkpoint_files(
    order: Order, cursor: Cursor, digest: str, at_s: float, numerics: Numerics | None = None
) -> list[tuple[float, str, bytes]]:
    # Later checkpoints are larger, so that a fault that hits the largest file hits the newest checkpoint.
    state = json.dumps({"digest": digest, "filler": "x" * (1000 + order.session * 100 + int(at_s / 10))}).encode()
    entry = FileEntry(path=BLOB_NAME, size_bytes=len(state), sha256=hashlib.sha256(state).hexdigest())
    manifest = Manifest(
        run=order.run,
        session=order.session,
        attempt=order.attempt,
        token=order.token,
        cursor=cursor,
        parent=order.parent.digest if order.parent else None,
        files=(entry,),
        digests={"state": digest},
        numerics=numerics,
    )
    folder = f"{OUTPUT_DIRECTORY}/{CHECKPOINTS_DIRECTORY}/{cursor.stage}-{cursor.step:08d}"
    data = manifest.to_json().encode()
    return [
        (at_s, f"{folder}/{BLOB_NAME}", state),
        (at_s, f"{folder}/{SEAL_NAME}", seal_of(data)),
        (at_s, f"{folder}/{MANIFEST_NAME}", data),
    ]


def report_files(report: Report, at_s: float) -> list[tuple[float, str, bytes]]:
    """Return the files of a report and its seal, written at `at_s`."""
    data = report.to_json().encode()
    return [(at_s, f"{OUTPUT_DIRECTORY}/{REPORT_SEAL_NAME}", seal_of(data)), (at_s, REPORT, data)]


def session_report(order: Order, outcome: str, reached: Cursor, **more: Any) -> Report:
    return Report(
        run=order.run,
        session=order.session,
        attempt=order.attempt,
        token=order.token,
        outcome=outcome,
        started=order.start,
        reached=reached,
        **more,
    )


def refused_session(order: Order, failure: StageFailed) -> Played:
    report = session_report(
        order, "failed", order.start, cause=failure.cause, reason=str(failure), transient=failure.transient
    )
    after_s = min(5.0, order.limit_s / 10)
    return Played(ends_after_s=after_s, exit_code=1, files=report_files(report, after_s))
