"""A stage or reward of the user's own ships with the kernel; what is wrong with it is said at home, in one sentence."""

import sys
from pathlib import Path

import pytest

from orchestrator.base.errors import BadInput
from orchestrator.pipeline.difference import first_difference
from orchestrator.pipeline.loader import load, parse
from orchestrator.pipeline.model import Pipeline
from stages.catalog import find
from stages.session import user_code
from stages.stage import StageFailed

TEXT = """
name: own
accelerator: cpu
stages:
  - {name: mine, kind: "my_module:train", steps: 3, options: {data: 7, anything: [goes]}}
"""
PLAIN = "def train(context):\n    pass\n"


def given(folder: Path, **files: str) -> Pipeline:
    """The pipeline beside these modules (`a__b` is the file `a/b.py`)."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/', 1) if '__' in name else name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "p.yaml").write_text(TEXT, encoding="utf-8")
    return load(folder / "p.yaml")


def refused(folder: Path, **files: str) -> str:
    with pytest.raises(BadInput) as caught:
        given(folder, **files)
    sentence = str(caught.value)
    assert sentence.startswith(str(folder / "p.yaml")) and "\n" not in sentence
    return sentence


def test_the_runs_own_copy_of_the_pipeline_holds_the_stages_text(tmp_path: Path) -> None:
    pipeline = given(tmp_path, my_module=PLAIN)
    assert pipeline.sources == {"my_module.py": PLAIN}
    assert Pipeline.from_canonical(pipeline.canonical()) == pipeline
    assert given(tmp_path, my_module=PLAIN + "\n").digest != pipeline.digest


def test_what_the_module_imports_of_its_folder_ships_too(tmp_path: Path) -> None:
    text = "import json, my_parts\nfrom my_package.inner import thing\n" + PLAIN
    pipeline = given(tmp_path, my_module=text, my_parts="import my_rest", my_rest="", unused="",
                     my_package____init__="", my_package__inner="from . import other\nthing = 1",
                     my_package__other="")  # fmt: skip
    assert sorted(pipeline.sources) == [
        "my_module.py", "my_package/__init__.py", "my_package/inner.py", "my_package/other.py", "my_parts.py", "my_rest.py",
    ]  # fmt: skip


def test_a_package_ships_whole(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    for name in ("__init__", "inner", "other"):
        (tmp_path / "pack" / f"{name}.py").write_text(PLAIN, encoding="utf-8")
    pipeline = parse(TEXT.replace("my_module:train", "pack.inner:train"), "p.yaml", tmp_path)
    assert sorted(pipeline.sources) == ["pack/__init__.py", "pack/inner.py", "pack/other.py"]


def test_a_module_that_is_not_there_is_named(tmp_path: Path) -> None:
    sentence = refused(tmp_path)
    assert "stages[0].kind: my_module:train: my_module.py is not beside the pipeline: make it there" in sentence


@pytest.mark.parametrize("text", ["", "def trian(context): ...", "class C:\n    def train(self): ...", "other = 1"])
def test_a_function_that_is_not_there_is_named(text: str, tmp_path: Path) -> None:
    assert "my_module.py has no function train" in refused(tmp_path, my_module=text)


@pytest.mark.parametrize(
    "text", ["from my_parts import train", "from my_parts import *", "import my_parts\ntrain = my_parts.f"]
)
def test_a_function_may_come_from_elsewhere(text: str, tmp_path: Path) -> None:
    assert "my_parts.py" in given(tmp_path, my_module=text, my_parts="def f(context): ...").sources


def test_text_that_is_not_python_is_named_with_its_line(tmp_path: Path) -> None:
    assert "my_module.py, line 2: this is not Python" in refused(tmp_path, my_module="x = 1\ndef train(context)\n")


def test_nothing_of_the_users_code_runs_at_home(tmp_path: Path) -> None:
    given(tmp_path, my_module=f"open({str(tmp_path / 'ran')!r}, 'w')\nimport nothing_of_the_kind\n{PLAIN}")
    assert not (tmp_path / "ran").exists()
    assert "my_module" not in sys.modules


@pytest.mark.parametrize("name", ["random", "jax", "stages", "numpy"])
def test_a_name_that_a_session_needs_otherwise_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text(PLAIN, encoding="utf-8")
    with pytest.raises(BadInput, match=f"another module called {name}: rename yours"):
        parse(TEXT.replace("my_module", name), "p.yaml", tmp_path)


def test_code_that_a_kernel_has_no_room_for_is_refused_with_a_remedy(tmp_path: Path) -> None:
    sentence = refused(tmp_path, my_module=PLAIN + f"TABLE = {'x' * 400_000!r}")
    assert "a kernel has room for 300,000: put what is large into inputs.files" in sentence


def test_relays_copy_is_not_for_the_user_to_write(tmp_path: Path) -> None:
    (tmp_path / "my_module.py").write_text(PLAIN, encoding="utf-8")
    with pytest.raises(BadInput, match="sources: relay fills this in"):
        parse(TEXT + "sources: {my_module.py: x}", "p.yaml", tmp_path)


def test_a_misspelt_kind_is_still_told_from_ones_own(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="did you mean 'counting'"):
        parse(TEXT.replace("my_module:train", "countng"), "p.yaml", tmp_path)
    with pytest.raises(BadInput, match=r"stages\[0\]\.kind: there is no stage of kind 'my module:train'"):
        parse(TEXT.replace("my_module:train", "my module:train"), "p.yaml", tmp_path)


def test_a_changed_module_is_named_and_not_quoted() -> None:
    assert first_difference({"sources": {"m.py": "a" * 300}}, {"sources": {"m.py": "b"}}) == "sources.m.py changed"


def test_rewards_of_ones_own_ship_too(tmp_path: Path) -> None:
    (tmp_path / "my_rewards.py").write_text("def kindness(prompts, completions, **more): ...", encoding="utf-8")
    text = TEXT.replace('"my_module:train"', "grpo").replace(
        "{data: 7, anything: [goes]}", '{rewards: {structure: 1.0, "my_rewards:kindness": 0.5}}'
    )
    assert list(parse(text, "p.yaml", tmp_path).sources) == ["my_rewards.py"]
    with pytest.raises(BadInput, match=r"options\.rewards: my_rewards:unkindness: my_rewards.py has no function"):
        parse(text.replace(":kindness", ":unkindness"), "p.yaml", tmp_path)


# --- JAX or not ---


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "import jax.numpy as jnp",
        "def train(context):\n    import optax",
        "from stages.training import model",
        "from stages.sft import train",
        "import my_parts",
    ],
)
def test_a_stage_that_imports_jax_gets_what_training_needs(text: str, tmp_path: Path) -> None:
    pipeline = given(tmp_path, my_module=f"{text}\n{PLAIN}", my_parts="from flax import nnx")
    assert pipeline.needs_jax
    assert any(pin.startswith("jax==") for pin in pipeline.pins)


@pytest.mark.parametrize(
    "text", ["import numpy, random", "from stages.training.state_io import carry_on", "from stages import stage"]
)
def test_a_plain_stage_installs_nothing(text: str, tmp_path: Path) -> None:
    pipeline = given(tmp_path, my_module=f"{text}\n{PLAIN}")
    assert not pipeline.needs_jax
    assert pipeline.pins == ()


def test_a_stage_of_unknown_text_may_need_jax() -> None:
    assert find("elsewhere:train").needs_jax


# --- in the session ---


def test_a_module_of_the_same_name_that_is_there_already_is_not_taken_for_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    user_code.unpack({"quite_my_own.py": "x = 1"}, tmp_path)
    with pytest.raises(StageFailed, match="another module called pytest is in the way") as caught:
        user_code.unpack({"pytest.py": "x = 1"}, tmp_path)
    assert caught.value.cause == "foreign-sources"


def test_a_function_that_cannot_be_had_is_one_sentence() -> None:
    with pytest.raises(StageFailed, match="there is no module not_there"):
        user_code.load("not_there:train")
    with pytest.raises(StageFailed, match="json:nothing is not a function"):
        user_code.load("json:nothing")
