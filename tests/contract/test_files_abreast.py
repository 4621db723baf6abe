"""The files of one checkpoint come side by side over real HTTP: what befalls one of them costs the others nothing."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pytest

from orchestrator.base.errors import Corrupt
from orchestrator.engine.collecting.download import fetch_checkpoint
from orchestrator.engine.collecting.files import SessionFiles
from orchestrator.engine.collecting.manifests import Candidate
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.quarantine import Quarantine
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS, CallAction, CallFault, FaultPlan
from stages.contract import MANIFEST_NAME, Cursor, FileEntry, Manifest
from tests.contract.worlds import PLAYED, START, Place, kernel, over_http

NAMES = ("programs.bin", "state.bin", "words.bin")
BYTES = {name: random.Random(name).randbytes(300_000) for name in NAMES}
FOLDER = PurePosixPath("relay/checkpoints/first-00000006")
RUN = "gsm-3f9a"
FLIPPED = FaultPlan(calls=(CallFault(call="OutputFile", action=CallAction.FLIP, after_bytes=100_000, nth=2, times=1),))
CUT = FaultPlan(calls=(CallFault(call="OutputFile", action=CallAction.CUT, after_bytes=100_000, nth=2, times=1),))


def manifest(**others: bytes) -> Manifest:
    """Of a checkpoint with these three files; `others` are promised instead of what the session left."""
    promised = {**BYTES, **{f"{name}.bin": content for name, content in others.items()}}
    entries = tuple(
        FileEntry(path=name, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in promised.items()
    )
    cursor = Cursor(stage="first", step=6)
    return Manifest(
        run=RUN, session=1, attempt=1, token="0123abcd", cursor=cursor, parent=None, files=entries, digests={}
    )


@dataclass
class Collecting:
    """A finished session on a local Kaggle, and the folder that its checkpoint is fetched into."""

    place: Place
    into: Path
    quarantine: Quarantine

    def __call__(self, promised: Manifest) -> None:
        files = {file.name: file for file in self.place.gateway.output("gsm-3f9a-s0001", None)}
        left = SessionFiles(files, self.place.gateway, self.into, self.quarantine, self.into.name)
        fetch_checkpoint(Candidate(promised, FOLDER), left, self.into)

    def here(self) -> list[str]:
        return sorted(path.name for path in self.into.iterdir())


@pytest.fixture
def faults() -> FaultPlan:
    return NO_FAULTS


@contextmanager
def finished(root: Path, faults: FaultPlan) -> Iterator[Place]:
    """A local Kaggle whose only session is over and left such a checkpoint."""
    played = replace(PLAYED, files=tuple((50.0, str(FOLDER / name), content) for name, content in BYTES.items()))
    with over_http(root, faults=faults, played=played) as place:
        place.gateway.push(kernel())
        place.wait(200)
        yield place


@pytest.fixture
def collecting(tmp_path: Path, faults: FaultPlan) -> Iterator[Collecting]:
    with finished(tmp_path / "kaggle", faults) as place:
        yield Collecting(place, tmp_path / "c0001", Quarantine(HomeLayout(tmp_path / "home"), RUN, START))


def test_all_files_arrive_and_the_manifest_is_last(collecting: Collecting) -> None:
    collecting(manifest())
    assert collecting.here() == sorted((*NAMES, MANIFEST_NAME))
    assert {name: (collecting.into / name).read_bytes() for name in NAMES} == BYTES


@pytest.mark.parametrize("faults", [FLIPPED])
def test_one_that_is_damaged_on_its_way_is_kept_aside_and_alone_fetched_again(collecting: Collecting) -> None:
    with pytest.raises(Corrupt):
        collecting(manifest())
    [damage] = collecting.quarantine.found
    assert (collecting.quarantine.folder / damage.kept).stat().st_size == 300_000
    whole = set(NAMES) - {damage.file}
    assert set(collecting.here()) == whole
    before = {name: (collecting.into / name).stat().st_ino for name in whole}
    collecting(manifest())
    assert {name: (collecting.into / name).read_bytes() for name in NAMES} == BYTES
    assert {name: (collecting.into / name).stat().st_ino for name in whole} == before


@pytest.mark.parametrize("faults", [CUT])
def test_one_that_is_cut_is_gone_on_with_beside_the_others(collecting: Collecting) -> None:
    collecting(manifest())
    assert {name: (collecting.into / name).read_bytes() for name in NAMES} == BYTES
    assert collecting.quarantine.found == []


def test_one_that_is_not_what_was_promised_leaves_no_manifest(collecting: Collecting) -> None:
    with pytest.raises(Corrupt):
        collecting(manifest(state=b"something else"))
    assert sorted(set(NAMES) - {"state.bin"}) == collecting.here()
    assert [damage.file for damage in collecting.quarantine.found] == ["state.bin"]
