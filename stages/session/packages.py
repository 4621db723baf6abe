"""Compares installed packages with an order's pins or lock and installs those that differ."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from stages.contract import Order
from stages.session import failure_report
from stages.session.accelerator import STAND_IN
from stages.session.duration_text import duration
from stages.session.package_lock import BadLock, PackageLock
from stages.stage import StageFailed

CAUSE = "environment-install"
PIN = re.compile(r"\s*([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*(?:===?\s*([^\s;,]+))?")
INSTALLING = "installing "
"""Beginning of the log line with the packages that a session installs."""
ANNOUNCED = re.compile(INSTALLING + r"(\d{1,6}) of (\d{1,6}) packages: ")
MESSAGE_CHARS_MAX = 800
COMPILER = re.compile(r"libtpu|jax-cuda\d*-(plugin|pjrt)")
"""Names of packages that compile for an accelerator; a machine that stands in for one does without them."""
INSTALL_AS_ON_KAGGLE = "RELAY_INSTALL_AS_ON_KAGGLE"
"""Environment variable that makes a rehearsal's session install its lock, if it is 1. Other rehearsals install nothing,
because their Python is the user's own."""


@dataclass(frozen=True)
class Wanted:
    """Packages that a session needs, and the sentence in which its log and report describe them."""

    pins: tuple[str, ...]
    lock: PackageLock | None
    description: str


def wanted(order: Order) -> Wanted:
    """Return the packages that an order needs on this Python: those of its lock, else its pins.

    Raises StageFailed if the order's lock cannot be read.
    """
    if not order.pins:
        return Wanted((), None, "")
    if os.environ.get(STAND_IN) == "1" and os.environ.get(INSTALL_AS_ON_KAGGLE) != "1":
        return Wanted(without_compilers(order.pins), None, "pins without their lock, as in every rehearsal")
    if not order.lock:
        return Wanted(order.pins, None, "pins alone, since the pipeline names no lock")
    try:
        lock = PackageLock.parse(order.lock)
    except BadLock as error:
        raise StageFailed(CAUSE, f"the order's lock cannot be used: {error}") from error
    if lock.python != (here := python_version()):
        why = f"pins without their lock, which is for Python {lock.python}, and this is {here}"
        return Wanted(order.pins, None, f"{why}: packages behind the pins may differ from those of other sessions")
    return Wanted(lock.all_pins, lock, f"lock {lock.digest}, {len(lock.packages)} packages for Python {lock.python}")


def python_version() -> str:
    """Return the version of this Python as locks have it, such as `3.12`."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def without_compilers(pins: Sequence[str]) -> tuple[str, ...]:
    """Return the pins without those of compilers for accelerators."""
    return tuple(pin for pin in pins if not COMPILER.fullmatch(name_of(pin)))


def differing(pins: Sequence[str]) -> tuple[str, ...]:
    """Return the pins (`name==version`, or `name` for any version) that the installed packages do not satisfy."""
    return tuple(pin for pin in pins if not _fits(pin))


def install(pins: Sequence[str], timeout_s: float, lock: PackageLock | None = None, wheels: Path | None = None) -> None:
    """Install pins in one call of pip, which inherits this process's environment; only from the folder `wheels` if it
    is given, and only files whose hashes are in `lock` if that is given.

    Raises StageFailed, always transient.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-index", "--find-links", str(wheels)] if wheels else []
    with tempfile.TemporaryDirectory(prefix="relay-lock-") as folder:
        listed = Path(folder) / "requirements.txt"
        if lock is not None:
            listed.write_text(lock.requirements(pins))
            command += ["--no-deps", "--require-hashes", "--requirement", str(listed)]
        else:
            command += pins
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=timeout_s
            )
        except subprocess.TimeoutExpired as error:
            raise StageFailed(CAUSE, f"pip took longer than {duration(timeout_s)}", transient=True) from error
    if done.returncode != 0:
        message = failure_report.without_secrets(done.stdout).strip()[-MESSAGE_CHARS_MAX:]
        raise StageFailed(CAUSE, f"pip could not install {listing(pins)}: {message}", transient=True)


def listing(pins: Sequence[str], most: int = 12) -> str:
    """Return the pins as text, with a count in place of those after the first `most`."""
    shown = ", ".join(pins[:most])
    return shown if len(pins) <= most else f"{shown} and {len(pins) - most} more"


def announcement(pins: Sequence[str], wanted: Sequence[str]) -> str:
    """Return the log line that is written before these of the wanted packages are installed."""
    return f"{INSTALLING}{len(pins)} of {len(wanted)} packages: {listing(pins)}"


def announced(line: str) -> tuple[int, int] | None:
    """Return the numbers of packages to install and of packages wanted from a log line, or None if it has none."""
    found = ANNOUNCED.match(line)
    return (int(found[1]), int(found[2])) if found else None


def require(pins: Sequence[str]) -> None:
    """Raise StageFailed unless all pins are satisfied."""
    if wrong := differing(pins):
        raise StageFailed(CAUSE, f"not installed as pinned: {listing(wrong)}", transient=True)


def versions(names: Sequence[str]) -> dict[str, str]:
    """Return the installed versions of these packages, by name; packages that are not installed are left out."""
    found = {name: _installed(name) for name in names}
    return {name: version for name, version in found.items() if version is not None}


def name_of(pin: str) -> str:
    """Return the package name of a pin."""
    match = PIN.match(pin)
    return match[1] if match else pin


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
