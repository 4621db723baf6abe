"""What a simulated session does: it counts in a chain of hashes, so any step that is skipped or done twice changes the end."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.pipeline import Pipeline
from orchestrator.rehearsal.sandbox import Played
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
    Progress,
    Report,
    seal_of,
)
from stages.documents import ContractError
from stages.mounts import check_fits
from stages.stage import StageFailed

Mounts = Mapping[str, Mapping[str, bytes]]
"""owner/slug → path → bytes."""

REPORT = f"{OUTPUT_DIRECTORY}/{REPORT_NAME}"
LINES_MAX = 300
"""Progress events of a session, about; a stage of ten thousand steps does not tell of each."""


@dataclass(frozen=True)
class Trained:
    """What one session trained on: where it began, and with which bytes."""

    order: Order
    digest: str
    """The state's, as it was mounted."""


@dataclass(frozen=True)
class Counting:
    """Plays sessions of one pipeline. A step takes `step_s` of the session's clock."""

    pipeline: Pipeline
    step_s: float = 10.0

    @property
    def start_s(self) -> float:
        """Before the first step."""
        return min(30.0, self.pipeline.limit_s / 30)

    @property
    def save_s(self) -> float:
        """Of the last save."""
        return min(20.0, self.pipeline.limit_s / 50)

    @property
    def usable_s(self) -> float:
        """What a full session has for steps."""
        return self.pipeline.budget_s(self.pipeline.limit_s) - self.start_s - self.save_s

    def play(self, order: Order, mounts: Mounts) -> tuple[Played, Trained | None]:
        """The session, and what it trained on; None where it refused to train."""
        try:
            digest = _parent(order, mounts)
        except StageFailed as failure:
            return _refused(order, failure), None
        return self._count(order, digest), Trained(order, digest)

    def _count(self, order: Order, digest: str) -> Played:
        pipeline, total = self.pipeline, self.pipeline.total_steps
        position = pipeline.position(order.start)
        telling = max(1, total // LINES_MAX)
        lines: list[tuple[float, str]] = []
        files: list[tuple[float, str, bytes]] = []
        at_s = saved_s = self.start_s
        while position < total and at_s + self.step_s + self.save_s < order.budget_s:
            position, at_s = position + 1, at_s + self.step_s
            digest = after(digest, position)
            if position % telling == 0 or position == total:
                cursor = cursor_at(pipeline, position)
                event = Progress(
                    number=len(lines), event="step", at_s=at_s, stage=cursor.stage, step=cursor.step, target=0
                )
                lines.append((at_s, event.line()))
            if at_s - saved_s >= order.save_interval_s:
                files += _checkpoint(order, cursor_at(pipeline, position), digest, at_s)
                saved_s = at_s
        reached, ends_s = cursor_at(pipeline, position), at_s + self.save_s
        files += _checkpoint(order, reached, digest, ends_s)
        report = _report(order, "finished" if position >= total else "yielded", reached)
        files += _reported(report, ends_s)
        return Played(ends_after_s=ends_s, lines=lines, files=files)


# --- the chain of hashes -----------------------------------------------------

BEGIN = "begin"


def after(digest: str, position: int) -> str:
    """The state's digest once step `position` of the pipeline is done."""
    return hashlib.sha256(f"{digest}/{position}".encode()).hexdigest()


def uncut(pipeline: Pipeline) -> tuple[str, ...]:
    """The digest after each number of steps, from none to all, in a run that was never cut."""
    found = [BEGIN]
    for position in range(1, pipeline.total_steps + 1):
        found.append(after(found[-1], position))
    return tuple(found)


def digest_of(manifest: Manifest) -> str:
    """The state's digest that a checkpoint holds."""
    return manifest.digests["state"]


def cursor_at(pipeline: Pipeline, position: int) -> Cursor:
    """The cursor after so many steps; a boundary belongs to the stage that ends there."""
    for stage in pipeline.stages:
        if position <= stage.steps:
            return Cursor(stage=stage.name, step=position)
        position -= stage.steps
    raise AssertionError("beyond the end")


# --- what a session reads and leaves -----------------------------------------


def _parent(order: Order, mounts: Mounts) -> str:
    """The digest to go on from; refuses, as `stages.mounts` does, whatever is not the order's parent byte for byte."""
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
    """Compiled programs that are damaged are compiled again."""
    return entry.path != COMPILED_NAME


def _whole(entry: FileEntry, data: bytes | None) -> bool:
    return data is not None and len(data) == entry.size_bytes and hashlib.sha256(data).hexdigest() == entry.sha256


def _checkpoint(order: Order, cursor: Cursor, digest: str, at_s: float) -> list[tuple[float, str, bytes]]:
    # Larger the later it is: a fault that befalls the largest file befalls the newest checkpoint.
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
    )
    folder = f"{OUTPUT_DIRECTORY}/{CHECKPOINTS_DIRECTORY}/{cursor.stage}-{cursor.step:08d}"
    data = manifest.to_json().encode()
    return [
        (at_s, f"{folder}/{BLOB_NAME}", state),
        (at_s, f"{folder}/{SEAL_NAME}", seal_of(data)),
        (at_s, f"{folder}/{MANIFEST_NAME}", data),
    ]


def _reported(report: Report, at_s: float) -> list[tuple[float, str, bytes]]:
    """A report with its seal, as a session leaves them."""
    data = report.to_json().encode()
    return [(at_s, f"{OUTPUT_DIRECTORY}/{REPORT_SEAL_NAME}", seal_of(data)), (at_s, REPORT, data)]


def _report(order: Order, outcome: str, reached: Cursor, **more: Any) -> Report:
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


def _refused(order: Order, failure: StageFailed) -> Played:
    report = _report(
        order, "failed", order.start, cause=failure.cause, reason=str(failure), transient=failure.transient
    )
    after_s = min(5.0, order.limit_s / 10)
    return Played(ends_after_s=after_s, exit_code=1, files=_reported(report, after_s))


# --- sessions that go wrong by themselves ------------------------------------


def failing(order: Order, played: Played, after_s: float, cause: str, *, transient: bool = False) -> Played:
    """The same session, with an exception of its own at that time."""
    cut = died(played, after_s)
    report = _report(
        order,
        "failed",
        _last_step(cut, order),
        cause=cause,
        reason="it broke",
        transient=transient,
        traceback="Traceback",
    )
    return replace(cut, exit_code=1, files=[*cut.files, *_reported(report, after_s)])


def died(played: Played, after_s: float) -> Played:
    """The same session, gone without notice at that time."""
    return Played(
        ends_after_s=after_s,
        exit_code=137,
        lines=[line for line in played.lines if line[0] <= after_s],
        files=[file for file in played.files if file[0] <= after_s],
    )


def hung(played: Played, after_s: float) -> Played:
    """The same session, which does nothing more from that time on and never ends by itself."""
    return replace(died(played, after_s), ends_after_s=1e9)


def _last_step(played: Played, order: Order) -> Cursor:
    events = [Progress.from_line(text) for _, text in played.lines]
    steps = [event for event in events if event is not None]
    return Cursor(stage=steps[-1].stage, step=steps[-1].step) if steps else order.start
