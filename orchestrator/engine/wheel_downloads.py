"""Downloads with pip what a dataset of wheels holds, and builds the wheels of packages that have only a source."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from orchestrator.base.errors import BadInput
from stages.session import packing
from stages.session.package_lock import PackageLock

PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in range(35, 16, -1)),
    "manylinux2014_x86_64",
    "manylinux2010_x86_64",
    "manylinux1_x86_64",
    "linux_x86_64",
)
"""Platform tags that a recent x86-64 Linux accepts, newest first."""
MESSAGE_CHARS_MAX = 300
EPOCH_S = "315532800"
"""Time of all files in a wheel that is built here, 1 January 1980: the same source gives the same wheel."""
SHOWN_EVERY = 20
"""Number of packages between two lines on the progress of a download."""

Say = Callable[[str], None]
Download = Callable[[Sequence[str], str, PackageLock | None, Path, Say], dict[str, str]]
"""Function that downloads the wheels of pins and their dependencies, or of a lock, into an empty folder, for a Python
version. Returns the SHA-256 of the source of each wheel that was built. Raises BadInput."""


def download(pins: Sequence[str], python: str, lock: PackageLock | None, into: Path, say: Say) -> dict[str, str]:
    """Download with pip, which inherits this process's environment and settings; see `Download`."""
    if lock is None:
        command = [*_download(python, into), "--only-binary=:all:", *pins]
        _run(command, f"wheels of {', '.join(pins)} for Python {python} on Linux", say)
        return {}
    listed = into.parent / "requirements.txt"
    listed.write_text(lock.requirements(lock.all_pins), encoding="utf-8")
    command = [*_download(python, into), "--no-deps", "--require-hashes", "--requirement", str(listed)]
    _run(command, f"all packages of the lock for Python {python} on Linux", say, len(lock.packages))
    sources = sorted(path for path in into.iterdir() if path.suffix != ".whl")
    return {_built(source, into, say): _digest_and_remove(source) for source in sources}


def _download(python: str, into: Path) -> list[str]:
    where = [option for platform in PLATFORMS for option in ("--platform", platform)]
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar",
        "off",
    ]
    return [*pip, "--implementation", "cp", "--python-version", python, *where, "--dest", str(into)]


def _built(source: Path, into: Path, say: Say) -> str:
    """Build the wheel of a source beside it, and return its name. It must fit every platform, this machine or not."""
    say(f"building a wheel of {source.name}, which is published only as source")
    before = {*into.iterdir()}
    pip = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--no-input", "--no-deps"]
    _run([*pip, "--wheel-dir", str(into), str(source)], f"a wheel of {source.name}", say)
    wheel, *others = sorted(path.name for path in {*into.iterdir()} - before)
    if others or not wheel.endswith("-none-any.whl"):
        raise BadInput(
            f"{source.name} builds {wheel}, which fits only machines like this one: pin a release that has wheels"
        )
    return wheel


def _digest_and_remove(source: Path) -> str:
    digest = packing.sha256_of(source)
    source.unlink()
    return digest


def _run(command: Sequence[str], what: str, say: Say, count: int = 0) -> None:
    """Run pip and report its progress. Raises BadInput, with pip's own words, if it fails to provide `what`."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "SOURCE_DATE_EPOCH": EPOCH_S}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        lines = [*_reported(process.stdout, say, count)]
    if process.returncode != 0:
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
        detail = " ".join(errors)[:MESSAGE_CHARS_MAX] or f"exit status {process.returncode}"
        raise BadInput(f"pip has not provided {what} ({detail}): correct environment, or check the network")


def _reported(lines: Iterator[str], say: Say, count: int) -> Iterator[str]:
    """Yield pip's lines, and report every large file and every so many packages of `count`."""
    number = 0
    for line in map(str.strip, lines):
        begins = line.startswith(("Collecting ", "Processing "))  # from an index, or from a folder
        number += begins
        if count and line.startswith("Downloading ") and line.endswith((" MB)", " GB)")):
            say(f"  {number} of {count}: {line.removeprefix('Downloading ')}")
        elif count and begins and number % SHOWN_EVERY == 0:
            say(f"  {number} of {count} packages")
        yield line
