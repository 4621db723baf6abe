"""Fetches a session's report and newest checkpoint, verifies every byte, and judges how the session ended."""

import contextlib
import shutil
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from orchestrator.base.concurrency import run_concurrently
from orchestrator.base.disk import is_unread, private_folder, sync_folder, write_whole
from orchestrator.base.errors import Corrupt, DiskRefused, Refused, Transient
from orchestrator.core.plan import checkpoint_of
from orchestrator.engine.home import HomeLayout, log_lines
from orchestrator.engine.manifests import TRIES, Candidate, Files, ManifestCheck, candidates, fetch_sealed, safe_files
from orchestrator.engine.quarantine import Quarantine
from orchestrator.engine.session_seconds import seconds_of, sensible_times, told_seconds
from orchestrator.kaggle.gateway import FileWanted, Gateway, Worker
from orchestrator.pipeline.model import Pipeline
from stages.contract import (
    ARTIFACTS_DIRECTORY,
    BLOB_NAME,
    COMPILED_NAME,
    MANIFEST_NAME,
    OUTPUT_DIRECTORY,
    PROGRESS_PREFIX,
    REPORT_NAME,
    REPORT_SEAL_NAME,
    Cursor,
    FileEntry,
    Manifest,
    Progress,
    Report,
    stays_below,
)
from stages.documents import ContractError
from stages.session import packing
from stages.session.metrics import TENSORBOARD_DIRECTORY
from state.facts.session import Judgement, NothingCollected, OutputCollected
from state.model.run_state import RunState, Session
from state.model.statuses import Outcome

TIME_LIMIT = "exceeded the max allowed execution duration"
"""Kaggle's message for a session that it stopped at the time limit."""

AT_LIMIT = 0.95
"""Share of its limit after which a cancelled session counts as timed out: its last log event is a little older."""

CURVES_BYTES_MAX = 256 * 2**20
"""Maximum total size of a session's TensorBoard files, in bytes."""
ARTIFACTS_BYTES_MAX = 64 * 2**20
"""Maximum total size of a checkpoint's artifacts, in bytes; the rest stays in the packed state."""
EXCERPT_LINES = 20
LINE_CHARS_SHOWN = 2000
TRACEBACK_CHARS_MAX = 20_000
REASON_CHARS_MAX = 2000
CAUSE_CHARS_MAX = 200
"""Maximum lengths, in characters, of a report's texts: the traceback keeps its end, the others their beginning."""
REPORTED = (Outcome.FINISHED, Outcome.YIELDED, Outcome.FAILED)
"""Outcomes that a session can report."""

Verified = Callable[[Path, str], object]
"""Callback for each verified file of a checkpoint and its SHA-256, on the thread that fetched it."""


def ignored(_path: Path, _sha256: str) -> None:
    """Do nothing: the default `Verified` callback."""


def collect(
    state: RunState,
    session: Session,
    pipeline: Pipeline,
    gateway: Gateway,
    quarantine: Quarantine,
    *,
    believe_empty: bool = True,
    verified: Verified = ignored,
) -> OutputCollected | NothingCollected:
    """Fetch what the session left. Safe to repeat: intact files are kept, and nothing on Kaggle changes.

    `verified` is called for each file of a checkpoint as soon as it is fetched and verified, while others are still
    being fetched.

    Raises Transient if Kaggle cannot be reached, or lists nothing and `believe_empty` is False; DiskRefused if this
    disk is full. A checkpoint that does not verify is quarantined and fetched once more; then the session's newest
    older one that verifies is used.
    """
    home, name = quarantine.home, checkpoint_of(state.run.id, session.number, session.attempt)
    listing = gateway.output(session.slug, session.kernel_version)
    if not listing and not believe_empty:
        raise Transient(f"Kaggle lists no output of {session.slug}: relay asks again before it takes that as an answer")
    files = safe_files(listing, name, quarantine)
    incoming = private_folder(home.incoming(session))
    report = report_of(session, files, gateway, incoming)
    found = candidates(expected_of(state, session, name), pipeline, files, gateway, incoming, quarantine)
    into = home.checkpoint(session.run, name)

    def bring(candidate: Candidate) -> None:
        fetch(candidate, files, gateway, into, quarantine, verified)

    taken = _newest(session, pipeline, list(found), bring)
    if taken is not None:
        keep_artifacts(into / BLOB_NAME, home.artifacts(session.run))
    bring_curves(files, gateway, home.curves(session.run))
    return concluded(session, pipeline, report, home, taken)


