"""Kaggle's own program and kagglehub publish models to the local Kaggle, see them and fetch them."""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.base.clock import SystemClock
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from tests.contract.local import AT_ONCE, running, until
from tests.contract.program import Program

pytestmark = pytest.mark.slow

WEIGHTS = bytes(range(256)) * 500
REF = "rehearsal/some-model/transformers/2b-it"


@pytest.fixture
def kaggle(tmp_path: Path) -> Iterator[Program]:
    (tmp_path / "home").mkdir()
    with running(tmp_path / "root", SystemClock()) as client:
        yield Program(client, tmp_path / "home")


def model(kaggle: Program, **more: object) -> Path:
    """A folder that `models create` and `models update` take."""
    folder = kaggle.home / "model"
    folder.mkdir(exist_ok=True)
    about = {"ownerSlug": "rehearsal", "slug": "some-model", "title": "Some model", "isPrivate": True}
    about |= {"subtitle": "Trained in a test", "description": "A card", **more}
    (folder / "model-metadata.json").write_text(json.dumps(about))
    return folder


def variation(kaggle: Program, files: dict[str, bytes], **more: object) -> Path:
    """A folder that `models variations create` and its relatives take."""
    folder = kaggle.home / "variation"
    folder.mkdir(exist_ok=True)
    about = {"ownerSlug": "rehearsal", "modelSlug": "some-model", "instanceSlug": "2b-it", "framework": "transformers"}
    about |= {"licenseName": "Apache 2.0", "overview": "Tuned", "usage": "Load it", "fineTunable": True, **more}
    (folder / "model-instance-metadata.json").write_text(json.dumps(about))
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def rows(printed: str) -> list[list[str]]:
    return [line.split() for line in printed.splitlines()]


def test_the_life_of_a_model(kaggle: Program) -> None:
    assert "Your model was created. Id=" in kaggle("models", "create", "-p", str(model(kaggle)))
    refused = kaggle("models", "create", "-p", str(model(kaggle)))
    assert "Model creation error: The requested slug" in refused

    got = json.loads(kaggle("models", "get", "rehearsal/some-model"))
    assert (got["ref"], got["isPrivate"], got["subtitle"]) == ("rehearsal/some-model", True, "Trained in a test")
    assert "instances" not in got

    folder = variation(kaggle, {"model.safetensors": WEIGHTS, "empty.txt": b""})
    made = kaggle("models", "variations", "create", "-p", str(folder))
    assert "Your model instance was created. Id=" in made
    assert "some-model/transformers/2b-it/1" in made
    assert "Model instance creation error" in kaggle("models", "variations", "create", "-p", str(folder))

    (folder / "model.safetensors").write_bytes(WEIGHTS[::-1])
    second = kaggle("models", "variations", "versions", "create", REF, "-p", str(folder), "-n", "second")
    assert "some-model/transformers/2b-it/2\n" in second

    listed = kaggle("models", "variations", "versions", "list", REF)
    assert [row[:2] for row in rows(listed)[2:]] == [["2", "2b-it"], ["1", "2b-it"]]
    assert ["model.safetensors", "125KB"] in [row[:2] for row in rows(kaggle("models", "variations", "files", REF))]
    assert ["empty.txt", "0"] in [
        row[:2] for row in rows(kaggle("models", "variations", "versions", "files", f"{REF}/1"))
    ]
    about = json.loads(kaggle("models", "variations", "get", REF))
    assert (about["versionNumber"], about["licenseName"], about["fineTunable"]) == (2, "Apache 2.0", True)
    assert about["framework"] == "MODEL_FRAMEWORK_TRANSFORMERS"
    assert about["totalUncompressedBytes"] == len(WEIGHTS)
    one = kaggle("models", "variations", "list", "rehearsal/some-model", "--format", "json")
    assert [(row["version"], row["notes"], row["size"]) for row in json.loads(one)] == [(2, "second", len(WEIGHTS))]

    into = kaggle.home / "into"
    kaggle("models", "variations", "versions", "download", f"{REF}/1", "-p", str(into))
    with tarfile.open(into / "some-model.tar.gz", "r:gz") as archive:
        assert archive.extractfile("model.safetensors").read() == WEIGHTS  # type: ignore[union-attr]
    kaggle("models", "variations", "versions", "download", f"{REF}/2", "-p", str(into / "second"), "--untar")
    assert (into / "second" / "model.safetensors").read_bytes() == WEIGHTS[::-1]

    assert "deleted" in kaggle("models", "variations", "versions", "delete", f"{REF}/2", "-y")
    assert json.loads(kaggle("models", "variations", "get", REF))["versionNumber"] == 1
    third = kaggle("models", "variations", "versions", "create", REF, "-p", str(folder))
    assert "some-model/transformers/2b-it/3\n" in third, "a deleted number is not given again"
    assert "deleted" in kaggle("models", "variations", "delete", REF, "-y")
    assert "404" in kaggle("models", "variations", "get", REF, exits=1)
    assert "deleted" in kaggle("models", "delete", "rehearsal/some-model", "-y")
    assert "404" in kaggle("models", "get", "rehearsal/some-model", exits=1)


