"""`relay publish`: one version on Kaggle that is what was exported, private unless asked, or one sentence and nothing."""

import hashlib
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.app.publish.documents import LLAMA_NOTICE
from orchestrator.base.clock import SystemClock
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, FaultPlan, ModelAction, ModelFault
from orchestrator.rehearsal.local_kaggle.model_records import KaggleModel, ModelText, VariationText
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from stages.formats.export_manifest import ExportManifest, file_entries
from stages.options.families import GEMMA_TERMS as GEMMA_NOTICE
from stages.session import packing
from tests.contract.local import AT_ONCE, Client
from tests.contract.program import Program
from tests.contract.publishing import CARD, PLACES, RUN, WEIGHTS, Desk, desk, made_up
from tests.contract.test_cancel_command import on_a_terminal

TUNIX = PLACES["tunix"]
LOST = CallAction.LOST


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as found:
        yield found


def the_model(here: Desk) -> KaggleModel:
    with here.kaggle.world.at_now():
        return here.kaggle.world.models.find("rehearsal", "gsm")


@pytest.mark.slow
def test_kaggles_program_and_kagglehub_fetch_what_was_exported(here: Desk) -> None:
    done = here.publish()
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"Model ID  {TUNIX}/1",
        f"page      https://www.kaggle.com/models/{TUNIX}/1",
        'notebook  unrestricted_kaggle_model = "rehearsal/gsm"',
        f'load      kagglehub.model_download("{TUNIX}/1")',
    ]
    kaggle = Program(Client(here.kaggle, SystemClock()), here.root)
    kaggle("models", "instances", "versions", "download", f"{TUNIX}/1", "-p", str(here.root / "into"))
    with tarfile.open(here.root / "into" / "gsm.tar.gz", "r:gz") as archive:
        archive.extractall(here.root / "by-program", filter="data")
    by_hub = Path(kaggle.hub(f"print(kagglehub.model_download('{TUNIX}'))"))
    for fetched in (here.root / "by-program", by_hub):
        names = {path.relative_to(fetched).as_posix() for path in fetched.rglob("*") if path.is_file()}
        weights = {"2b/_METADATA", "2b/d/0a1b", "2b/ocdbt.process_0/d/0a1b", "2b/commit_success.txt"}
        assert names == {*weights, "tokenizer.model", "README.md", "NOTICE", "export.json"}
        manifest = ExportManifest.from_json((fetched / "export.json").read_bytes())
        packing.verify_files(fetched, manifest.files)
        assert {entry.path for entry in manifest.files} == names - {"export.json"}
        assert hashlib.sha256((fetched / "2b/d/0a1b").read_bytes()).digest() == hashlib.sha256(WEIGHTS).digest()


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["safetensors", "peft"])
def test_other_formats_go_to_a_framework_that_kaggle_has(tmp_path: Path, layout: str) -> None:
    with desk(tmp_path, layout=layout) as here:
        assert here.publish().stdout.startswith(f"Model ID  {PLACES[layout]}/1\n")
        assert here.versions(PLACES[layout]) == [1]
        named = here.publish("--framework", "pyTorch", "--variation", "mine")
        assert named.stdout.startswith("Model ID  rehearsal/gsm/pyTorch/mine/1\n"), named.stderr


def test_it_is_private_and_says_whose_terms_apply(here: Desk) -> None:
    assert here.publish().exit_code == 0
    model = the_model(here)
    assert (model.about.is_private, model.about.title) == (True, "gsm")
    assert model.about.description == CARD.partition("---\n\n")[2]
    about = model.variations[0].about
    assert (about.license_name, about.kind) == (
        "Other (specified in description)",
        "MODEL_INSTANCE_TYPE_KAGGLE_VARIANT",
    )
    assert about.base == "google/gemma-2/flax/gemma2-2b-it"
    with here.kaggle.world.at_now() as now:
        notice = here.kaggle.world.models.files(f"{TUNIX}/1", now)["NOTICE"].read().decode()
    for text in (GEMMA_NOTICE, "Llama-70B: llama3.3", LLAMA_NOTICE, "openai/gsm8k: mit"):
        assert text in notice
        assert text in about.usage


