"""Publishes a dataset of the wheels that a pipeline's sessions install, once: `relay environment publish`."""

import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.base.clock import Clock
from orchestrator.base.disk import free_bytes
from orchestrator.base.errors import BadInput, Permanent
from orchestrator.base.humanize import counted
from orchestrator.engine.wheel_downloads import Download, download
from orchestrator.pipeline.environments import PYTHON
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.port import DatasetSeen, Platform
from stages.session import packing
from stages.session.package_lock import PackageLock
from stages.session.wheels import BLOB_NAME, LIST_NAME, WheelList

POLL_S = 15.0
WAIT_S_MAX = 3600.0
COPIES = 2
"""Number of times that all wheels lie on this disk: as files, and packed."""
TENTHS = 10


@dataclass(frozen=True)
class Published:
    """Published dataset, and whether it existed before."""

    ref: str
    wheels: WheelList
    there_before: bool


def publish(
    pipeline: Pipeline,
    gateway: Platform,
    clock: Clock,
    say: Callable[[str], None],
    *,
    python: str = PYTHON,
    get: Download = download,
) -> Published:
    """Download, pack and publish the wheels; a dataset with the same bytes is reused without an upload.

    Raises BadInput if the pipeline installs nothing or a wheel is missing, Permanent if Kaggle has something else under
    that name. Before the upload, nothing is created except a temporary folder, which is removed.
    """
    if not pipeline.pins:
        raise BadInput(f"{pipeline.name} installs nothing, so there are no wheels to publish: environment is empty")
    lock = PackageLock.parse(pipeline.lock) if pipeline.lock else None
    python = lock.python if lock else python
    with tempfile.TemporaryDirectory(prefix="relay-wheels-") as name:
        folder = Path(name)
        say(_announcement(pipeline, lock, python))
        _require_room(folder, COPIES * lock.size_bytes if lock else 0)
        (downloaded := folder / "wheels").mkdir()
        built = get(pipeline.pins, python, lock, downloaded, say)
        _require_room(folder, sum(path.stat().st_size for path in downloaded.iterdir()))
        wheels = packed(pipeline.pins, python, downloaded, folder, built)
        owner, slug = gateway.owner(), wheels.slug
        found = gateway.find_dataset(slug)
        if found is None:
            say(
                f"uploading {counted(len(wheels.files), 'wheel')}, {wheels.size_bytes / 2**20:,.0f} MiB, as {owner}/{slug}"
            )
            files = [folder / LIST_NAME, folder / BLOB_NAME]
            gateway.create_dataset(slug, files, reached=UploadTenths({BLOB_NAME: wheels.size_bytes}, say).reached)
            say("waiting until Kaggle has processed the dataset")
        _await(slug, wheels, gateway, clock)
        return Published(f"{owner}/{slug}", wheels, there_before=found is not None)


def _announcement(pipeline: Pipeline, lock: PackageLock | None, python: str) -> str:
    if lock is None:
        return f"downloading wheels of {', '.join(pipeline.pins)} for Python {python}"
    size = f"{counted(len(lock.packages), 'package')}, at most {lock.size_bytes / 2**20:,.0f} MiB"
    return f"downloading {size}, of lock {lock.digest} for Python {python} on {pipeline.accelerator}"


def _require_room(folder: Path, wanted_bytes: int) -> None:
    if (free := free_bytes(folder)) < wanted_bytes:
        raise BadInput(
            f"the disk of {folder.parent} has {free / 2**20:,.0f} MiB free and the wheels need "
            f"{wanted_bytes / 2**20:,.0f}: free some space, or set TMPDIR to a folder on another disk"
        )


class UploadTenths:
    """Reports each tenth of an upload once; `reached` may be called from several threads."""

    def __init__(self, sizes: Mapping[str, int], say: Callable[[str], None]) -> None:
        self._sizes, self._say = sizes, say
        self._shown = 0
        self._lock = threading.Lock()

    def reached(self, name: str, sent_bytes: int) -> None:
        """Take note that so many bytes of a file were sent; files without a size are not reported."""
        size_bytes = self._sizes.get(name, 0)
        tenth = TENTHS * sent_bytes // size_bytes if size_bytes else 0
        with self._lock:
            if tenth > self._shown:
                self._shown = tenth
                self._say(f"  {100 * tenth // TENTHS} % of {size_bytes / 2**20:,.0f} MiB")


def packed(
    pins: Sequence[str], python: str, downloaded: Path, folder: Path, built: Mapping[str, str] | None = None
) -> WheelList:
    """Write the two files of the dataset, from the wheels in `downloaded`, into `folder`.

    `built` maps the names of wheels that were built here to the SHA-256 of their sources.
    """
    files = {path.name: packing.sha256_of(path) for path in sorted(downloaded.iterdir())}
    for path in downloaded.iterdir():
        path.chmod(0o644)  # the archive must not depend on this machine's umask
    blob = packing.pack(downloaded, folder / BLOB_NAME)
    wheels = WheelList(python, tuple(pins), files, blob.size_bytes, blob.sha256, dict(built or {}))
    (folder / LIST_NAME).write_text(wheels.to_json(), encoding="utf-8")
    return wheels


def _await(slug: str, wheels: WheelList, gateway: Platform, clock: Clock) -> None:
    """Wait until Kaggle lists both files in full."""
    waited_s = 0.0
    while not _whole(gateway.find_dataset(slug), wheels):
        if waited_s >= WAIT_S_MAX:
            raise Permanent(
                f"Kaggle has not processed the dataset {slug} within an hour: look at its page, then publish again"
            )
        clock.sleep(POLL_S)
        waited_s += POLL_S


def _whole(seen: DatasetSeen | None, wheels: WheelList) -> bool:
    if seen is None or seen.status not in ("ready", "failed"):
        return False
    listed = {file.name: file.size_bytes for file in seen.files}
    if seen.status == "ready" and not seen.private:
        raise Permanent(f"the dataset {seen.ref} is public: make it private on Kaggle, then publish again")
    if seen.status == "failed" or (listed and listed.get(BLOB_NAME) != wheels.size_bytes):
        raise Permanent(f"the dataset {seen.ref} is not what was uploaded: delete it on Kaggle, then publish again")
    return LIST_NAME in listed and BLOB_NAME in listed
