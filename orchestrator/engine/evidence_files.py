"""Keeps evidence in the home folder: `evidence/<account>/` for one's own, `evidence/others/` for that of others.

What was seen on another server than Kaggle lies in `evidence/elsewhere/<account>/` and is read only while relay calls
another server: a rehearsal says nothing about Kaggle.

Each call that adds evidence writes one file, completely or not at all, so two processes never overwrite each other's.
The account's name appears only as a digest.
"""

import hashlib
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from orchestrator.base.called_server import is_kaggle
from orchestrator.base.disk import disk_errors, private_folder, write_whole
from orchestrator.base.errors import BadInput
from orchestrator.core import evidence_document
from orchestrator.core.assumptions import Endpoint, Evidence
from orchestrator.core.evidence_document import EvidenceRead

OTHERS, ELSEWHERE = "others", "elsewhere"
FILE_BYTES_MAX = 4 * 2**20
"""Maximum size of a file that is read, in bytes."""
DIGEST_CHARACTERS = 16
EXPORTED = "name a file that relay probe --export wrote"
PROBE_AGAIN = "delete it, and relay probe PIPELINE collects evidence anew"
IMPORT_AGAIN = "delete it, and import its evidence again with relay probe --import FILE"


class EvidenceFiles:
    """Evidence in one home folder, which is created when something is added."""

    def __init__(self, home: Path, endpoint: Endpoint = Endpoint.KAGGLE) -> None:
        self._endpoint = endpoint
        self._others = home / "evidence" / OTHERS
        self._folder = home / "evidence" / ("" if endpoint is Endpoint.KAGGLE else ELSEWHERE)

    @classmethod
    def of(cls, home: Path, environ: Mapping[str, str]) -> Self:
        """Return the evidence of the server that relay calls with these environment variables."""
        return cls(home, Endpoint.KAGGLE if is_kaggle(environ) else Endpoint.OTHER)

    def add(self, owner: str, evidence: Sequence[Evidence]) -> None:
        """Keep evidence seen on an account, with the endpoint. Raises RelayError if the disk refuses."""
        self._write(self._folder / account(owner), [replace(seen, endpoint=self._endpoint) for seen in evidence])

    def add_others(self, evidence: Sequence[Evidence]) -> None:
        """Keep evidence of another account, which is never mixed with one's own. An entry may be added repeatedly."""
        self._write(self._others, evidence)

    def own(self, owner: str) -> list[Evidence]:
        """Return an account's evidence, oldest first. Raises BadInput if a file is damaged."""
        return self._read(self._folder / account(owner))

    def others(self) -> list[Evidence]:
        """Return what others saw on this endpoint, oldest first, each entry once. Raises BadInput if a file is damaged."""
        found = [seen for seen in self._read(self._others) if seen.endpoint is self._endpoint]
        return list({evidence_document.written([seen]): seen for seen in found}.values())

    def only_account(self) -> list[Evidence]:
        """Return the evidence of the only account that has any; none if several have. Raises BadInput."""
        folders = [path for path in _entries(self._folder) if path.name not in (OTHERS, ELSEWHERE) and path.is_dir()]
        return self._read(folders[0]) if len(folders) == 1 else []

    def for_forecast(self, owner: str = "") -> list[Evidence]:
        """Return an account's evidence, by default that of the only account; none if a file is damaged.

        A forecast is made without it then; `relay check` reports the damage.
        """
        try:
            return self.own(owner) if owner else self.only_account()
        except BadInput:
            return []

    def _write(self, folder: Path, evidence: Sequence[Evidence]) -> None:
        if not evidence:
            return
        data = evidence_document.written(evidence)
        path = folder / f"{max(seen.seen_at for seen in evidence):%Y%m%dT%H%M%S}-{_digest(data)}.json"
        with disk_errors(path):
            private_folder(folder)
            write_whole(path, data)

    def _read(self, folder: Path) -> list[Evidence]:
        remedy = IMPORT_AGAIN if folder.name == OTHERS else PROBE_AGAIN
        files = [path for path in _entries(folder) if path.suffix == ".json"]
        found = [seen for path in files for seen in read_file(path, remedy).evidence]
        return sorted(found, key=lambda seen: seen.seen_at)


def account(owner: str) -> str:
    """Return the name of an account's folder."""
    return _digest(f"evidence of {owner.casefold()}".encode())


def read_file(path: Path, remedy: str = EXPORTED) -> EvidenceRead:
    """Read a file of evidence. Raises BadInput that ends in `remedy` if it is missing, damaged or something else."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BadInput(f"{path} cannot be read as evidence: it is not a regular file: {remedy}")
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise BadInput(f"{path} cannot be read as evidence: it has more than {FILE_BYTES_MAX:,} bytes: {remedy}")
        return evidence_document.read(data)
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror or error}): {remedy}") from error
    except ValueError as error:
        raise BadInput(f"{path} cannot be read as evidence: {error}: {remedy}") from error


def _entries(folder: Path) -> Iterable[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGEST_CHARACTERS]
