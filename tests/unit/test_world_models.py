"""The local Kaggle's models: who may make and read them, which versions there are, and from when on."""

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.rehearsal.local_kaggle.delayed_effects import DelayedEffects
from orchestrator.rehearsal.local_kaggle.fault_injection import FaultInjector
from orchestrator.rehearsal.local_kaggle.faults import FaultPlan, ModelAction, ModelFault
from orchestrator.rehearsal.local_kaggle.model_records import (
    FRAMEWORKS,
    Declined,
    KaggleModel,
    ModelText,
    Variation,
    VariationText,
    framework_named,
)
from orchestrator.rehearsal.local_kaggle.models import Models, readable
from orchestrator.rehearsal.local_kaggle.rules import KaggleRefusal, Rules
from orchestrator.rehearsal.local_kaggle.stored_file import Content, Files

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=Rules().dataset_processing_s)
FILES: Files = {"model.bin": Content.of_bytes(b"weights", NOW)}


@pytest.fixture
def models() -> Models:
    return Models(Rules())


def made(models: Models, about: VariationText | None = None, **model: bool) -> tuple[KaggleModel, Variation]:
    found = models.create("alice", "some-model", ModelText(title="Some model", **model), NOW)
    return found, models.create_variation(found, "jax", "2b", about or VariationText(), FILES, NOW)


@pytest.mark.parametrize(
    ("spelt", "framework"),
    [
        ("jax", "JAX"),
        ("pyTorch", "PY_TORCH"),
        ("pytorch", "PY_TORCH"),
        ("MODEL_FRAMEWORK_PY_TORCH", "PY_TORCH"),
        ("tensorFlow2", "TENSOR_FLOW_2"),
        ("tensorRtLlm", "TENSOR_RT_LLM"),
        ("safetensors", None),
        ("", None),
        ("MODEL_FRAMEWORK_UNSPECIFIED", None),
    ],
)
def test_a_framework_is_known_in_every_spelling(spelt: str, framework: str | None) -> None:
    assert framework_named(spelt) == framework


def test_every_framework_is_known_by_its_name_on_the_wire() -> None:
    assert [framework_named(f"MODEL_FRAMEWORK_{name}") for name in FRAMEWORKS] == list(FRAMEWORKS)


@pytest.mark.parametrize(
    ("slug", "title", "code"),
    [
        ("Some", "A title", 400),
        ("a--b", "A title", 400),
        ("a_b", "A title", 400),
        ("fine", " ", 400),
        ("taken", "T", 409),
    ],
)
def test_a_model_that_kaggle_would_not_take_is_declined(models: Models, slug: str, title: str, code: int) -> None:
    models.create("alice", "taken", ModelText(title="Taken"), NOW)
    with pytest.raises(Declined) as declined:
        models.create("alice", slug, ModelText(title=title), NOW)
    assert declined.value.code == code


def test_a_variation_that_exists_is_a_conflict_however_its_framework_is_spelt(models: Models) -> None:
    model, _ = made(models)
    for framework in ("jax", "JAX", "MODEL_FRAMEWORK_JAX"):
        with pytest.raises(Declined) as declined:
            models.create_variation(model, framework, "2b", VariationText(), FILES, NOW)
        assert declined.value.code == 409
    models.create_variation(model, "flax", "2b", VariationText(), FILES, NOW)


@pytest.mark.parametrize(
    ("framework", "slug", "about", "files"),
    [
        ("", "a", VariationText(), FILES),
        ("safetensors", "a", VariationText(), FILES),
        ("jax", "a b", VariationText(), FILES),
        ("jax", "", VariationText(), FILES),
        ("jax", "a", VariationText(license_name="Gemma"), FILES),
        ("jax", "a", VariationText(base="google/gemma"), FILES),
        ("jax", "a", VariationText(base="google//gemma/jax/2b"), FILES),
        ("jax", "a", VariationText(), {}),
        ("jax", "a", VariationText(), {"../a": FILES["model.bin"]}),
    ],
)
def test_a_variation_that_kaggle_would_not_take_is_declined_and_not_made(
    models: Models, framework: str, slug: str, about: VariationText, files: Files
) -> None:
    model = models.create("alice", "some-model", ModelText(title="Some model"), NOW)
    with pytest.raises(Declined):
        models.create_variation(model, framework, slug, about, files, NOW)
    assert model.variations == []