def test_a_model_is_published_once_all_its_variations_have_a_licence(kaggle: Program) -> None:
    kaggle("models", "create", "-p", str(model(kaggle)))
    (kaggle.home / "weights").mkdir()
    (kaggle.home / "weights" / "model.bin").write_bytes(WEIGHTS)
    kaggle.hub("kagglehub.model_upload('rehearsal/some-model/other/adapter', 'weights')")
    public = model(kaggle, isPrivate=False, title="Another title")
    declined = kaggle("models", "update", "-p", str(public))
    assert "Model update error: A license is required for a public model" in declined
    assert json.loads(kaggle("models", "get", "rehearsal/some-model"))["title"] == "Some model"

    folder = variation(kaggle, {}, instanceSlug="adapter", framework="other", overview="With a licence")
    assert "Your model instance was updated" in kaggle("models", "variations", "update", "-p", str(folder))
    assert "Your model was updated" in kaggle("models", "update", "-p", str(public))
    got = json.loads(kaggle("models", "get", "rehearsal/some-model"))
    assert "isPrivate" not in got, "false is that field's default, so it is not on the wire"
    assert (got["title"], got["instances"][0]["overview"]) == ("Another title", "With a licence")

    odd = variation(kaggle, {"a.bin": b"1"}, instanceSlug="odd", licenseName="Gemma")
    assert '"Gemma" is not a license that Kaggle knows' in kaggle("models", "variations", "create", "-p", str(odd))
    short = variation(kaggle, {"a.bin": b"1"}, instanceSlug="short", licenseName="CC BY 4.0", framework="pyTorch")
    assert "Your model instance was created" in kaggle("models", "variations", "create", "-p", str(short))


