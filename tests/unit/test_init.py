"""relay init: every choice gives a pipeline that relay accepts, is the example but for what was chosen, and keeps its comments."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import main
from orchestrator.pipeline import loader
from orchestrator.pipeline.environments import HARDWARE
from orchestrator.pipeline.examples import bundled, example
from orchestrator.pipeline.init.answers import GPU, MODELS, ON_GPU, ON_TIMEOUT, RECIPES, ModelExample, WizardAnswers
from orchestrator.pipeline.init.compose import base_of, composed
from orchestrator.pipeline.init.yaml_edit import commented_text, read_commented
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.sections import Expect
from orchestrator.pipeline.summary import outline

EIGHT = [name for name, hardware in HARDWARE.items() if hardware.promise.devices == 8]
LAST = {"sft": "after-sft", "sft+grpo": "after-grpo"}
"""The stage with which a recipe ends; `full` ends where the example does."""

TAUGHT = {"prompt": "What is 1 + 1?", "completion": "<reasoning>one and one</reasoning><answer>2</answer>"}
JUDGED = {"prompt": "What is 2 + 2?", "answer": "4"}


def example_of(model: str) -> Pipeline:
    return loader.load(example(MODELS[model].example))


def relay_init(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["init", *arguments])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems(path: Path, *kinds: dict[str, str]) -> Path:
    lines = [{**kind, "prompt": f"{kind['prompt']} ({number})"} for number in range(40) for kind in kinds]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "recipe", "accelerator", "on_timeout"), list(itertools.product(MODELS, RECIPES, EIGHT, ON_TIMEOUT))
)
def test_every_choice_gives_the_example_but_for_what_was_chosen(
    tmp_path: Path, model: str, recipe: str, accelerator: str, on_timeout: str
) -> None:
    answers = WizardAnswers(name="mine", model=model, recipe=recipe, accelerator=accelerator, on_timeout=on_timeout)
    made = loader.parse(composed(answers, tmp_path / "mine.yaml"), "mine.yaml", tmp_path)
    original = example_of(model)
    names = [stage.name for stage in original.stages]
    kept = names[: names.index(LAST[recipe]) + 1] if recipe in LAST else names
    chosen: dict[str, Any] = {"name": "mine", "accelerator": accelerator, "on_timeout": on_timeout}
    stages = original.stages[: len(kept)]
    known = {*kept, *(stage.kind for stage in stages)}
    expected = {name: step_s for name, step_s in original.expect.step_s.items() if name in known}
    chosen |= {"expect": original.expect.model_copy(update={"step_s": expected})}
    if kind := MODELS[model].kind:  # the times of the example hold for its own model
        replaced = {**original.model, "kind": kind, "source": MODELS[model].source}
        chosen |= {"model": replaced, "expect": Expect()}
    assert made == original.model_copy(update={**chosen, "stages": stages})
    assert outline(made)["total_steps"] == made.total_steps


@pytest.mark.parametrize("model", list(ON_GPU))
def test_two_gpus_get_a_recipe_of_their_own(tmp_path: Path, model: str) -> None:
    answers = WizardAnswers(name="mine", model=model, recipe="full", accelerator=GPU)
    made = loader.parse(composed(answers, tmp_path / "mine.yaml"), "mine.yaml", tmp_path)
    original = loader.load(example("gemma3_1b_t4.yaml"))
    replaced = {**original.model, "kind": MODELS[model].kind, "source": MODELS[model].source}
    chosen = {"model": replaced} if MODELS[model].kind else {}
    assert made == original.model_copy(update={"name": "mine", "on_timeout": made.on_timeout, **chosen})
    assert made.model["mesh_fsdp"] == HARDWARE[GPU].promise.devices == 2
    assert made.model["dtype"] == "float32", "a T4 has no units for bfloat16"
    assert (made.slot, made.hours_per_week) == ("gpu", 30)


@pytest.mark.parametrize("spelling", ["T4", "t4x2", "GPU T4 x2", "gpu", "NvidiaTeslaT4", "nvidia-tesla-t4", "2×T4"])
def test_every_spelling_of_the_gpus_gives_their_recipe(folder: Path, spelling: str) -> None:
    done = relay_init("mine.yaml", "--accelerator", spelling, "--recipe", "sft")
    assert done.exit_code == 0, done.output
    made = loader.load(folder / "mine.yaml")
    assert (made.accelerator, made.model["kind"]) == (GPU, "gemma3-1b")


@pytest.mark.parametrize("base", list(MODELS.values()), ids=list(MODELS))
def test_an_example_that_is_read_and_written_is_the_same_text(base: ModelExample) -> None:
    text = example(base.example).read_text(encoding="utf-8")
    assert commented_text(read_commented(text)) == text


@pytest.mark.parametrize("model", list(MODELS))
def test_every_comment_stands_in_an_example_beside_the_same_words(tmp_path: Path, model: str) -> None:
    base = MODELS[model]
    known = [
        line.partition("# ")
        for name in filter(None, (base.example, base.explained_by))
        for line in example(name).read_text(encoding="utf-8").splitlines()
    ]
    beside = {(code.strip(), comment) for code, _, comment in known}
    text = composed(WizardAnswers(name=example_of(model).name, model=model, recipe="full"), tmp_path / "mine.yaml")
    body = text[text.index("\nname:") :].splitlines()
    commented = [line.partition("# ") for line in body if "# " in line]
    assert len(commented) >= 15
    assert [line for line in commented if (line[0].strip(), line[2]) not in beside] == []


def test_the_smaller_model_is_explained_as_fully_as_the_one_whose_comments_it_refers_to() -> None:
    of_its_own = example("gemma3_1b.yaml").read_text(encoding="utf-8").count("# ")
    assert commented_text(base_of("gemma3-1b")).count("# ") > of_its_own + 10


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name, base in MODELS.items() if base.on_kaggle])
def test_the_licence_that_has_to_be_accepted_stands_in_the_file(tmp_path: Path, model: str) -> None:
    text = composed(WizardAnswers(name="mine", model=model), tmp_path / "mine.yaml")
    asks = "licence on Kaggle" in " ".join(line.lstrip("# ") for line in text.splitlines())
    assert asks == (not model.startswith("qwen")), (
        "Qwen's small models are under Apache 2.0, which nobody has to accept"
    )


@pytest.mark.slow
def test_own_problems_take_the_place_of_the_sets_where_they_are_of_use(folder: Path) -> None:
    problems(folder / "mine.jsonl", TAUGHT, JUDGED)
    assert relay_init("a.yaml", "--recipe", "full", "--data", "mine.jsonl").exit_code == 0
    made = loader.load(folder / "a.yaml")
    assert made.inputs.files == ("mine.jsonl",)
    assert {tuple(stage.options["data"]) for stage in made.stages} == {("mine.jsonl",)}


def test_own_problems_without_solutions_leave_sft_its_sets(folder: Path) -> None:
    problems(folder / "odd name, really.jsonl", JUDGED)
    (folder / "deep").mkdir()
    assert relay_init("deep/a.yaml", "--data", "odd name, really.jsonl").exit_code == 0
    made = loader.load(folder / "deep" / "a.yaml")
    assert made.inputs.files == ("../odd name, really.jsonl",)
    found = {stage.kind: stage.options["data"] for stage in made.stages}
    assert found["sft"] == ["magpie:5000", "ultrafeedback:1000"]
    assert found["grpo"] == found["evaluate"] == ["odd name, really.jsonl"]


def test_without_a_terminal_nothing_is_asked_and_the_defaults_hold(folder: Path) -> None:
    done = relay_init()
    assert done.exit_code == 0, done.output
    made = loader.load(folder / "gemma2-2b.yaml")
    original = example_of("gemma2-2b")
    assert made == original.model_copy(update={"stages": made.stages, "expect": made.expect})
    assert made.stages[-1].name == "after-grpo"
    told = done.output.splitlines()
    assert [line.strip() for line in told[told.index("next:") + 1 :]] == [
        "relay check gemma2-2b.yaml",
        "relay plan gemma2-2b.yaml",
        "relay rehearse gemma2-2b.yaml --short",
        "relay start gemma2-2b.yaml",
    ]


def test_a_model_that_kaggle_does_not_have_is_to_be_rehearsed_and_not_started(folder: Path) -> None:
    done = relay_init("try.yaml", "--model", "tiny")
    assert "relay rehearse try.yaml" in done.output
    assert "relay start" not in done.output


@pytest.mark.slow
def test_the_name_follows_the_file_where_it_can(folder: Path) -> None:
    assert relay_init("My_Maths.yaml").exit_code == 0
    assert loader.load(folder / "My_Maths.yaml").name == "my-maths"
    assert relay_init("2026.yaml").exit_code == 0
    assert loader.load(folder / "2026.yaml").name == "gemma2-2b"


def test_a_name_that_yaml_takes_for_a_boolean_is_written_in_quotes(folder: Path) -> None:
    assert relay_init("on.yaml").exit_code == 0
    assert loader.load(folder / "on.yaml").name == "on"


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_comments_stay_beside_the_lines_that_are_not_changed(folder: Path, recipe: str) -> None:
    """All comments of the lines that the example and the result share, own data or not, whatever the recipe."""
    problems(folder / "mine.jsonl", TAUGHT, JUDGED)
    assert relay_init("a.yaml", "--recipe", recipe, "--data", "mine.jsonl").exit_code == 0
    made = (folder / "a.yaml").read_text(encoding="utf-8").splitlines()
    lines = example("gemma2_2b.yaml").read_text(encoding="utf-8").splitlines()
    commented = {line.partition(" #")[0].rstrip(): line for line in lines if " #" in line}
    kept = [line for line in made if line.partition(" #")[0].rstrip() in commented]
    assert len(kept) >= 25
    assert [line for line in kept if line not in lines and "name: mine" not in line] == []


def test_a_file_that_is_there_is_never_written_over_unless_asked_to(folder: Path) -> None:
    (folder / "mine.yaml").write_text("dear to me\n", encoding="utf-8")
    for arguments in (["mine.yaml"], ["--name", "mine"]):
        refused = relay_init(*arguments)
        assert refused.exit_code == 2
        assert "mine.yaml is there already" in refused.output
        assert "--force" in refused.output
    assert (folder / "mine.yaml").read_text(encoding="utf-8") == "dear to me\n"
    assert relay_init("mine.yaml", "--force").exit_code == 0
    assert loader.load(folder / "mine.yaml").name == "mine"


def test_an_example_is_copied_as_it_is_with_the_files_that_it_needs(folder: Path) -> None:
    assert relay_init("--from", "own_stage").exit_code == 0
    assert relay_init("my.yaml", "--from", "tiny", "--name", "my-tiny").exit_code == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "my.faults.yaml",
        "my.yaml",
        "own_stage.py",
        "own_stage.yaml",
    ]
    assert (folder / "own_stage.yaml").read_text() == example("own_stage.yaml").read_text()
    assert (folder / "my.yaml").read_text() == example("tiny.yaml").read_text().replace("name: tiny", "name: my-tiny")
    assert loader.load(folder / "own_stage.yaml") == loader.load(example("own_stage.yaml"))
    again = relay_init("--from", "own_stage")
    assert again.exit_code == 2
    assert "own_stage.yaml is there already" in again.output


@pytest.mark.parametrize("given", ["counting", "examples/counting.yaml", Path("counting")])
def test_an_examples_name_means_the_example_until_a_file_has_that_name(folder: Path, given: str | Path) -> None:
    (folder / "counting").mkdir()
    assert bundled(Path(given)) == example("counting.yaml")
    (folder / "counting").rmdir()
    (folder / "examples").mkdir()
    for own in ("counting", "examples/counting.yaml"):
        (folder / own).touch()
    assert bundled(Path(given)) == Path(given)


@pytest.mark.parametrize("given", ["mine", "counting.yaml", "elsewhere/counting.yaml", "/counting", "tiny.faults"])
def test_every_other_name_is_a_path(folder: Path, given: str) -> None:
    assert bundled(Path(given)) == Path(given)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "coutning"], "'coutning' is none of relay's examples; did you mean counting?"),
        (["--from", "nonsense"], "'nonsense' is none of relay's examples; they are counting, exact, "),
        (["--from", "tiny", "--model", "gemma3-1b"], "leave out --model, or --from"),
        (["--from", "tiny", "--name", "My Model"], "name 'My Model' becomes part of Kaggle's names"),
        (
            ["--model", "gemma4"],
            "'gemma4' is not a model of relay's examples: use one of gemma2-2b, gemma3-1b, gemma3-270m, ",
        ),
        (["--recipe", "rl"], "'rl' is not a recipe: use one of sft, sft+grpo, full"),
        (["--name", "My Model"], "name 'My Model' becomes part of Kaggle's names"),
        (["--name", "a" * 31], "at most 30"),
        (["--on-timeout", "stop"], "'stop' is not a way to go on after a timeout: use one of resume, park"),
        (
            ["--accelerator", "P100"],
            "'P100' is not an accelerator of Kaggle's: did you mean NvidiaTeslaT4? Use one of cpu",
        ),
        (
            ["--accelerator", "T4x4"],
            "'T4x4' is not an accelerator of Kaggle's: did you mean NvidiaTeslaT4? Use one of cpu",
        ),
        (["--accelerator", "quantum"], "'quantum' is not an accelerator of Kaggle's: use one of cpu, TpuV5E8, "),
        (
            ["--accelerator", "T4", "--model", "gemma2-2b"],
            "no recipe that fits into the two chips of NvidiaTeslaT4: use",
        ),
        (["--accelerator", "cpu"], "cpu does not have the 8 devices that this model is split over"),
        (["--data", "none.jsonl"], "none.jsonl cannot be read: No such file or directory"),
        (["--data", "data.csv"], "data.csv is not called .jsonl"),
        (["--data", "torn.jsonl"], "torn.jsonl, line 2: this is not JSON"),
        (["--data", "few.jsonl"], "too few problems to hold any out: 1"),
        (["--data", "latin.jsonl"], "latin.jsonl is not UTF-8 text"),
        (["--data", "judged.jsonl", "--recipe", "sft"], "no line has completion, which the recipe sft learns from"),
        (["no-such-folder/mine.yaml"], "no-such-folder is not a folder: make it first"),
        (["."], ". is a folder: name a file in it"),
    ],
)
def test_a_choice_that_does_not_fit_is_one_sentence_and_leaves_nothing(
    folder: Path, arguments: list[str], said: str
) -> None:
    problems(folder / "judged.jsonl", JUDGED)
    torn = json.dumps(JUDGED)
    (folder / "torn.jsonl").write_text(f"{torn}\n{torn[:-3]}\n", encoding="utf-8")
    (folder / "few.jsonl").write_text(torn, encoding="utf-8")
    (folder / "latin.jsonl").write_bytes('{"prompt": "é"}'.encode("latin-1"))
    before = sorted(folder.iterdir())
    refused = relay_init(*arguments)
    assert refused.exit_code == 2
    assert refused.output.startswith("relay: ")
    assert said in refused.output
    assert len(refused.output.strip().splitlines()) == 1
    assert sorted(folder.iterdir()) == before
