"""Which home folder this is: an id made at first use, and made anew in a copy of the folder."""

import json
import platform
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.base.disk import on_disk, private_folder, write_whole

FILE = "home.json"
MACHINE_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


@dataclass(frozen=True)
class Birth:
    """Where a home folder was when it was first used, or last found to have been moved."""

    id: str
    machine: str
    """Empty where the system does not tell."""
    path: str


def identity_of(home: Path, machine: str | None = None) -> str:
    """The id that this home folder puts on what it makes on Kaggle, with the machine's name for people to read.

    A folder that was copied, and whose original is still there or was on another machine, gets an id of its own; one that was only
    moved on one machine keeps its own. `machine`: this machine's id, where it is known already.

    Raises DiskRefused where the note is there and cannot be read: a new id would make another home of this folder.
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
    """The id that this home folder has already; empty where `identity_of` would make one, since the folder is new or a copy."""
    found = _own(home, machine_id() if machine is None else machine)
    return "" if found is None else found.id


def machine_id() -> str:
    """What the operating system calls this machine, the same until it is installed anew; empty where that is not known."""
    for path in MACHINE_FILES:
        try:
            if text := path.read_text(encoding="ascii").strip():
                return text
        except (OSError, UnicodeDecodeError):
            continue
    return ""


def _own(home: Path, machine: str) -> Birth | None:
    """The note of the folder; None where there is none, or it is another folder's."""
    with on_disk(home / FILE):
        found = _read(home / FILE)
        return None if found is None or _copied(found, machine, str(home.resolve())) else found


def _copied(found: Birth, machine: str, here: str) -> bool:
    if found.machine and machine and found.machine != machine:
        return True
    try:
        original = _read(Path(found.path) / FILE)
    except PermissionError:  # somebody else's folder by now
        return False
    return found.path != here and original is not None and original.id == found.id


def _read(path: Path) -> Birth | None:
    try:
        value = json.loads(path.read_bytes())
        return Birth(str(value["id"]), str(value["machine"]), str(value["path"]))
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def _write(home: Path, birth: Birth) -> None:
    with on_disk(home):
        write_whole(private_folder(home) / FILE, json.dumps(asdict(birth)).encode())


def _node() -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", platform.node())[:40] or "unnamed"
