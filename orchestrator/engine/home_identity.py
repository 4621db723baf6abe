"""Identifies the home folder by an id made at first use, and made again in a copy of the folder."""

import json
import platform
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.base.disk import disk_errors, private_folder, write_whole

FILE = "home.json"
MACHINE_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


@dataclass(frozen=True)
class Birth:
    """Machine and path of a home folder at its first use, or when it was last found moved."""

    id: str
    machine: str
    """Machine id; empty if the system has none."""
    path: str


def identity_of(home: Path, machine: str | None = None) -> str:
    """Return the id with which this home folder marks what it creates on Kaggle; it contains the machine's name.

    A copied folder gets a new id if the original still exists or was on another machine; a folder that was only moved
    on one machine keeps its id. `machine`: this machine's id, if already known.

    Raises DiskRefused if the stored id exists and cannot be read: a new id would make this another home folder.
    """
    machine = machine_id() if machine is None else machine
    here, found = str(home.resolve()), _own(home, machine)
    if found is None:
        found = Birth(f"{secrets.token_hex(6)}@{_node()}", machine, here)
        _write(home, found)
    elif found.path != here:
        _write(home, Birth(found.id, machine, here))
    return found.id


def known_identity(home: Path, machine: str | None = None) -> str:
    """Return the existing id; empty if `identity_of` would create one, since the folder is new or a copy."""
    found = _own(home, machine_id() if machine is None else machine)
    return "" if found is None else found.id


def machine_id() -> str:
    """Return the operating system's id of this machine, stable until it is reinstalled; empty if unknown."""
    for path in MACHINE_FILES:
        try:
            if text := path.read_text(encoding="ascii").strip():
                return text
        except (OSError, UnicodeDecodeError):
            continue
    return ""


def _own(home: Path, machine: str) -> Birth | None:
    """Return the folder's stored identity; None if there is none, or if it belongs to another folder."""
    with disk_errors(home / FILE):
        found = _read(home / FILE)
        return None if found is None or _copied(found, machine, str(home.resolve())) else found


def _copied(found: Birth, machine: str, here: str) -> bool:
    if found.machine and machine and found.machine != machine:
        return True
    try:
        original = _read(Path(found.path) / FILE)
    except PermissionError:  # the folder belongs to another user by now
        return False
    return found.path != here and original is not None and original.id == found.id


def _read(path: Path) -> Birth | None:
    try:
        value = json.loads(path.read_bytes())
        return Birth(str(value["id"]), str(value["machine"]), str(value["path"]))
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def _write(home: Path, birth: Birth) -> None:
    with disk_errors(home):
        write_whole(private_folder(home) / FILE, json.dumps(asdict(birth)).encode())


def _node() -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", platform.node())[:40] or "unnamed"
