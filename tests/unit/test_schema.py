"""The schema of a pipeline file and the loader say yes and no to the same things."""

import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from orchestrator.base.errors import BadInput
from orchestrator.pipeline.loader import load, parse
from orchestrator.pipeline.pins import SCHEMA_PATTERN, pin_problems
from orchestrator.pipeline.reference.schema import EXAMPLES, schema
from stages.catalog import KINDS

ROOT = Path(__file__).parents[2]
PIPELINES = [path for path in sorted((ROOT / "examples").glob("*.yaml")) if ".faults" not in path.name]

GOOD = """
name: count
accelerator: cpu
session: {limit_s: 100, margin_s: 10}
model: {dtype: float32}
stages:
  - {name: one, kind: sft, steps: 30, options: {batch: 8, data: [gsm8k, "mbpp:5"]}}
  - {name: two, kind: grpo, steps: 20, options: {beta: 0, rewards: {structure: 2e-1}}}
"""

MISTAKES = [
    ("name: count", "nmae: count"),
    ("name: count", "name: Count!"),
    ("name: count", f"name: {'n' * 31}"),
    ("name: count", "name: 5"),
    ("accelerator: cpu", "acelerator: cpu"),
    ("accelerator: cpu", "accelerator: TpuV5E"),
    ("limit_s: 100", "limit: 100"),
    ("limit_s: 100", "limit_s: long"),
    ("limit_s: 100", "limit_s: 43201"),
    ("limit_s: 100", "limit_s: 0"),
    ("margin_s: 10", "margin_s: -1"),
    ("accelerator: cpu", "on_timeout: wait"),
    ("accelerator: cpu", "keep_checkpoints: 1"),
    ("accelerator: cpu", "handoff: disk"),
    ("accelerator: cpu", "internet: 1"),
    ("accelerator: cpu", "environment: tunix-0.9"),
    ("accelerator: cpu", "expect: {first: 1}"),
    ("accelerator: cpu", "expect: {step_s: {one: 0}}"),
    ("accelerator: cpu", "expect: {step_s: {one: {low: 1}}}"),
    ("accelerator: cpu", "expect: {save_s: {low: 1, high: 0}}"),
    ("accelerator: cpu", "expect: {save_s: long}"),
    ("accelerator: cpu", "expect: {accelerator: P100}"),
    ("accelerator: cpu", "inputs: {dataset: [a/b]}"),
    ("accelerator: cpu", "inputs: {sha256: {a: b}}"),
    ("accelerator: cpu", "sources: {a.py: ''}"),
    ("accelerator: cpu\nsession: {limit_s: 100", "session: {limit_s: 32401"),
    ("dtype: float32", "dtype: float64"),
    ("dtype: float32", "kind: gemma9"),
    ("dtype: float32", "source: gemma"),
    ("dtype: float32", "dtpye: float32"),
    ("kind: sft", "kind: stf"),
    ("kind: sft", "kind: 'own.py'"),
    ("name: one", "name: One"),
    ("steps: 30", "steps: many"),
    ("steps: 30", "steps: 0"),
    ("steps: 30", "stpes: 30"),
    ("steps: 30, ", ""),
    ("batch: 8", "batch: 0"),
    ("batch: 8", "batch: '8'"),
    ("batch: 8", "batch: true"),
    ("batch: 8", "beta: 0.1"),
    ("batch: 8", "mode: half"),
    ("batch: 8", "guard_steps: 9"),
    ("batch: 8", "b1: 1"),
    ("batch: 8", "learning_rate: fast"),
    ("[gsm8k, ", "[gsm9k, "),
    ("mbpp:5", "mbpp:0"),
    ('data: [gsm8k, "mbpp:5"]', "data: []"),
    ('data: [gsm8k, "mbpp:5"]', "data: gsm8k"),
    ("{structure: 2e-1}", "{}"),
    ("{structure: 2e-1}", "{structur: 1}"),
    ("{structure: 2e-1}", "{structure: much}"),
    ("{structure: 2e-1}", "[structure]"),
]


@functools.cache
def written() -> dict[str, Any]:
    return schema()


@functools.cache
def validator() -> Draft202012Validator:
    return Draft202012Validator(written())


@pytest.mark.slow
def test_the_schema_is_one_of_the_draft_that_it_names() -> None:
    Draft202012Validator.check_schema(schema())
    assert schema() == json.loads(json.dumps(schema())), "nothing in it is more than JSON"


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_every_example_fits_the_schema(path: Path) -> None:
    assert load(path).stages
    validator().validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(example["name"]))
def test_the_examples_in_the_schema_are_pipelines(example: dict[str, Any]) -> None:
    assert parse(yaml.safe_dump(example), "example").stages
    validator().validate(example)


