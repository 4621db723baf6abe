"""Compares installed packages with an order's pins and installs those that differ."""

import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from stages.session import failure_report
from stages.session.duration_text import duration
from stages.stage import StageFailed

CAUSE = "environment-install"
PIN = re.compile(r"\s*([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*(?:===?\s*([^\s;,]+))?")
MESSAGE_CHARS_MAX = 800


def differing(pins: Sequence[str]) -> tuple[str, ...]:
    """Return the pins (`name==version`, or `name` for any version) that the installed packages do not satisfy."""
    return tuple(pin for pin in pins if not _fits(pin))


def install(pins: Sequence[str], timeout_s: float, wheels: Path | None = None) -> None:
    """Install pins in one call of pip, which inherits this process's environment; only from the
    folder `wheels` if it is given.

    Raises StageFailed, always transient.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += [*(["--no-index", "--find-links", str(wheels)] if wheels else []), *pins]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=timeout_s
        )
    except subprocess.TimeoutExpired as error:
        raise StageFailed(CAUSE, f"pip took longer than {duration(timeout_s)}", transient=True) from error
    if done.returncode != 0:
        message = failure_report.without_secrets(done.stdout).strip()[-MESSAGE_CHARS_MAX:]
        raise StageFailed(CAUSE, f"pip could not install {', '.join(pins)}: {message}", transient=True)


def require(pins: Sequence[str]) -> None:
    """Raise StageFailed unless all pins are satisfied."""
    if wrong := differing(pins):
        raise StageFailed(CAUSE, f"not installed as pinned: {', '.join(wrong)}", transient=True)


def versions(names: Sequence[str]) -> dict[str, str]:
    """Return the installed versions of these packages, by name; packages that are not installed are left out."""
    found = {name: _installed(name) for name in names}
    return {name: version for name, version in found.items() if version is not None}


def name_of(pin: str) -> str:
    """Return the package name of a pin."""
    match = PIN.match(pin)
    return match[1] if match else pin


def normalised(name: str) -> str:
    """Return a package's name as PEP 503 normalises it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _fits(pin: str) -> bool:
    match = PIN.fullmatch(pin)
    if match is None:
        return False
    installed, wanted = _installed(match[1]), match[2]
    if installed is None or wanted is None:
        return installed is not None
    return wanted in (installed, installed.partition("+")[0])


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
