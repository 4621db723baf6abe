"""Locks: every package that a session installs, at one version, with the SHA-256 of each file that may be installed.

A lock is a requirements file for `pip install --require-hashes --no-deps`, with a head of comments that names the Python
and the platform it is for. `relay environment lock` writes one; `orchestrator/pipeline/locks` holds relay's own.
"""

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import takewhile

TITLE = "# relay lock 1"
"""First line of every lock; the number is that of its format."""
HEAD = re.compile(r"# (python|platform|size_bytes|pins): (\S.*)")
PACKAGE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9.+!_-]*)((?: --hash=sha256:[0-9a-f]{64})+)")
LOCK_SUFFIX = ".lock.txt"
"""End of a lock file's name, by which `environment` tells it from the name of a set of pins."""
DIGEST_CHARS = 16
"""Characters of a lock's digest that logs and reports show."""


class BadLock(ValueError):
    """Raised for a text that is not a lock; the message is one sentence without a file name."""


def names_lock(environment: object) -> bool:
    """Return True if this value of a pipeline's `environment` is the name of a lock file."""
    return isinstance(environment, str) and environment.endswith(LOCK_SUFFIX)


def normalised(name: str) -> str:
    """Return a package's name in the form in which all its spellings are equal (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class LockedPackage:
    """Package at one version; `hashes` are the SHA-256, in hex, of the files that may be installed."""

    name: str
    version: str
    hashes: tuple[str, ...]

    @property
    def pin(self) -> str:
        """`name==version`."""
        return f"{self.name}=={self.version}"

    @property
    def text(self) -> str:
        """Requirement with its hashes, over several lines."""
        return " \\\n    ".join((self.pin, *(f"--hash=sha256:{found}" for found in self.hashes)))


@dataclass(frozen=True)
class PackageLock:
    """All packages of an environment, for one Python (`3.12`) and one platform (`x86_64-manylinux_2_31`)."""

    python: str
    platform: str
    size_bytes: int
    """Size of all files in bytes; of packages with several, the largest."""
    pins: tuple[str, ...]
    """The pins that the lock was made from, as `name==version` or `name`."""
    packages: tuple[LockedPackage, ...]

    @classmethod
    def parse(cls, text: str) -> "PackageLock":
        """Parse a lock; comments other than the head's are ignored. Raises BadLock."""
        return _parsed(text)

    @property
    def text(self) -> str:
        """The lock as text without other comments: the same lock always gives the same text."""
        head = (TITLE, f"# python: {self.python}", f"# platform: {self.platform}", f"# size_bytes: {self.size_bytes}")
        return "\n".join((*head, f"# pins: {' '.join(self.pins)}", *(each.text for each in self.packages), ""))

    @property
    def all_pins(self) -> tuple[str, ...]:
        """Every package as `name==version`."""
        return tuple(package.pin for package in self.packages)

    @property
    def digest(self) -> str:
        """Beginning of the SHA-256 of the lock's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:DIGEST_CHARS]

    def requirements(self, pins: Collection[str]) -> str:
        """Return a requirements file, with hashes, of the packages whose pins are among these."""
        return "".join(f"{package.text}\n" for package in self.packages if package.pin in pins)

    def with_hashes(self, hashes: dict[str, tuple[str, ...]]) -> "PackageLock":
        """Return the lock with other hashes for the packages named here, and only those packages."""
        kept = (package for package in self.packages if package.name in hashes)
        return replace(self, packages=tuple(replace(each, hashes=hashes[each.name]) for each in kept))


@lru_cache(maxsize=32)
def _parsed(text: str) -> PackageLock:
    lines = text.splitlines()
    if not lines or lines[0].rstrip() != TITLE:
        raise BadLock(
            f"its first line is not {TITLE!r}: write the list of pins in environment and type relay environment lock"
        )
    comments = takewhile(lambda line: not line or line.startswith("#"), map(str.strip, lines))
    head = {match[1]: match[2] for match in map(HEAD.fullmatch, comments) if match}
    for key, form in (("python", r"\d+\.\d+"), ("platform", r"\S+"), ("size_bytes", r"\d{1,15}"), ("pins", ".+")):
        if not re.fullmatch(form, head.get(key, "")):
            raise BadLock(
                f"its head does not say {key}: write the list of pins in environment and type relay environment lock"
            )
    packages: dict[str, LockedPackage] = {}
    for number, requirement in _requirements(lines):
        match = PACKAGE.fullmatch(requirement)
        if match is None:
            raise BadLock(f"line {number} is not name==version with --hash=sha256: values")
        name = normalised(match[1])
        if name in packages:
            raise BadLock(f"line {number} names {name} for the second time")
        hashes = tuple(found.removeprefix("--hash=sha256:") for found in match[3].split())
        packages[name] = LockedPackage(name, match[2], hashes)
    if not packages:
        raise BadLock("it holds no package")
    pins = tuple(head["pins"].split())
    return PackageLock(head["python"], head["platform"], int(head["size_bytes"]), pins, tuple(packages.values()))


def _requirements(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Yield each requirement on one line, with the number of its first line, counted from 1."""
    parts: list[str] = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        parts.append(text.removesuffix("\\").strip())
        if not text.endswith("\\"):
            yield number - len(parts) + 1, " ".join(parts)
            parts = []
    if parts:
        yield len(lines), " ".join(parts)