def test_the_run_knows_where_it_was_published(here: Desk) -> None:
    here.publish()
    (model,) = json.loads(here.relay("status", RUN, "--json").stdout)["runs"][0]["models"]
    assert (model["model"], model["public"], model["layout"], model["step"]) == (f"{TUNIX}/1", False, "tunix", 400)
    assert (model["weights_sha256"], model["checkpoint"]) == ("e" * 64, "c" * 64)
    shown = " ".join(here.relay("status", RUN).stdout.split())
    assert f"published {TUNIX}/1 (private)" in shown


@pytest.mark.slow
def test_the_same_export_is_not_sent_again_and_another_becomes_the_next_version(here: Desk, tmp_path: Path) -> None:
    assert here.publish().exit_code == 0
    sent = len(here.made())
    again = here.publish()
    assert (again.exit_code, f"{TUNIX}/1 has the same weights already" in again.stderr) == (0, True)
    assert (here.versions(), len(here.made())) == ([1], sent)
    other = made_up(tmp_path / "other", weights_sha256="f" * 64)
    assert here.publish(folder=other).stdout.startswith(f"Model ID  {TUNIX}/2\n")
    assert here.versions() == [1, 2]


def test_the_same_weights_in_files_of_other_names_are_not_sent_again(here: Desk, tmp_path: Path) -> None:
    """TensorStore gives its files random names, so that no two exports have the same ones."""
    assert here.publish().exit_code == 0
    sent = len(here.made())
    other = made_up(tmp_path / "other")
    (other / "jax/2b/d/0a1b").rename(other / "jax/2b/d/77fe")
    manifest = ExportManifest.from_json((other / "export.json").read_bytes())
    (other / "export.json").unlink()
    (other / "export.json").write_text(replace(manifest, files=file_entries(other)).to_json())
    again = here.publish(folder=other)
    assert again.stdout.startswith(f"Model ID  {TUNIX}/1\n"), again.stderr
    assert (here.versions(), len(here.made())) == ([1], sent)


def test_a_version_that_was_deleted_is_sent_again(here: Desk) -> None:
    here.publish()
    with here.kaggle.world.at_now():
        the_variation = here.kaggle.world.models.find("rehearsal", "gsm").variations[0]
        the_variation.versions.clear()
    assert here.publish().exit_code == 0
    assert len(here.versions()) == 1


# --- public ---------------------------------------------------------------------------


def test_nothing_becomes_public_without_a_yes(here: Desk) -> None:
    refused = here.publish("--public")
    assert refused.exit_code == 2
    assert refused.stderr == (
        f"relay: relay publish {RUN} --public asks first, and there is no terminal to ask on: add --yes to publish "
        "without a question\n"
    )
    assert here.made() == []
    assert here.publish("--public", "--yes").exit_code == 0
    assert not the_model(here).about.is_private


@pytest.mark.slow
def test_on_a_terminal_it_says_what_becomes_public_and_under_which_terms_and_asks(here: Desk) -> None:
    here.publish("--variation", "older")
    sent = len(here.made())
    words = ("publish", RUN, "--model", "rehearsal/gsm", "--public", "--from-export", str(here.export))
    environ = {**here.kaggle.environment(), "TERM": "xterm"}
    status, shown = on_a_terminal(here.home, "n\n", *words, environ=environ)
    assert (status, len(here.made()), the_model(here).about.is_private) == (1, sent, True), shown
    for text in (
        "the Kaggle Model rehearsal/gsm, with all versions of its variations jax/older",
        f"a version of {TUNIX}: 6 files",
        GEMMA_NOTICE,
        "Llama-70B: llama3.3",
        "asks that the model's name begin with Llama",
        "Make it public? [y/N]",
        "relay: nothing was published",
    ):
        assert text in shown
    status, shown = on_a_terminal(here.home, "y\n", *words, environ=environ)
    assert (status, the_model(here).about.is_private) == (0, False), shown


