"""How long a published version is waited for and looked for, on a clock that tests move."""

import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.app.publish.kaggle_model import NewVersion, VersionPublisher
from orchestrator.base.errors import Refused, Transient
from orchestrator.kaggle.client import KaggleGateway
from orchestrator.kaggle.model_gateway import ModelUpload
from orchestrator.platforms.port import Reached, ignore_progress
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, FaultPlan, ModelAction, ModelFault
from stages.contract import Cursor
from state.facts.checkpoint import ModelPublished
from tests.contract.test_own_models import ABOUT, PLACE, upload_of
from tests.contract.worlds import Place, over_http


@dataclass
class Told:
    """What publishing says."""

    sentences: list[str] = field(default_factory=list)

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)

    @contextmanager
    def sending(self, sizes: Mapping[str, int]) -> Iterator[Reached]:
        yield ignore_progress


@dataclass
class Publishing:
    place: Place
    root: Path
    told: Told = field(default_factory=Told)

    def publish(self, content: str = "c", known: int | None = None, **files: bytes) -> int:
        """What a new process does, with files that are deleted with its note, as those of relay's own are."""
        assert isinstance(self.place.gateway, KaggleGateway)
        models = self.place.gateway.own_models
        folder = self.root / "publishing"
        upload = upload_of(folder, **(files or {"a": b"1"}))
        version = NewVersion(place=PLACE, upload=upload, content=content, about=ABOUT, description="d", notes="n")
        publisher = VersionPublisher(models, self.place.clock, folder, self.told)
        number = publisher.publish(version, None if known is None else published(known, upload), public=False)
        publisher.forget(PLACE)
        return number

    def versions(self) -> list[int]:
        with self.place.world.at_now():
            (model,) = self.place.world.models.all()
            return [version.number for variation in model.variations for version in variation.versions]


def published(number: int, upload: ModelUpload) -> ModelPublished:
    """The fact of a version with these files."""
    return ModelPublished(
        place="kaggle",
        model=f"{PLACE}/{number}",
        url="",
        public=False,
        layout="tunix",
        dtype="float32",
        cursor=Cursor(stage="sft", step=1),
        checkpoint="c",
        weights_sha256="e",
        files=len(upload.files),
        size_bytes=sum(upload.sizes.values()),
    )


@contextmanager
def publishing(root: Path, *models: ModelFault, calls: tuple[CallFault, ...] = ()) -> Iterator[Publishing]:
    with over_http(root / "kaggle", faults=FaultPlan(models=models, calls=calls)) as place:
        yield Publishing(place, root)


def test_a_version_that_never_appears_is_looked_for_and_then_left_to_the_next_try(tmp_path: Path) -> None:
    with publishing(tmp_path, ModelFault(version=1, action=ModelAction.LATE, seconds=1e9)) as here:
        before_s = here.place.clock.monotonic()
        with pytest.raises(Transient, match="looks for it first"):
            here.publish()
        assert 120 <= here.place.clock.monotonic() - before_s < 240
        assert here.publish() == 1
        assert here.versions() == [1]


@pytest.mark.parametrize("version", [1, 2])
def test_a_version_that_appears_after_a_504_is_found_and_not_made_again(tmp_path: Path, version: int) -> None:
    with publishing(tmp_path, ModelFault(version=version, action=ModelAction.LATE, seconds=40.0)) as here:
        assert here.publish() == 1
        assert here.publish(content="other", a=b"22") == 2
        here.place.wait(1000)
        assert here.versions() == [1, 2]


def test_a_version_that_appears_between_two_tries_is_taken(tmp_path: Path) -> None:
    with publishing(tmp_path, ModelFault(version=1, action=ModelAction.LATE, seconds=1000.0)) as here:
        with pytest.raises(Transient):
            here.publish()
        here.place.wait(1000)
        assert here.publish() == 1
        assert here.versions() == [1]
        assert f"{PLACE}/1 was made by an earlier try" in here.told.sentences


def test_a_variation_that_exists_and_is_not_listed_yet_gets_no_second_version(tmp_path: Path) -> None:
    hidden = tuple(
        CallFault(call=call, action=CallAction.STATUS, status=404, times=12)
        for call in ("ListModelInstanceVersions", "ListModelInstances")
    )
    lost = CallFault(call="CreateModelInstance", action=CallAction.LOST)
    with publishing(tmp_path, calls=(*hidden, lost)) as here:
        with pytest.raises(Transient):
            here.publish()
        assert here.publish() == 1
        assert here.versions() == [1]
        assert any("already" in sentence and "looking for it" in sentence for sentence in here.told.sentences)


@pytest.mark.slow
def test_processing_that_takes_hours_is_waited_for_by_the_next_try(tmp_path: Path) -> None:
    with publishing(tmp_path, ModelFault(version=1, action=ModelAction.SLOW, seconds=5000.0)) as here:
        with pytest.raises(Transient, match="type the same command again to wait on"):
            here.publish()
        assert here.publish() == 1
        assert here.versions() == [1]


def test_a_version_with_other_files_than_ours_is_refused_by_name(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inner.txt", "x")
    with publishing(tmp_path) as here:
        with pytest.raises(Refused, match=r"the files that were exported \((b.zip|inner.txt|b/inner.txt): .* bytes"):
            here.publish(**{"a": b"1", "b.zip": packed.getvalue()})
        assert here.publish() == 2, "a version that is not ours is not taken by the next try"


def test_another_export_after_an_unclear_answer_is_another_version(tmp_path: Path) -> None:
    with publishing(tmp_path, ModelFault(version=1, action=ModelAction.LATE, seconds=1000.0)) as here:
        with pytest.raises(Transient):
            here.publish()
        here.place.wait(1000)
        assert here.publish(content="other", a=b"22") == 2


def test_a_known_version_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    with publishing(tmp_path) as here:
        assert here.publish() == 1
        with here.place.world.at_now():
            (model,) = here.place.world.models.all()
            model.variations[0].versions.clear()
        assert here.publish(known=1) == 2