def concluded(
    session: Session, pipeline: Pipeline, report: Report | None, home: HomeLayout, taken: Manifest | None
) -> OutputCollected | NothingCollected:
    """Return how a session ended, by its report and its local log, and which checkpoint was taken from it."""
    furthest = _furthest(session, pipeline, report, home, taken)
    begun, kept = (pipeline.position(cursor) for cursor in (session.start, taken.cursor if taken else session.start))
    lost = pipeline.position(furthest) - kept
    seconds = seconds_of(report, told_seconds(log_lines(home.log(session))), taken)
    judgement = replace(
        _judge(session, report, home),
        furthest=furthest,
        timings=sensible_times(report.timings) if report else {},
        steps_lost=lost,
        seconds=seconds.by_class,
        kept_s=seconds.kept_s((kept - begun) / (kept - begun + lost) if kept > begun else 0.0),
    )
    if taken is None:
        return NothingCollected(number=session.number, attempt=session.attempt, judgement=judgement)
    name = checkpoint_of(session.run, session.number, session.attempt)
    return OutputCollected(
        number=session.number, attempt=session.attempt, judgement=judgement, checkpoint=name, manifest=taken
    )


# --- the report --------------------------------------------------------------


def report_of(session: Session, files: Files, gateway: Gateway, incoming: Path) -> Report | None:
    """Return the session's own report; None if it is missing, damaged, invalid or another session's."""
    path = PurePosixPath(OUTPUT_DIRECTORY) / REPORT_NAME
    for _try in range(TRIES if str(path) in files else 0):
        try:
            report = Report.from_json(fetch_sealed(path, REPORT_SEAL_NAME, files, gateway, incoming / REPORT_NAME))
        except (ContractError, Corrupt):
            continue
        if report.outcome not in REPORTED:
            continue
        mine = (report.run, report.session, report.attempt, report.token)
        return report if mine == (session.run, session.number, session.attempt, session.token) else None
    return None


# --- the checkpoint ----------------------------------------------------------


def _newest(
    session: Session,
    pipeline: Pipeline,
    found: list[Candidate],
    bring: Callable[[Candidate], None],
) -> Manifest | None:
    """Fetch the newest checkpoint that verifies and is newer than the session's start."""
    start = pipeline.position(session.start)
    newer = [candidate for candidate in found if pipeline.position(candidate.manifest.cursor) > start]
    for candidate in sorted(newer, key=lambda c: pipeline.position(c.manifest.cursor), reverse=True):
        for _try in range(TRIES):
            try:
                bring(candidate)
            except Corrupt:
                continue
            return candidate.manifest
    return None


def expected_of(state: RunState, session: Session, name: str) -> ManifestCheck:
    """Return the check that a session's manifests must pass."""
    return ManifestCheck(session, state.checkpoint(session.parent).digest if session.parent else None, name)


def fetch(
    candidate: Candidate,
    files: Files,
    gateway: Gateway,
    into: Path,
    quarantine: Quarantine,
    verified: Verified = ignored,
) -> None:
    """Fetch every file of the manifest into its folder, the manifest last; raises Corrupt if one is missing or differs.

    Files are fetched concurrently, and a damaged one does not discard the others: they are there for the retry. Only
    the compiled programs may be missing or differ: then they are left out, and the next session compiles them again.
    """
    private_folder(into)
    (into / MANIFEST_NAME).unlink(missing_ok=True)
    quarantine.make_room(missing_bytes(candidate.manifest, into), into)
    transfers = [
        _FileFetch(candidate.folder, entry, into, quarantine.place(into.name, entry.path))
        for entry in candidate.manifest.files
    ]
    damages = run_concurrently(
        [partial(transfer.fetched, files, gateway, verified) for transfer in transfers], gateway.abreast_max
    )
    for transfer, damage in zip(transfers, damages, strict=True):
        if damage is not None:
            quarantine.note(into.name, transfer.entry.path, "output", str(damage), transfer.damaged)
    for transfer, damage in zip(transfers, damages, strict=True):
        if damage is not None and transfer.entry.path != COMPILED_NAME:
            raise damage
        if damage is not None:
            (into / transfer.entry.path).unlink(missing_ok=True)
    write_whole(into / MANIFEST_NAME, candidate.manifest.to_json().encode())
    sync_folder(into.parent)


def missing_bytes(manifest: Manifest, into: Path) -> int:
    """Return how many bytes of a checkpoint's files are not in a folder yet, going by file sizes."""
    total = 0
    for entry in manifest.files:
        whole, part = into / entry.path, into / f"{entry.path}.part"
        if not whole.is_file() or whole.stat().st_size != entry.size_bytes:
            total += max(0, entry.size_bytes - (part.stat().st_size if part.is_file() else 0))
    return total


@dataclass(frozen=True)
class _FileFetch:
    """Fetches one file of a checkpoint."""

    folder: PurePosixPath
    """Folder of the checkpoint in the session's output."""
    entry: FileEntry
    into: Path
    damaged: Path
    """Path for bytes that differ from the manifest."""

    def fetched(self, files: Files, gateway: Gateway, verified: Verified) -> Corrupt | None:
        """Fetch the file, and return any damage as a value: only other errors must stop further files."""
        name = str(self.folder / self.entry.path)
        if name not in files:
            return Corrupt(f"{name} is missing from the session's output")
        wanted = FileWanted(size_bytes=self.entry.size_bytes, sha256=self.entry.sha256, damaged=self.damaged)
        _copy_local(self.entry, self.into)
        try:
            gateway.download(files[name], self.into / self.entry.path, wanted)
        except Corrupt as error:
            return error
        verified(self.into / self.entry.path, self.entry.sha256)
        return None