def test_a_private_model_can_be_made_public_later_without_sending_it_again(here: Desk) -> None:
    here.publish()
    sent = len(here.made())
    assert here.publish("--public", "--yes").exit_code == 0
    assert (the_model(here).about.is_private, len(here.made()), here.versions()) == (False, sent, [1])


def test_a_version_of_a_public_model_needs_public_too(here: Desk) -> None:
    here.publish("--public", "--yes")
    refused = here.publish()
    assert (refused.exit_code, here.versions()) == (2, [1])
    assert refused.stderr == (
        "relay: rehearsal/gsm is public, and so would be every version of it: add --public, or name another model\n"
    )


@pytest.mark.slow
def test_a_model_becomes_public_only_once_its_version_is_whole(tmp_path: Path) -> None:
    faults = FaultPlan(models=(ModelFault(version=1, action=ModelAction.FAIL),))
    with desk(tmp_path, faults=faults) as here:
        failed = here.publish("--public", "--yes")
        assert (failed.exit_code, the_model(here).about.is_private) == (1, True)
        assert failed.stderr.splitlines()[-1] == (
            f"relay: Kaggle failed to process {TUNIX}/1 (The files could not be processed): the same command makes "
            "another version"
        )
        assert here.publish("--public", "--yes").stdout.startswith(f"Model ID  {TUNIX}/2\n")
        assert not the_model(here).about.is_private


def test_a_variation_without_a_licence_keeps_the_model_private(here: Desk) -> None:
    with here.kaggle.world.at_now() as now:
        models = here.kaggle.world.models
        mine = models.create("rehearsal", "gsm", ModelText(title="gsm"), now)
        models.create_variation(mine, "jax", "old", VariationText(), {"a": Content.of_bytes(b"1", now)}, now)
    refused = here.publish("--public", "--yes")
    assert refused.exit_code == 1
    assert "A license is required for a public model" in refused.stderr
    assert the_model(here).about.is_private


