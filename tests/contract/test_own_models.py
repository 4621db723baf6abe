"""The client's calls about the account's own models, against the local Kaggle over HTTP."""

from pathlib import Path

import pytest

from orchestrator.base.errors import Ambiguous, NameTaken, Refused, Transient
from orchestrator.kaggle.client import KaggleGateway
from orchestrator.kaggle.model_gateway import ModelGateway, ModelSeen, ModelUpload, VariationAbout, VariationPlace
from orchestrator.rehearsal.local_kaggle.faults import (
    CallAction,
    CallFault,
    FaultPlan,
    ModelAction,
    ModelFault,
)
from tests.contract.worlds import OWNER, Place, over_http

WEIGHTS = bytes(range(256)) * 1000
PLACE = VariationPlace(owner=OWNER, model="gsm", framework="jax", variation="2b")
ABOUT = VariationAbout(overview="o", usage="u", license_name="MIT")


def models_of(place: Place) -> ModelGateway:
    assert isinstance(place.gateway, KaggleGateway)
    return place.gateway.own_models


def upload_of(folder: Path, **files: bytes) -> ModelUpload:
    """Files of one version; `__` in a name stands for a slash."""
    paths = {}
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        paths[name.replace("__", "/")] = path
    return ModelUpload(files=paths)


def test_a_version_has_its_files_in_their_folders_and_is_current_once_it_was_processed(tmp_path: Path) -> None:
    with over_http(tmp_path / "kaggle") as place:
        models = models_of(place)
        assert models.find(OWNER, "gsm") is None
        models.create(OWNER, "gsm", "a card")
        assert models.find(OWNER, "gsm") == ModelSeen(private=True)
        assert models.versions(PLACE) == ()
        upload = upload_of(tmp_path / "files", tokenizer=b"t", x__a=b"1", x__y__a=b"22", x__y__empty=b"")
        assert models.create_variation(PLACE, upload, ABOUT) == 1
        assert (models.versions(PLACE), models.current_version(PLACE), models.version_files(PLACE, 1)) == (
            (1,),
            None,
            (),
        )
        with pytest.raises(NameTaken):
            models.create_variation(PLACE, upload, ABOUT)
        assert models.create_version(PLACE, upload, "notes") == 2
        place.wait(60)
        assert (models.versions(PLACE), models.current_version(PLACE)) == ((1, 2), 2)
        files = {file.name: file.size_bytes for file in models.version_files(PLACE, 2)}
        assert files == {"tokenizer": 1, "x/a": 1, "x/y/a": 2, "x/y/empty": 0} == upload.sizes
        with place.world.at_now() as now:
            stored = place.world.models.files(f"{PLACE}/2", now)
        assert {name: content.read() for name, content in stored.items()} == {
            name: path.read_bytes() for name, path in upload.files.items()
        }
        models.make_public(OWNER, "gsm")
        assert models.find(OWNER, "gsm") == ModelSeen(private=False, variations=("jax/2b",))


def test_an_upload_that_was_interrupted_continues_in_the_next_process(tmp_path: Path) -> None:
    faults = FaultPlan(
        calls=(
            CallFault(call="BlobUpload", action=CallAction.CUT, after_bytes=100_000),
            CallFault(call="BlobUpload", action=CallAction.STATUS, nth=2, times=5),
        )
    )
    with over_http(tmp_path / "kaggle", faults=faults) as place:
        models, upload = models_of(place), upload_of(tmp_path / "files", x__weights=WEIGHTS)
        models.create(OWNER, "gsm", "")
        with pytest.raises(Transient):
            models.create_variation(PLACE, upload, ABOUT)
        (blob,) = place.world.blobs.all()
        assert 0 < blob.received < len(WEIGHTS)
        seen: list[tuple[str, int]] = []
        models.create_variation(PLACE, upload, ABOUT, lambda name, position: seen.append((name, position)))
        assert [found.token for found in place.world.blobs.all()] == [blob.token]
        assert seen[-1] == ("x/weights", len(WEIGHTS))
        assert min(position for _, position in seen) > 100_000, "what was sent is not sent again"
        place.wait(60)
        with place.world.at_now() as now:
            assert place.world.models.files(f"{PLACE}/1", now)["x/weights"].read() == WEIGHTS


def test_files_of_one_name_in_two_folders_keep_their_own_bytes(tmp_path: Path) -> None:
    with over_http(tmp_path / "kaggle") as place:
        models, upload = models_of(place), upload_of(tmp_path / "files", x__a=b"1", y__a=b"2")
        models.create(OWNER, "gsm", "")
        models.create_variation(PLACE, upload, ABOUT)
        place.wait(60)
        with place.world.at_now() as now:
            stored = place.world.models.files(f"{PLACE}/1", now)
        assert {name: content.read() for name, content in stored.items()} == {"x/a": b"1", "y/a": b"2"}


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (CallAction.EMPTY, Ambiguous),
        (CallAction.HTML, Ambiguous),
        (CallAction.LOST, Ambiguous),
        (CallAction.STATUS, Ambiguous),
    ],
)
def test_an_answer_that_does_not_say_what_happened_is_unclear(
    tmp_path: Path, action: CallAction, error: type[Exception]
) -> None:
    with over_http(tmp_path, faults=FaultPlan(calls=(CallFault(call="CreateModel", action=action),))) as place:
        with pytest.raises(error):
            models_of(place).create(OWNER, "gsm", "")
        assert (models_of(place).find(OWNER, "gsm") is not None) == (action is CallAction.LOST)


def test_a_rate_limit_is_waited_for_and_a_refusal_is_told(tmp_path: Path) -> None:
    limit = CallFault(call="CreateModel", action=CallAction.STATUS, status=429, times=2)
    with over_http(tmp_path, faults=FaultPlan(calls=(limit,))) as place:
        models_of(place).create(OWNER, "gsm", "")
        with pytest.raises(NameTaken, match="already in use"):
            models_of(place).create(OWNER, "gsm", "")
        with pytest.raises(Refused, match="must consist of lower-case letters"):
            models_of(place).create(OWNER, "a--b", "")


def test_a_version_whose_processing_failed_says_so_and_the_one_before_does_not(tmp_path: Path) -> None:
    faults = FaultPlan(models=(ModelFault(version=2, action=ModelAction.FAIL),))
    with over_http(tmp_path / "kaggle", faults=faults) as place:
        models, upload = models_of(place), upload_of(tmp_path / "files", a=b"1")
        models.create(OWNER, "gsm", "")
        models.create_variation(PLACE, upload, ABOUT)
        place.wait(60)
        models.create_version(PLACE, upload, "")
        assert models.processing_failure(PLACE, 2) == ""
        place.wait(60)
        assert models.processing_failure(PLACE, 2) == "The files could not be processed"
        assert models.processing_failure(PLACE, 1) == ""
        assert (models.current_version(PLACE), models.versions(PLACE)) == (1, (1, 2))
