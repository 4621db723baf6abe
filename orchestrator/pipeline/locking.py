"""Makes locks: resolves pins with uv for the Python and platform of Kaggle's sessions, and keeps each file's hash.

`python -m orchestrator.pipeline.locking` (`make locks`) writes relay's own locks anew.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.base.errors import BadInput
from orchestrator.pipeline.environments import COMPILERS, DEFAULT, ENVIRONMENTS, LOCKS, PYTHON, lock_name, pins_of
from orchestrator.pipeline.lock_files import require_pins
from stages.session.package_lock import BadLock, LockedPackage, PackageLock, normalised

PLATFORM = "x86_64-manylinux_2_31"
"""Platform of the locks: x86-64 Linux with glibc 2.31, the oldest that libtpu 0.0.42.1 has a wheel for."""
COMMENT = "# Made by relay environment lock; make it anew instead of editing it."
MESSAGE_CHARS_MAX = 600

CONSTRAINTS = {DEFAULT: "constraints.txt", "tunix-0.1.5": "constraints-0.1.5.txt"}
"""Files of the repository with the versions that each environment is tested with."""

Resolve = Callable[[Sequence[str], Path | None], dict[str, Any]]
"""Function that resolves pins, within a file of constraints if one is given, to the value of a `pylock.toml` (PEP 751)."""


def made(pins: Sequence[str], constraints: Path | None = None, resolve: "Resolve | None" = None) -> PackageLock:
    """Resolve pins to a lock.

    Raises BadInput if uv is missing, finds no solution or one without a package, or a file has no hash.
    """
    found = (resolve or resolved)(pins, constraints)
    files = [(package, _files(package)) for package in found.get("packages", [])]
    packages = [
        LockedPackage(
            normalised(package["name"]), package["version"], tuple(sorted(each["hashes"]["sha256"] for each in kept))
        )
        for package, kept in files
    ]
    size_bytes = sum(max(int(each.get("size", 0)) for each in kept) for _, kept in files)
    ordered = tuple(sorted(packages, key=lambda package: package.name))
    # the text is parsed once more, so that nothing is written that a session would refuse
    try:
        lock = PackageLock.parse(PackageLock(PYTHON, PLATFORM, size_bytes, tuple(pins), ordered).text)
        require_pins(lock)
    except BadLock as error:
        raise BadInput(f"uv's answer for {', '.join(pins)} makes no lock that a session could use: {error}") from error
    return lock


def _files(package: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the files of a package that can be installed: its wheels for the platform, or its source without any.

    uv lists no wheels of other platforms.
    """
    name = package.get("name", "a package")
    if "version" not in package or not ("wheels" in package or "sdist" in package):
        raise BadInput(
            f"{name} does not come from a package index, so a lock cannot hold it: pin a published version of it"
        )
    kept = package.get("wheels") or [package["sdist"]]
    if any("sha256" not in each.get("hashes", {}) for each in kept):
        raise BadInput(f"the package index has no SHA-256 for a file of {name}: use an index that has them")
    return kept


def resolved(pins: Sequence[str], constraints: Path | None) -> dict[str, Any]:
    """Resolve pins with uv, which inherits this process's environment and reads the user's uv settings.

    uv reads the metadata of sources with this Python; otherwise it would start every Python of the machine to find one.
    """
    with tempfile.TemporaryDirectory(prefix="relay-lock-") as name:
        folder = Path(name)
        (folder / "pins.txt").write_text("".join(f"{pin}\n" for pin in pins), encoding="utf-8")
        command = [
            *_uv(), "pip", "compile", "--quiet", "--python", sys.executable, "--format", "pylock.toml", "--python-version", PYTHON,
            "--python-platform", PLATFORM, "--output-file", str(folder / "pylock.toml"),
            *(["--constraints", str(constraints)] if constraints else []), str(folder / "pins.txt"),
        ]  # fmt: skip
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            detail = re.sub(r"\s+", " ", done.stdout).strip()[:MESSAGE_CHARS_MAX] or f"exit status {done.returncode}"
            raise BadInput(
                f"uv cannot resolve {', '.join(pins)} for Python {PYTHON} on Linux ({detail}): correct environment, or "
                "check the network"
            )
        return tomllib.loads((folder / "pylock.toml").read_text(encoding="utf-8"))


def _uv() -> list[str]:
    if importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    if found := shutil.which("uv"):
        return [found]
    raise BadInput("a lock is made with uv, which is not installed: pip install 'relay-kaggle[lock]'")


def file_text(lock: PackageLock) -> str:
    """Return the text of a lock's file: the lock, and how it was made."""
    title, _, rest = lock.text.partition("\n")
    return f"{title}\n{COMMENT}\n{rest}"


def write_own(folder: Path, root: Path) -> list[Path]:
    """Write relay's own locks into `folder`; `root` is the repository, which holds the constraints."""
    written = []
    for name in ENVIRONMENTS:
        for platform in (*COMPILERS[name], "cpu"):
            path = folder / lock_name(name, platform)
            path.write_text(file_text(made(pins_of(name, platform), root / CONSTRAINTS[name])), encoding="utf-8")
            written.append(path)
    return written


if __name__ == "__main__":
    for done in write_own(LOCKS, Path(__file__).parents[2]):
        sys.stdout.write(f"{done}\n")