def _copy_local(entry: FileEntry, into: Path) -> None:
    """Copy a file from another local checkpoint of the run with the same bytes, as compiled programs often have.

    This only saves bandwidth: the download that follows hashes the file, and fetches it if it differs.
    """
    if (into / entry.path).exists():
        return
    part = into / f"{entry.path}.part"
    for manifest in sorted(into.parent.glob(f"*/{MANIFEST_NAME}"), reverse=True):
        with contextlib.suppress(OSError, ContractError):
            if entry in Manifest.from_json(manifest.read_bytes()).files:
                shutil.copyfile(manifest.with_name(entry.path), part)
                part.replace(into / entry.path)
                return


def keep_artifacts(blob: Path, into: Path) -> None:
    """Extract a verified checkpoint's artifacts for the user; resuming needs none of them."""
    try:
        artifacts = packing.texts_in(blob, ARTIFACTS_DIRECTORY, size_bytes_max=ARTIFACTS_BYTES_MAX)
    except packing.CorruptCheckpoint:
        return  # the bytes are verified, so another kind of session wrote them: it has no artifacts
    except OSError as error:
        if is_unread(error):
            return  # the code that needs these bytes reports that
        raise
    for name, content in artifacts.items():
        write_whole(private_folder(into) / name, content)


def bring_curves(files: Files, gateway: Gateway, into: Path) -> None:
    """Fetch TensorBoard files of all sessions into one folder, where they form one curve; failures are ignored."""
    left_bytes = CURVES_BYTES_MAX
    for name, file in sorted(files.items()):
        path = PurePosixPath(name)
        if path.parts[0] != TENSORBOARD_DIRECTORY or len(path.parts) < 2 or not stays_below(name) or left_bytes <= 0:
            continue
        target = into.joinpath(*path.parts[1:])
        with contextlib.suppress(Transient, Refused, Corrupt, DiskRefused, OSError):
            private_folder(target.parent)  # fails if another session left a file of the folder's name
            left_bytes -= gateway.download(file, target, FileWanted(size_bytes_max=left_bytes)).size_bytes


# --- the judgement -----------------------------------------------------------


def _judge(session: Session, report: Report | None, home: HomeLayout) -> Judgement:
    if session.worker == Worker.CANCEL_ACKNOWLEDGED:
        return _cancelled(session, home)
    if report is None:
        ended = "without a report" if session.worker == Worker.COMPLETE else "without notice"
        return Judgement(
            outcome=Outcome.FAILED,
            cause="no-report",
            reason=session.worker_message or f"the session ended {ended}",
            transient=True,
            excerpt=excerpt(session, home),
        )
    return Judgement(
        outcome=Outcome(report.outcome),
        cause=report.cause[:CAUSE_CHARS_MAX],
        reason=report.reason[:REASON_CHARS_MAX],
        transient=report.transient,
        excerpt=report.traceback[-TRACEBACK_CHARS_MAX:]
        or (excerpt(session, home) if report.outcome == Outcome.FAILED else ""),
    )


def _cancelled(session: Session, home: HomeLayout) -> Judgement:
    """Judge a cancelled session: Kaggle uses one status for the time limit and for a cancellation by a user.

    If Kaggle's message does not tell which, the session's own clock decides, by the last event in its log: this
    machine's clock may have been changed, or it may have slept through the end.
    """
    events = filter(None, map(Progress.from_line, log_lines(home.log(session))))
    lasted_s = max((event.at_s for event in events), default=0.0)
    if TIME_LIMIT in session.worker_message or lasted_s >= AT_LIMIT * session.limit_s:
        return Judgement(outcome=Outcome.TIMED_OUT, cause="time-limit", reason="Kaggle stopped it at its time limit")
    reason = session.worker_message or "it was cancelled on Kaggle"
    return Judgement(outcome=Outcome.FAILED, cause="cancelled", reason=reason, transient=True)


def _furthest(
    session: Session, pipeline: Pipeline, report: Report | None, home: HomeLayout, taken: Manifest | None
) -> Cursor:
    """Return the last step that the session is known to have done."""
    known = [session.start]
    if taken is not None:
        known.append(taken.cursor)
    if report is not None:
        known.append(report.reached)
    furthest = max(filter(pipeline.holds, known), key=pipeline.position)
    for line in log_lines(home.log(session)):
        event = Progress.from_line(line)
        if event is not None and event.event == "step":
            reached = Cursor(stage=event.stage, step=event.step)
            furthest = max(filter(pipeline.holds, (furthest, reached)), key=pipeline.position)
    return furthest


def excerpt(session: Session, home: HomeLayout) -> str:
    """Return the end of a session's log without progress events."""
    lines = (line[:LINE_CHARS_SHOWN] for line in log_lines(home.log(session)) if not line.startswith(PROGRESS_PREFIX))
    return "\n".join(deque(lines, maxlen=EXCERPT_LINES))
