"""Every key and option is documented, and the page, `relay explain` and the code say the same."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import main
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.reference.entries import keys, options_of
from orchestrator.pipeline.reference.lookup import names
from orchestrator.pipeline.reference.meanings import meanings
from orchestrator.pipeline.reference.writing import filled
from orchestrator.pipeline.sections import AccountOptions, Expect, Inputs, SessionLimits, Stage
from orchestrator.pipeline.slurm_section import SlurmOptions
from orchestrator.pipeline.ssh_section import SshOptions
from stages import options
from stages.catalog import KINDS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "pipeline.md"


def relay(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, env={"COLUMNS": "80"})


@pytest.mark.slow
def test_the_page_of_the_pipeline_file_is_what_the_code_says() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page) == page, "run: make reference"


def test_the_page_has_every_key_and_every_option_of_every_kind() -> None:
    _, *chapters = PAGE.read_text(encoding="utf-8").split("\n### `")
    told = {chapter.partition("`")[0]: chapter for chapter in chapters}
    assert list(told) == list(KINDS)
    for name, kind in KINDS.items():
        assert kind.options is not None
        assert [field.name for field in fields(kind.options) if f"\n| `{field.name}` |" not in told[name]] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [Pipeline, SessionLimits, AccountOptions, Inputs, Expect, Stage, SlurmOptions, SshOptions],
    ids=lambda model: model.__name__,
)
def test_every_key_says_what_it_means(model: type[Pipeline]) -> None:
    assert [name for name in model.model_fields if not meanings(model).get(name)] == []


@pytest.mark.parametrize("name", [*KINDS, "model"])
def test_every_option_is_told_with_its_default(name: str) -> None:
    kind = options.Model if name == "model" else KINDS[name].options
    assert kind is not None
    told = {entry.key: entry for entry in options_of(name)}
    assert told.keys() == {field.name for field in fields(kind)}
    assert [entry.key for entry in told.values() if not entry.meaning] == []
    built = kind()
    for key in ("batch", "learning_rate", "kind"):
        if key in told:
            assert told[key].default == str(getattr(built, key))


def test_explain_tells_a_kind_with_every_option() -> None:
    told = relay("explain", "grpo")
    assert told.exit_code == 0
    assert told.output.startswith("grpo\n  Trains on rewards of the model's own completions")
    assert [field.name for field in fields(options.Grpo) if f"\n  {field.name}  " not in told.output] == []
    assert "num_generations  whole number from 2; default 8" in told.output


def test_explain_tells_a_key_and_what_is_inside_it() -> None:
    told = relay("explain", "session.margin_s").output
    assert told.startswith(
        "  session.margin_s  number from 0; default a tenth of the limit, at most 35\n      Seconds before"
    )
    assert [
        name for name in SessionLimits.model_fields if f"session.{name}" not in relay("explain", "session").output
    ] == []
    assert "model" in relay("explain", "model").output
    assert "mesh_fsdp" in relay("explain", "model").output


@pytest.mark.parametrize("name", ["grpo.beta", "beta", "stages[3].options.beta"])
def test_explain_finds_an_option_by_its_name_and_as_a_mistake_names_it(name: str) -> None:
    told = json.loads(relay("explain", name, "--json").output)
    assert [entry["key"] for entry in told["entries"]] == [
        "grpo.beta" if name == "grpo.beta" else "grpo.beta, continued.beta"
    ]
    assert told["entries"][0]["default"] == "0.04"


def test_explain_alone_lists_kinds_and_keys() -> None:
    told = relay("explain")
    assert told.exit_code == 0
    for name in [*KINDS, "module:function", *(entry.key for entry in keys())]:
        assert f"\n  {name}" in told.output


@pytest.mark.slow
def test_every_name_that_a_shell_completes_is_explained() -> None:
    for name in names():
        assert relay("explain", name).exit_code == 0, name


@pytest.mark.parametrize(
    ("wrong", "meant"), [("gpro", "grpo"), ("session.margin", "session.margin_s"), ("lerning_rate", "learning_rate")]
)
def test_a_misspelt_name_gets_a_suggestion(wrong: str, meant: str) -> None:
    told = relay("explain", wrong)
    assert told.exit_code == 2
    assert told.stderr == f"relay: {wrong} is no kind of stage, no key and no option: did you mean {meant}?\n"


def test_a_name_like_no_other_is_sent_to_the_list() -> None:
    told = relay("explain", "zzzzzzzz")
    assert (told.exit_code, told.stderr.count("\n")) == (2, 1)
    assert "relay explain, alone, lists all there is" in told.stderr


def test_a_stage_of_the_users_own_is_explained_without_running_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("walk.py").write_text(
        'raise SystemExit\ndef train(context):\n    """Walks."""\ndef bare(): ...\n', encoding="utf-8"
    )
    assert relay("explain", "walk:train").output == "walk:train\n  Walks.\n"
    assert relay("explain", "walk.py:train").output == "walk.py:train\n  Walks.\n"
    assert "give it a docstring" in relay("explain", "walk:bare").output
    for wrong, said in (("walk:trian", "did you mean train?"), ("wlak:train", "there is no wlak.py in")):
        told = relay("explain", wrong)
        assert told.exit_code == 2
        assert said in told.stderr
    Path("walk.py").write_text("def train(:\n", encoding="utf-8")
    assert "is not Python" in relay("explain", "walk:train").stderr


@pytest.mark.slow
def test_the_schema_goes_into_a_file_and_over_an_older_one_but_over_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "pipeline.schema.json"
    for _ in range(2):
        told = relay("schema", "--output", str(target))
        assert told.exit_code == 0
        assert f"# yaml-language-server: $schema={target}" in told.output
    assert target.read_text(encoding="utf-8") == relay("schema").output
    notes = tmp_path / "notes.txt"
    notes.write_text("dear", encoding="utf-8")
    for place in (notes, tmp_path / "none" / "x.json"):
        told = relay("schema", "--output", str(place))
        assert told.exit_code == 2
        assert told.stderr.startswith(f"relay: --output {place}: ")
    assert notes.read_text(encoding="utf-8") == "dear"