@pytest.mark.slow
@pytest.mark.parametrize(("right", "wrong"), MISTAKES)
def test_a_mistake_is_refused_by_the_loader_and_by_the_schema(right: str, wrong: str) -> None:
    validator().validate(yaml.safe_load(GOOD))
    assert parse(GOOD, "p.yaml")
    text = GOOD.replace(right, wrong, 1)
    assert text != GOOD
    with pytest.raises(BadInput):
        parse(text, "p.yaml")
    assert not validator().is_valid(yaml.safe_load(text))


def test_options_and_model_of_the_users_own_stages_are_free(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def train(context): ...\n", encoding="utf-8")
    text = "name: own\nmodel: {width: 3}\nstages: [{name: a, kind: 'own:train', steps: 3, options: {anything: [1]}}]\n"
    assert parse(text, "p.yaml", tmp_path).stages
    validator().validate(yaml.safe_load(text))
    for name in ("own:", ":train", "own train:a"):
        assert not validator().is_valid(yaml.safe_load(text.replace("own:train", name)))


def _values() -> st.SearchStrategy[Any]:
    """Values of all types, near the bounds that options have; no whole number that has a point, which are told apart by YAML."""
    numbers = st.sampled_from([-1, 0, 1, 2, 9, 10, 64, -0.5, 0.5, 1.5, "3e-6", "1.5"])
    texts = st.sampled_from(
        ["", "lora", "full", "cosine", "linear", "block", "bfloat16", "gemma3", "a/b", "./x", "a", "x y"]
    )
    data = st.lists(st.sampled_from(["gsm8k", "magpie:5", "mbpp:0", "gsm8k:x", "sums", "gsm8k\n"]), max_size=2)
    rewards = st.dictionaries(
        st.sampled_from(["structure", "correctness", "other", "a:"]), st.sampled_from([1, 0.5, "1e-3", "x"]), max_size=2
    )
    return st.one_of(numbers, texts, data, rewards, st.booleans(), st.none())


def _options(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    # Without `gradient_accumulation_steps`, whose bound is another option, and text for numbers, whose bounds the schema does not see.
    known = [name for name in written()["$defs"][kind]["properties"] if name != "gradient_accumulation_steps"]
    return st.dictionaries(st.sampled_from([*known, "mispelt"]), _values(), max_size=3)


@functools.cache
def _stage(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    given_keys = {"name": st.just("one"), "kind": st.just(kind), "steps": st.integers(0, 9)}
    return st.fixed_dictionaries(given_keys, optional={"options": _options(kind)})


def _pipelines() -> st.SearchStrategy[dict[str, Any]]:
    optional = {
        "model": _options("model"),
        "seed": st.one_of(st.integers(), st.text(max_size=2)),
        "accelerator": st.sampled_from(["cpu", "TpuV6E8", "NvidiaTeslaT4", "gpu"]),
        "keep_checkpoints": st.integers(1, 3),
        "session": st.fixed_dictionaries(
            {}, optional={"attempts": st.integers(0, 2), "limit_s": st.floats(-1, 50_000)}
        ),
        "account": st.fixed_dictionaries({}, optional={"slots": st.integers(0, 2), "hours_per_week": st.just(1.5)}),
        "environment": st.one_of(
            st.just("tunix-0.1.5"), st.just("x"), st.lists(st.text(max_size=3), max_size=2), st.none()
        ),
    }
    alone = sorted(
        set(KINDS) - {"answer", "export"}
    )  # these need a file, and an earlier stage: more than a schema sees
    required = {
        "name": st.sampled_from(["p", "a-b1", "a--b", "B", "1a"]),
        "stages": st.sampled_from(alone).flatmap(_stage),
    }
    return st.fixed_dictionaries(required, optional=optional).map(lambda found: found | {"stages": [found["stages"]]})


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(_pipelines())
@example({"name": "p", "stages": [{"name": "one", "kind": "continued", "steps": 1}], "environment": [""]})
def test_whatever_the_loader_takes_fits_the_schema_and_the_other_way_round(pipeline: dict[str, Any]) -> None:
    text = yaml.safe_dump(pipeline)
    try:
        parse(text, "p.yaml")
    except BadInput as error:
        assert not validator().is_valid(pipeline), f"only the loader refuses: {error}"
    else:
        validator().validate(pipeline)


PIN_TEXTS = st.text("ab1[],=. -", max_size=12) | st.sampled_from(
    ["tunix-0.1.5", " tunix-0.1.7 ", "own.lock.txt", "sympy == 1.14.0", "jax[tpu]", "kaggle[a, b]==1", "a>=1", "é"]
)


@given(PIN_TEXTS)
def test_the_schema_takes_a_package_where_a_session_can_install_it(pin: str) -> None:
    """Of several that pin a package to two versions, a schema knows nothing."""
    assert (re.search(SCHEMA_PATTERN, pin) is not None) == (not list(pin_problems([pin])))
