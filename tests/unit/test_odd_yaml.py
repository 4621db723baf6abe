"""A file that a person wrote, or somebody gave them, is refused in one sentence however odd it is, and soon."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.app.notify import config
from orchestrator.base.errors import BadInput
from orchestrator.base.safe_yaml import OddYaml, UniqueKeys, read_yaml
from orchestrator.pipeline.loader import check, parse
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.references import dataset_problem, model_problem
from orchestrator.rehearsal.local_kaggle.faults import FaultPlan

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 60))
ODD = {
    "aliases without end": (BOMB, "aliases stand for more than"),
    "merged without end": (MERGED, "aliases stand for more than"),
    "an alias of itself": ("a: &a [*a]\n", "stands for itself"),
    "nested in brackets": (f"a: {'[' * 5000}{']' * 5000}", "nested more than"),
    "nested 150 deep": (f"a: {'[' * 150}{']' * 150}", "nested more than"),
    "nested in lines": ("\n".join(f"{' ' * n}a:" for n in range(1500)), "nested more than"),
    "too long": ("# " + "x" * 3_000_000, "more than 2,000,000 characters"),
    "a date": ("a: 2026-01-01", "'2026-01-01' is a date in YAML: put it in quotes"),
    "no date": ("a: 2026-13-45", "cannot be read"),
    "an integer without end": (f"a: {'9' * 5000}", "cannot be read"),
    "more than 64 bits": (f"seed: {2**64}", "more than 64 bits"),
    "not a number": ("a: .nan", "nan is not a number"),
    "half a character": ('a: "half \\ud83d"', "cannot be written"),
    "nothing": ('a: "\\0"', "cannot be written"),
    "beyond all characters": ('a: "\\UFFFFFFFF"', "cannot be read"),
    "a list for a key": ("? [a, b]\n: c", "cannot be read|unhashable"),
    "bytes": ("a: !!binary aGFsbG8=", "is a bytes in YAML"),
    "a set": ("a: !!set {b, c}", "is a set in YAML"),
    "a tag of Python": ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_odd_yaml_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    text, sentence = ODD[name]
    with pytest.raises(BadInput, match=f"p.yaml.*not YAML that relay takes: .*({sentence})") as pipeline:
        parse(text, "p.yaml")
    with pytest.raises(BadInput, match=f"f.yaml.*: .*({sentence})") as faults:
        FaultPlan.from_yaml(text, "f.yaml")
    (tmp_path / config.FILE_NAME).write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match="is not YAML") as notify:
        config.read(tmp_path, {})
    assert all(len(str(error.value)) < 500 and "\n" not in str(error.value) for error in (pipeline, faults, notify))


@pytest.mark.parametrize("value", ["half \ud83d", math.nan, 2**70, b"x", {1, 2}])
def test_a_program_without_a_file_is_told_the_same(value: object) -> None:
    stage = {"name": "a", "kind": "counting", "steps": 2, "options": {"odd": value}}
    with pytest.raises(BadInput, match=r"^a program: "):
        check({"name": "count", "accelerator": "cpu", "stages": [stage]}, "a program")


def test_a_key_with_brackets_is_named_as_it_is() -> None:
    with pytest.raises(BadInput, match=re.escape("'na[]me' is not a key that relay knows")):
        parse("na[]me: x", "p.yaml")


def test_aliases_that_people_write_are_read() -> None:
    assert read_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]") == {
        "a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}, {"x": 1}],
    }  # fmt: skip


YAML_TEXT = st.text(alphabet=st.sampled_from("ab:-[]{}&*!<>?|'\"#%@ \n\t0123.~,\\x\ud800\0é"), max_size=60) | st.text(
    max_size=60
)


@pytest.mark.slow
@settings(deadline=None)
@given(YAML_TEXT)
def test_any_text_is_a_pipeline_or_a_sentence(text: str) -> None:
    for known in (UniqueKeys, None):
        try:
            read_yaml(text, known) if known else read_yaml(text)
        except OddYaml as error:
            str(error).encode("utf-8", "backslashreplace")
    with pytest.raises(BadInput):
        parse(text, "p.yaml")


TOP = "name: count\naccelerator: {accelerator}\ninputs: {{{inputs}}}\nstages: [{{name: a, kind: counting, steps: 2}}]\n"


def pipeline(inputs: str = "", accelerator: str = "cpu") -> Pipeline:
    return parse(TOP.format(inputs=inputs, accelerator=accelerator), "p.yaml")


@pytest.mark.parametrize(
    ("ref", "remedy"),
    [
        ("my-set", "write owner/slug"),
        ("https://www.kaggle.com/datasets/alice/my-set", "write alice/my-set$"),
        ("http://kaggle.com/datasets/alice/my-set?select=a.csv", "write alice/my-set$"),
        ("www.kaggle.com/datasets/alice/my-set/data", "write alice/my-set$"),
        (
            "https://www.kaggle.com/datasets/alice/my-set/versions/3",
            "names a version, .* the newest one: write alice/my-set$",
        ),
        ("alice/my-set/versions/3", "names a version, .* the newest one: write alice/my-set$"),
        ("datasets/alice/my-set", "write alice/my-set$"),
        ("/alice/my-set/", "write alice/my-set$"),
        ("alice/my set", "write alice/my-set$"),
        ("https://www.kaggle.com/alice", "is no dataset's address"),
        ("alice/", "write owner/slug"),
        ("", "write owner/slug"),
        ("a/b/c/d", "write a/b$"),
        ("alice/../x", "write owner/slug"),
        ("alice/bj\\u00f6rn", "write owner/slug"),
    ],
)
def test_a_dataset_that_kaggle_would_not_know_is_refused_with_the_remedy(ref: str, remedy: str) -> None:
    with pytest.raises(BadInput, match=rf"^p.yaml: inputs.datasets\[0\]: .*{remedy}"):
        pipeline(f'datasets: ["{ref}"]')


@pytest.mark.parametrize(
    ("ref", "remedy"),
    [
        ("google/gemma-2", "write owner/model/framework/variation/version"),
        (
            "https://www.kaggle.com/models/google/gemma-2/flax/gemma2-2b-it/1",
            "write google/gemma-2/flax/gemma2-2b-it/1$",
        ),
        ("google/gemma-2/flax/gemma2-2b-it/versions/1", "write google/gemma-2/flax/gemma2-2b-it/1$"),
        ("google/gemma 2/flax/gemma2-2b-it/1", "write google/gemma-2/flax/gemma2-2b-it/1$"),
        ("google/gemma-2/flax/gemma2-2b-it/newest", "write owner/model/framework/variation/version"),
    ],
)
def test_a_model_that_kaggle_would_not_know_is_refused_with_the_remedy(ref: str, remedy: str) -> None:
    with pytest.raises(BadInput, match=rf"^p.yaml: inputs.models\[0\]: .*{remedy}"):
        pipeline(f'models: ["{ref}"]')


def test_names_that_kaggle_gives_are_taken() -> None:
    for ref in ("alice/my-set", "Alice_1/my.set-2", "alice/my-set/3", "kaggle/meta-kaggle"):
        assert dataset_problem(ref) == ""
    for ref in ("google/gemma/transformers/1.1-2b-it/1", "google/gemma-2/flax/gemma2-2b-it/1"):
        assert model_problem(ref) == ""
    assert pipeline("datasets: [alice/my-set], models: [google/gemma-2/flax/gemma2-2b-it/1]").inputs.datasets


def test_wheels_are_a_dataset_too() -> None:
    with pytest.raises(BadInput, match=r"inputs.wheels: .* write alice/relay-wheels$"):
        pipeline("wheels: https://www.kaggle.com/datasets/alice/relay-wheels")


@given(st.text(max_size=40))
def test_any_reference_is_taken_or_explained(ref: str) -> None:
    for problem in (dataset_problem(ref), model_problem(ref)):
        assert problem == "" or "write" in problem
        assert len(problem) < 400


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("TpuV38", "is no longer available on Kaggle: use TpuV5E8"),
        ("TpuV3-8", "is no longer available on Kaggle: use TpuV5E8"),
        ("TPU_V3_8", "is no longer available on Kaggle: use TpuV5E8"),
        ("Tpu1VmV38", "is no longer available on Kaggle: use TpuV5E8"),
        ("NvidiaTeslaP100", "is no longer available on Kaggle: use NvidiaTeslaT4"),
        ("TPU_V5E_8", "is not a value that relay knows: use TpuV5E8"),
        ("CPU", "is not a value that relay knows: use cpu"),
        ("T4", "is not a value that relay knows: use NvidiaTeslaT4"),
        ("GPU T4 x2", "is not a value that relay knows: use NvidiaTeslaT4"),
        ("tpu", "is not a value that relay knows: use TpuV5E8"),
        ("NvidaTeslaT4", "is not a value that relay knows: did you mean 'NvidiaTeslaT4'?"),
        ("T4x22", "is not a value that relay knows: did you mean 'NvidiaTeslaT4'?"),
        ("Quantum", "is not a value that relay knows: use one of cpu, TpuV5E8"),
    ],
)
def test_a_retired_accelerator_has_what_took_its_place_suggested(found: str, said: str) -> None:
    with pytest.raises(BadInput, match=f"accelerator: '{found}' {said}"):
        pipeline(accelerator=found)