# --- bad input --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "gsm"), "--model gsm: write owner/name"),
        (("--model", "rehearsal/Some_Model"), "--model rehearsal/Some_Model: write owner/name"),
        (("--model", "bob/gsm"), "the credentials are rehearsal's: write --model rehearsal/gsm"),
        (("--variation", "a b"), "--variation a b: write letters"),
        (("--framework", "safetensors"), "Kaggle knows no framework 'safetensors'"),
        (("--checkpoint", "grpo:400"), "leave out --checkpoint"),
        (("--format", "peft"), "is in the format tunix"),
    ],
)
def test_bad_input_is_one_sentence_and_makes_nothing(here: Desk, arguments: tuple[str, ...], said: str) -> None:
    done = here.publish(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert here.made() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name one place to publish to"),
        (("--model", "rehearsal/gsm", "--hub", "alice/gsm"), "name one place to publish to"),
        (("--hub", "alice/gsm", "--framework", "jax"), "--framework and --variation are for a Kaggle Model"),
        (("--hub", "gsm"), "--hub gsm: write owner/name"),
    ],
)
def test_one_place_to_publish_to_has_to_be_named(here: Desk, arguments: tuple[str, ...], said: str) -> None:
    done = here.relay("publish", RUN, "--from-export", str(here.export), *arguments)
    assert (done.exit_code, done.stdout, done.stderr.count("\n"), here.made()) == (2, "", 1, [])
    assert said in done.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"licences": {"openai/gsm8k": "mit"}}, "has no licence of the base model google/gemma-2-2b-it"),
        ({"licences": {}}, "has no licence of the base model"),
        ({"run": "other-1a2b"}, f"was exported from other-1a2b, and not from {RUN}"),
        ({"files": ()}, "names no README.md"),
    ],
)
def test_an_export_that_must_not_or_cannot_be_published_is_refused(
    here: Desk, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    folder = made_up(tmp_path / "odd", **changes)
    done = here.publish(folder=folder)
    assert (done.exit_code, here.made()) == (2, []), done.stderr
    assert said in done.stderr


@pytest.mark.parametrize("name", ["jax/2b/d/0a1b", "README.md", "export.json"])
@pytest.mark.parametrize("missing", [True, False])
def test_a_folder_that_is_not_as_it_was_exported_is_refused(here: Desk, name: str, missing: bool) -> None:
    path = here.export / name
    content = path.read_bytes()
    path.unlink() if missing else path.write_bytes(content[:-1] + b"?")
    done = here.publish()
    assert (done.exit_code, done.stderr.count("\n"), here.made()) == (2, 1, [])


def test_without_the_licence_of_the_base_model_on_kaggle_nothing_is_published(tmp_path: Path) -> None:
    with desk(tmp_path, accepted=False) as here:
        done = here.publish()
        assert (done.exit_code, here.made()) == (2, [])
        assert "the licence of the base model google/gemma-2/flax/gemma2-2b-it/1 is not accepted" in done.stderr


# --- faults -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("call", ["CreateModel", "CreateModelInstance", "CreateModelInstanceVersion", "UpdateModel"])
def test_a_lost_answer_makes_no_second_version(tmp_path: Path, call: str) -> None:
    faults = FaultPlan(calls=(CallFault(call=call, action=LOST),))
    with desk(tmp_path / "desk", faults=faults) as here:
        assert here.publish("--public", "--yes").exit_code == 0
        other = made_up(tmp_path / "other", weights_sha256="f" * 64)
        done = here.publish("--public", "--yes", folder=other)
        assert (done.exit_code, here.versions()) == (0, [1, 2]), done.stderr
        assert not the_model(here).about.is_private


@pytest.mark.slow
@pytest.mark.parametrize("call", ["CreateModelInstance", "CreateModelInstanceVersion"])
def test_the_next_process_finds_the_version_that_an_interrupted_one_made(tmp_path: Path, call: str) -> None:
    first = call == "CreateModelInstance"
    looks_before = 1 if first else 2
    dies = CallFault(call="ListModelInstanceVersions", action=CallAction.STATUS, status=400, nth=looks_before + 1)
    faults = FaultPlan(calls=(CallFault(call=call, action=LOST), dies))
    with desk(tmp_path / "desk", faults=faults) as here:
        other = made_up(tmp_path / "other", weights_sha256="f" * 64)
        folders = [here.export] if first else [here.export, other]
        done = [here.publish(folder=folder) for folder in folders][-1]
        assert done.exit_code == 1, done.stderr
        sent = len(here.made())
        again = here.publish(folder=folders[-1])
        assert again.exit_code == 0, again.stderr
        assert f"{TUNIX}/{len(folders)} was made by an earlier try" in again.stderr
        assert (here.versions(), len(here.made())) == (list(range(1, len(folders) + 1)), sent)


@pytest.mark.slow
def test_it_waits_until_kaggle_has_processed_the_version_and_not_for_the_one_before(tmp_path: Path) -> None:
    rules = replace(AT_ONCE, dataset_processing_s=2.0)
    with desk(tmp_path / "desk", rules=rules) as here:
        for number, digit in enumerate("ef", 1):
            folder = made_up(tmp_path / digit, weights_sha256=digit * 64)
            assert here.publish(folder=folder).exit_code == 0
            with here.kaggle.world.at_now() as now:
                assert here.kaggle.world.models.is_ready(f"{TUNIX}/{number}", now)


@pytest.mark.slow
def test_the_page_of_files_is_read_to_its_end(tmp_path: Path) -> None:
    with desk(tmp_path, rules=replace(AT_ONCE, page_size=3, page_size_max=3)) as here:
        assert here.publish().exit_code == 0
