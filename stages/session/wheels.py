"""Installs packages from a mounted dataset instead of the network; `relay environment publish` creates the dataset.

The dataset `…/relay-wheels-<digest>` contains one packed file of wheels and a list of them. The digest is that of the
list, and the list contains the digest of the packed file, so only the published wheels can be installed.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from stages.safe_text import read_json
from stages.session import packing
from stages.session.package_lock import LockedPackage, PackageLock, normalised

LIST_NAME = "wheels.json"
BLOB_NAME = "wheels.bin"
"""Name of the packed file. It does not look like an archive, because Kaggle unpacks those."""
PREFIX = "relay-wheels-"
DIGEST_CHARS = 16
FORMAT = 1
SIZE_BYTES_MAX = 20 * 1024**3


class NoWheels(Exception):
    """Raised if a session cannot install from the dataset; the message says why."""


@dataclass(frozen=True)
class WheelList:
    """Contents of a dataset of wheels: `files` maps names to digests, `python` is the version
    that they are for (`3.12`)."""

    python: str
    pins: tuple[str, ...]
    files: dict[str, str]
    size_bytes: int
    sha256: str
    """SHA-256 of the packed file."""
    built: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the source distribution that a wheel was built from, by the wheel's name; other wheels are as
    published by their authors."""

    def to_json(self) -> str:
        """Return canonical JSON: the same wheels give the same text."""
        return json.dumps(
            {
                "format": FORMAT,
                "python": self.python,
                "pins": list(self.pins),
                "files": self.files,
                "size_bytes": self.size_bytes,
                "sha256": self.sha256,
                **({"built": self.built} if self.built else {}),  # lists without it keep their digest
            },
            sort_keys=True,
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str) -> "WheelList":
        """Parse a list of wheels. Raises NoWheels if the text is not one."""
        try:
            found = read_json(text)
            if found["format"] != FORMAT:
                raise NoWheels(f"the list of wheels has format {found['format']}, and this relay reads {FORMAT}")
            return cls(
                str(found["python"]),
                tuple(found["pins"]),
                dict(found["files"]),
                int(found["size_bytes"]),
                found["sha256"],
                dict(found.get("built", {})),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise NoWheels(f"{LIST_NAME} is not a list of wheels: {error}") from error

    @property
    def slug(self) -> str:
        """Name of the dataset, unique to these wheels."""
        return f"{PREFIX}{digest_of(self.to_json())}"


def digest_of(text: str) -> str:
    """Return the part of the dataset's name that is derived from a list's text."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARS]


def lock_for(wheels: WheelList, lock: PackageLock, ref: str) -> PackageLock:
    """Return the lock with the hashes of these wheels, each of which is in the lock or built from a source that is.

    Raises NoWheels if a package has no such wheel.
    """
    found: dict[str, tuple[str, ...]] = {}
    for package in lock.packages:
        files = [name for name in wheels.files if _is_of(name, package)]
        fitting = [name for name in files if {wheels.files[name], wheels.built.get(name, "")} & {*package.hashes}]
        if not fitting:
            what = f"another file of {package.pin} than the lock names" if files else f"no wheel of {package.pin}"
            raise NoWheels(f"{ref} has {what}: publish it anew")
        found[package.name] = tuple(wheels.files[name] for name in fitting)
    return lock.with_hashes(found)


def _is_of(wheel: str, package: LockedPackage) -> bool:
    name, version, *_ = wheel.split("-")
    return normalised(name) == package.name and version == package.version.replace("-", "_")


def unpacked(inputs: Path, ref: str, into: Path, python: str) -> WheelList:
    """Unpack the wheels of the mounted dataset `owner/slug` into the folder `into`, and return their list; raises
    NoWheels."""
    slug = ref.rpartition("/")[2]
    text, folder = _found(inputs, slug)
    wheels = WheelList.from_json(text)
    if wheels.python != python:
        raise NoWheels(f"{ref} holds wheels for Python {wheels.python}, and this is {python}: publish them anew")
    blob = folder / BLOB_NAME
    if not blob.is_file() or blob.stat().st_size != wheels.size_bytes or packing.sha256_of(blob) != wheels.sha256:
        raise NoWheels(f"{BLOB_NAME} of {ref} is not the file that was published")
    into.mkdir(parents=True)
    packing.unpack(blob, into, size_bytes_max=SIZE_BYTES_MAX)
    return wheels


def _found(inputs: Path, slug: str) -> tuple[str, Path]:
    for path in sorted(inputs.rglob(LIST_NAME)):
        text = path.read_text(encoding="utf-8", errors="replace")
        if slug == f"{PREFIX}{digest_of(text)}":
            return text, path.parent
    raise NoWheels(f"the dataset {slug} is not mounted as it was published")