def test_a_version_is_seen_once_its_files_have_been_processed(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    rules = replace(AT_ONCE, dataset_processing_s=3600.0)
    with running(tmp_path / "root", SystemClock(), rules) as client:
        kaggle = Program(client, tmp_path / "home")
        kaggle("models", "create", "-p", str(model(kaggle)))
        kaggle("models", "variations", "create", "-p", str(variation(kaggle, {"model.bin": WEIGHTS})))
        assert "404" in kaggle("models", "variations", "get", REF, exits=1)
        assert "404" in kaggle("models", "variations", "versions", "files", f"{REF}/1", exits=1)
        listed = kaggle("models", "variations", "list", "rehearsal/some-model", "--format", "json")
        assert json.loads(json.loads(listed)[0]["created"])["status"] == "NOT_YET_PERSISTED"
        again = kaggle("models", "variations", "versions", "create", REF, "-p", str(variation(kaggle, {})))
        assert "some-model/transformers/2b-it/2\n" in again, "a further version may be made meanwhile"


def test_a_session_mounts_a_model_of_ones_own(kaggle: Program) -> None:
    kaggle("models", "create", "-p", str(model(kaggle)))
    kaggle("models", "variations", "create", "-p", str(variation(kaggle, {"model.bin": WEIGHTS})))
    text = "import pathlib\nprint(*[len(p.read_bytes()) for p in pathlib.Path('../input').rglob('model.bin')])"
    folder = kaggle.kernel(text=text, model_sources=[f"{REF}/1"])
    assert "not valid" not in kaggle("kernels", "push", "-p", str(folder))
    until(lambda: kaggle.client.status().get("status") == "COMPLETE")
    assert kaggle.log("some-kernel") == [str(len(WEIGHTS))]


def test_kagglehub_knows_who_it_is(kaggle: Program) -> None:
    assert kaggle.hub("print(kagglehub.whoami(verbose=False))") == "{'username': 'rehearsal'}"


def test_kagglehub_uploads_a_model_with_its_folders_and_fetches_it_again(kaggle: Program) -> None:
    folder = kaggle.home / "weights"
    (folder / "2b" / "d").mkdir(parents=True)
    (folder / "2b" / "d" / "shard").write_bytes(WEIGHTS)
    (folder / "tokenizer.model").write_bytes(b"tokens")
    (folder / "empty").touch()
    upload = "kagglehub.model_upload('rehearsal/some-model/jax/2b', 'weights', license_name='Apache 2.0')"
    kaggle.hub(upload)
    (folder / "tokenizer.model").write_bytes(b"other tokens")
    kaggle.hub(upload)
    first = kaggle.hub("print(kagglehub.model_download('rehearsal/some-model/jax/2b/1'))")
    newest = kaggle.hub("print(kagglehub.model_download('rehearsal/some-model/jax/2b'))")
    assert (Path(first).name, Path(newest).name) == ("1", "2")
    assert (Path(first) / "tokenizer.model").read_bytes() == b"tokens"
    assert (Path(newest) / "tokenizer.model").read_bytes() == b"other tokens"
    assert (Path(newest) / "2b" / "d" / "shard").read_bytes() == WEIGHTS
    assert (Path(newest) / "empty").read_bytes() == b""
    one = kaggle.hub(
        "print(kagglehub.model_download('rehearsal/some-model/jax/2b/2', '2b/d/shard', force_download=True))"
    )
    assert Path(one).read_bytes() == WEIGHTS


def test_kagglehub_sends_and_fetches_a_model_of_many_files_as_one_archive(kaggle: Program) -> None:
    folder = kaggle.home / "weights"
    (folder / "deep").mkdir(parents=True)
    for number in range(60):
        (folder / "deep" / f"{number}.bin").write_bytes(bytes([number]))
    kaggle.hub("kagglehub.model_upload('rehearsal/some-model/other/many', 'weights')")
    fetched = Path(kaggle.hub("print(kagglehub.model_download('rehearsal/some-model/other/many'))"))
    assert [(fetched / "deep" / f"{number}.bin").read_bytes() for number in range(60)] == [
        bytes([number]) for number in range(60)
    ]


def test_kagglehub_uploads_and_fetches_a_dataset(kaggle: Program) -> None:
    folder = kaggle.home / "data"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "rows.txt").write_text("one")
    kaggle.hub("kagglehub.dataset_upload('rehearsal/some-data', 'data')")
    (folder / "deep" / "rows.txt").write_text("two")
    kaggle.hub("kagglehub.dataset_upload('rehearsal/some-data', 'data')")
    assert (
        Path(kaggle.hub("print(kagglehub.dataset_download('rehearsal/some-data'))")) / "deep/rows.txt"
    ).read_text() == "two"
    old = kaggle.hub("print(kagglehub.dataset_download('rehearsal/some-data/versions/1', 'deep/rows.txt'))")
    assert Path(old).read_text() == "one"


def test_kagglehub_fetches_the_output_of_a_notebook(kaggle: Program) -> None:
    cell = "import pathlib\npathlib.Path('deep').mkdir()\npathlib.Path('deep/out.txt').write_text('left')"
    kaggle("kernels", "push", "-p", str(kaggle.notebook("some-notebook", cell)))
    until(lambda: kaggle.client.status("some-notebook").get("status") == "COMPLETE")
    whole = kaggle.hub("print(kagglehub.notebook_output_download('rehearsal/some-notebook'))")
    assert (Path(whole) / "deep" / "out.txt").read_text() == "left"
    one = "print(kagglehub.notebook_output_download('rehearsal/some-notebook/versions/1', 'deep/out.txt', force_download=True))"
    assert Path(kaggle.hub(one)).read_text() == "left"


def test_a_model_whose_licence_was_not_accepted_is_shown_and_not_given(kaggle: Program) -> None:
    world = kaggle.client.kaggle.world
    content = {"2b/shard": Content.of_bytes(WEIGHTS, kaggle.client.clock.now())}
    world.offer_model("google/gemma/flax/2b/1", content, accepted=False)
    about = json.loads(kaggle("models", "variations", "get", "google/gemma/flax/2b"))
    assert about["totalUncompressedBytes"] == len(WEIGHTS)
    assert "403" in kaggle("models", "variations", "versions", "download", "google/gemma/flax/2b/1", exits=1)
    assert "403" in kaggle("models", "delete", "google/gemma", "-y", exits=1)
