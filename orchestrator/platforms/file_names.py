"""Names of files that sessions leave: which of them this machine can store."""

import re
from pathlib import PurePosixPath

from orchestrator.base.errors import Corrupt
from orchestrator.base.systems import DEVICE
from orchestrator.platforms.port import OutputFile

PART_BYTES_MAX = 200
"""Maximum bytes of one path component: file systems allow 255, and `.part` and a checkpoint's name are appended."""

NAME_BYTES_MAX = 1_000
NAME_CHARS_SHOWN = 80


def safe_name(name: str) -> str:
    """Return the relative name of an output file; raises Corrupt if it leaves its directory or no disk can hold it."""
    parts = PurePosixPath(name).parts
    shown = repr(name if len(name) <= NAME_CHARS_SHOWN else name[:NAME_CHARS_SHOWN] + "…")
    if len(name.encode(errors="replace")) > NAME_BYTES_MAX or any(
        len(part.encode(errors="replace")) > PART_BYTES_MAX for part in parts
    ):
        raise Corrupt(f"an output file has the name {shown}, which is too long for a disk")
    bad = not parts or name.startswith("/") or name.endswith("/") or ".." in parts
    if bad or re.search(r"[\x00-\x1f\x7f\\\ud800-\udfff\ufffd]|^[A-Za-z]:", name):
        raise Corrupt(f"an output file has the name {shown}, which does not stay inside its directory")
    if any(DEVICE.fullmatch(part) for part in parts):
        raise Corrupt(f"an output file has the name {shown}, which is a device's on some systems")
    return "/".join(parts)


def output_file(name: str, url: str) -> OutputFile:
    """Build an OutputFile; one whose name is unsafe here is `refused` and cannot be fetched."""
    try:
        return OutputFile(name=safe_name(name), url=url)
    except Corrupt as error:
        return OutputFile(name=name[:NAME_CHARS_SHOWN], url="", refused=str(error))
