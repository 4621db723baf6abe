"""Over real HTTP: a checkpoint's file is on its way to the dataset as soon as it is verified, and is sent no second time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.base.errors import Corrupt
from orchestrator.engine.collecting.download import fetch_checkpoint
from orchestrator.engine.collecting.files import SessionFiles
from orchestrator.engine.collecting.manifests import Candidate
from orchestrator.engine.effects.eager_upload import EagerUpload
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.quarantine import Quarantine
from orchestrator.platforms.port import FileWanted
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS, CallAction, CallFault, FaultPlan
from stages.contract import MANIFEST_NAME
from tests.contract.test_files_abreast import BYTES, FLIPPED, FOLDER, NAMES, RUN, finished, manifest
from tests.contract.worlds import START, Place

DATASET = "gsm-3f9a-c0001"
MANIFEST = manifest()
CLOSED = FaultPlan(calls=(CallFault(call="BlobUpload", action=CallAction.CUT, after_bytes=0, times=3),))
CUT = FaultPlan(calls=(CallFault(call="BlobUpload", action=CallAction.CUT, after_bytes=100_000, times=3),))


@dataclass
class Hop:
    """A finished session on a local Kaggle, and the way of its checkpoint home and into its dataset."""

    place: Place
    into: Path
    quarantine: Quarantine
    ahead: EagerUpload

    def fetch(self) -> None:
        files = {file.name: file for file in self.place.gateway.output("gsm-3f9a-s0001", None)}
        left = SessionFiles(files, self.place.gateway, self.into, self.quarantine, DATASET)
        fetch_checkpoint(Candidate(MANIFEST, FOLDER), left, self.into, self.ahead.send)

    def publish(self) -> None:
        sha256 = {entry.path: entry.sha256 for entry in MANIFEST.files}
        paths = [self.into / name for name in (MANIFEST_NAME, *NAMES)]
        self.place.gateway.create_dataset(DATASET, paths, sha256)
        self.place.wait(61)

    def uploaded(self) -> list[str]:
        """Names of all blobs that Kaggle has whole, in the order in which they were begun."""
        with self.place.world.at_now():
            return [blob.name for blob in self.place.world.blobs.all() if blob.whole]

    def published(self, into: Path) -> dict[str, bytes]:
        for name in NAMES:
            self.place.gateway.download_dataset_file(DATASET, name, into / name, FileWanted())
        return {name: (into / name).read_bytes() for name in NAMES}


@pytest.fixture
def faults() -> FaultPlan:
    return NO_FAULTS


@pytest.fixture
def hop(tmp_path: Path, faults: FaultPlan) -> Iterator[Hop]:
    with finished(tmp_path / "kaggle", faults) as place:
        home = HomeLayout(tmp_path / "home")
        ahead = EagerUpload(DATASET, place.gateway, place.clock)
        (tmp_path / "back").mkdir()
        yield Hop(place, tmp_path / DATASET, Quarantine(home, RUN, START), ahead)


@pytest.mark.slow
def test_when_all_is_here_all_of_it_is_there_and_the_dataset_takes_only_the_manifest(hop: Hop, tmp_path: Path) -> None:
    hop.fetch()
    assert sorted(hop.uploaded()) == sorted(NAMES)
    hop.publish()
    assert sorted(hop.uploaded()) == sorted((*NAMES, MANIFEST_NAME)), "nothing was sent twice"
    assert hop.published(tmp_path / "back") == BYTES


@pytest.mark.slow
@pytest.mark.parametrize("faults", [FLIPPED])
def test_a_file_waits_for_no_other_one(hop: Hop, tmp_path: Path) -> None:
    with pytest.raises(Corrupt):
        hop.fetch()
    (damaged,) = hop.quarantine.found
    assert sorted(hop.uploaded()) == sorted(set(NAMES) - {damaged.file})
    hop.fetch()
    hop.publish()
    assert sorted(hop.uploaded()) == sorted((*NAMES, MANIFEST_NAME))
    assert hop.published(tmp_path / "back") == BYTES


@pytest.mark.slow
@pytest.mark.parametrize("faults", [CLOSED, CUT])
def test_a_storage_that_takes_nothing_holds_up_no_collection(hop: Hop, tmp_path: Path, faults: FaultPlan) -> None:
    hop.fetch()
    assert hop.uploaded() == []
    assert sorted(path.name for path in hop.into.iterdir()) == sorted((*NAMES, MANIFEST_NAME))
    hop.publish()
    assert hop.published(tmp_path / "back") == BYTES


def test_bytes_that_changed_after_they_were_sent_are_sent_as_they_are(hop: Hop, tmp_path: Path) -> None:
    hop.fetch()
    changed = b"x" * 300_000
    (hop.into / "state.bin").write_bytes(changed)
    paths = [hop.into / name for name in NAMES]
    hop.place.gateway.create_dataset(DATASET, paths)
    hop.place.wait(61)
    assert hop.published(tmp_path / "back") == {**BYTES, "state.bin": changed}
