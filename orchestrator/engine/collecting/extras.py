"""Keeps what a session left for the user: the artifacts of its checkpoint, and TensorBoard files."""

import contextlib
from pathlib import Path, PurePosixPath

from orchestrator.base.disk import is_unread, private_folder, write_whole
from orchestrator.base.errors import Corrupt, DiskRefused, Refused, Transient
from orchestrator.engine.collecting.files import SessionFiles
from orchestrator.platforms.port import FileWanted
from stages.contract import ARTIFACTS_DIRECTORY
from stages.file_names import stays_below
from stages.session import packing
from stages.session.metrics import TENSORBOARD_DIRECTORY

CURVES_BYTES_MAX = 256 * 2**20
"""Maximum total size of a session's TensorBoard files, in bytes."""
ARTIFACTS_BYTES_MAX = 64 * 2**20
"""Maximum total size of a checkpoint's artifacts, in bytes; the rest stays in the packed state."""


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


def fetch_curves(files: SessionFiles, into: Path) -> None:
    """Fetch TensorBoard files of all sessions into one folder, where they form one curve; failures are ignored."""
    left_bytes = CURVES_BYTES_MAX
    for name, file in sorted(files.listed.items()):
        path = PurePosixPath(name)
        if path.parts[0] != TENSORBOARD_DIRECTORY or len(path.parts) < 2 or not stays_below(name) or left_bytes <= 0:
            continue
        target = into.joinpath(*path.parts[1:])
        with contextlib.suppress(Transient, Refused, Corrupt, DiskRefused, OSError):
            private_folder(target.parent)  # fails if another session left a file of the folder's name
            left_bytes -= files.gateway.download(file, target, FileWanted(size_bytes_max=left_bytes)).size_bytes