@pytest.mark.parametrize(
    "name",
    [
        "Apache 2.0",
        "apache 2.0",
        "CC BY 4.0",
        "Attribution 4.0 International (CC BY 4.0)",
        "Other (specified in description)",
    ],
)
def test_a_licence_is_known_by_its_name_or_its_abbreviation(models: Models, name: str) -> None:
    _, variation = made(models, VariationText(license_name=name), is_private=False)
    assert variation.about.license_name == name


def test_what_is_public_needs_a_licence(models: Models) -> None:
    model, variation = made(models)
    with pytest.raises(Declined, match="A license is required"):
        models.describe(model, ModelText(title="Some model", is_private=False), NOW)
    models.describe_variation(model, variation, VariationText(license_name="MIT"), NOW)
    models.describe(model, ModelText(title="Some model", is_private=False), NOW)
    with pytest.raises(Declined, match="A license is required"):
        models.describe_variation(model, variation, VariationText(), NOW)
    with pytest.raises(Declined, match="A license is required"):
        models.create_variation(model, "jax", "other", VariationText(), FILES, NOW)


def test_files_are_seen_once_they_have_been_processed(models: Models) -> None:
    _, variation = made(models)
    first = variation.version(1)
    assert variation.ready(NOW) is None
    assert first.status(NOW) == "NOT_YET_PERSISTED"
    with pytest.raises(KaggleRefusal, match="still being processed"):
        readable(first, NOW)
    assert readable(first, LATER) == FILES
    assert first.status(LATER) == "READY"


def test_a_further_version_may_be_made_while_one_is_processed_and_no_number_is_given_twice(models: Models) -> None:
    model, variation = made(models)
    models.add_version(model, variation, FILES, "second", NOW)
    variation.versions.pop()
    models.add_version(model, variation, FILES, "third", NOW)
    assert [version.number for version in variation.versions] == [1, 3]


def test_a_session_may_have_what_exists_and_finds_it_once_it_is_ready(models: Models) -> None:
    made(models)
    assert models.is_source("alice/some-model/jax/2b/1")
    assert not models.is_ready("alice/some-model/jax/2b/1", NOW)
    assert models.is_ready("alice/some-model/jax/2b/1", LATER)
    for ref in ("alice/some-model/jax/2b/2", "alice/some-model/jax/2b", "alice/some-model/jax/2b/x", "a/b/jax/2b/1"):
        assert not models.is_source(ref)


def test_what_others_offer_is_ready_at_once_under_its_own_number(models: Models) -> None:
    models.offer("google/gemma/pyTorch/2b/3", FILES)
    models.offer("google/gemma/pyTorch/2b/1", FILES, accepted=False)
    assert models.files("google/gemma/pytorch/2b/3", NOW) == FILES
    assert not models.is_source("google/gemma/pyTorch/2b/1")
    with pytest.raises(KaggleRefusal, match="accept the model's license"):
        models.files("google/gemma/pyTorch/2b/1", NOW)
    with pytest.raises(KaggleRefusal):
        models.files("google/gemma/pyTorch/2b/2", NOW)


def with_fault(action: ModelAction, seconds: float = 0.0) -> Models:
    return Models(Rules(), FaultInjector(FaultPlan(models=(ModelFault(version=1, action=action, seconds=seconds),))))


def test_a_slow_version_is_ready_so_much_later_and_one_that_fails_never() -> None:
    _, variation = made(with_fault(ModelAction.SLOW, 30.0))
    assert variation.ready(LATER) is None
    assert variation.ready(LATER + timedelta(seconds=30)) is not None
    _, variation = made(with_fault(ModelAction.FAIL))
    assert variation.version(1).status(LATER) == "FAILED"
    assert variation.ready(LATER + timedelta(days=1)) is None


def test_a_late_version_is_made_after_its_504() -> None:
    delayed = DelayedEffects()
    plan = FaultPlan(models=(ModelFault(version=1, action=ModelAction.LATE, seconds=10.0),))
    models = Models(Rules(), FaultInjector(plan), delayed)
    model = models.create("alice", "some-model", ModelText(title="Some model"), NOW)
    with pytest.raises(KaggleRefusal) as refused:
        models.create_variation(model, "jax", "2b", VariationText(), FILES, NOW)
    assert (refused.value.code, model.variations) == (504, [])
    delayed.carry_out(NOW + timedelta(seconds=10))
    assert [version.number for version in model.variations[0].versions] == [1]
