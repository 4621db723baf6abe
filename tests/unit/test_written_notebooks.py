"""A notebook of a pipeline is valid, speaks of nothing but itself, and holds the pipeline's values and code."""

import ast
import json
import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.app.notebook import SIZE_BYTES_MAX, NotebookChoice, write_notebook
from orchestrator.base.errors import BadInput
from orchestrator.cli import main
from orchestrator.pipeline.loader import load
from orchestrator.views.notebook.code_cells import stop_after_s, written
from orchestrator.views.notebook.library import PACKAGE
from orchestrator.views.notebook.story import template
from orchestrator.views.notebook.texts import about_stage
from stages.data.prompts import prompt_of
from stages.options.families import FAMILIES

EXAMPLES = Path(__file__).parents[2] / "examples"
REAL = ("gemma2_2b.yaml", "gemma3_1b.yaml")
"""Examples with names of others: the models of the rest are relay's stand-ins."""

INTERNALS = re.compile(
    r"relay|orchestrator|daemon|laptop|rehears|kaggle_kernels|bootloader|sqlite|custody|session report|session token"
    r"|verify-resume|run id\b|order's|\bfrom stages\b|\bstages\.(data|options|rewards|session|training|stage|contract)",
    re.IGNORECASE,
)
HEADINGS = [
    "Overall training and evaluation strategy",
    "Setup",
    "How the fine-tuning data set is created",
    "The Tunix fine-tuning code",
    "Variables",
    "Inference",
    "Unrestricted mode",
    "Other things",
]


def notebook_of(example: str, folder: Path, **choice: Any) -> Any:
    write_notebook(EXAMPLES / example, NotebookChoice(folder / "train.ipynb", **choice))
    return nbformat.read(folder / "train.ipynb", as_version=4)


@pytest.fixture(scope="module", params=REAL)
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return notebook_of(request.param, tmp_path_factory.mktemp("real"), model_id="me/it-reasons")


def modules(notebook: Any) -> dict[str, str]:
    """The files that the notebook writes, by path."""
    files = [cell.source.partition("\n") for cell in notebook.cells if cell.source.startswith("%%writefile ")]
    return {first.removeprefix("%%writefile "): text for first, _, text in files}


def defined(notebook: Any, name: str) -> Any:
    """The value of a name that a plain cell defines by a literal."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and re.search(rf"^{name} = ", cell.source, re.MULTILINE):
            for node in ast.parse(cell.source).body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
                    return ast.literal_eval(node.value)
    raise AssertionError(f"no cell defines {name}")


# --- the document ------------------------------------------------------------


def test_a_notebook_is_valid_and_small_enough_for_kaggle(real: Any) -> None:
    nbformat.validate(real)
    assert (real.nbformat, real.nbformat_minor) == (4, 5)
    assert real.metadata.kernelspec.name == "python3"
    assert real.metadata.kaggle.accelerator == "tpuV5e8" and real.metadata.kaggle.isInternetEnabled
    assert len(nbformat.writes(real).encode()) < 0.8 * SIZE_BYTES_MAX


def test_a_notebook_holds_no_word_of_relays_internals(real: Any) -> None:
    found = [(cell.id, line) for cell in real.cells for line in cell.source.splitlines() if INTERNALS.search(line)]
    assert found == []


def test_a_notebook_has_the_headings_that_judges_look_for_in_their_order(real: Any) -> None:
    titles = [line for cell in real.cells for line in cell.source.splitlines() if cell.cell_type == "markdown"]
    assert [line.removeprefix("## ") for line in titles if line.startswith("## ")] == HEADINGS


@pytest.mark.slow
def test_the_same_pipeline_gives_the_same_notebook(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        notebook_of("gemma2_2b.yaml", tmp_path / name)
    assert (tmp_path / "one/train.ipynb").read_bytes() == (tmp_path / "other/train.ipynb").read_bytes()


@pytest.mark.parametrize(("limit_s", "hours"), [(9 * 3600, 8 + 1 / 3), (12 * 3600, 11 + 1 / 3), (5400, 1.389)])
def test_a_session_stops_itself_forty_minutes_before_the_limit_of_nine_hours(limit_s: float, hours: float) -> None:
    assert stop_after_s(limit_s) / 3600 == pytest.approx(hours, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("expect", "said"),
    [
        ("{}", "All of it is expected to fit into one session of 9 hours. If"),
        ("{step_s: {grpo: 10}}", "All of it is expected to fit into one session of 9 hours. If"),
        ("{step_s: {grpo: 10000}}", "All of it is expected to take up to 2 sessions of 9 hours. If"),
    ],
)
def test_the_introduction_says_how_many_sessions_it_takes_if_the_pipeline_says_how_long_steps_are(
    expect: str, said: str, tmp_path: Path
) -> None:
    path = pipeline_at(tmp_path, GRPO.replace("steps: 1", "steps: 4") + f"expect: {expect}\n")
    write_notebook(path, NotebookChoice(tmp_path / "n.ipynb"))
    assert said in nbformat.read(tmp_path / "n.ipynb", as_version=4).cells[0].source


# --- its code ----------------------------------------------------------------


def test_every_name_that_a_module_imports_from_the_notebooks_package_exists(real: Any) -> None:
    files = modules(real)
    assert len(files) > 60
    for path, text in files.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
                for alias in node.names:
                    assert exists(str(node.module), alias.name, files), f"{path}: {node.module}.{alias.name}"


def exists(module: str, name: str, files: dict[str, str]) -> bool:
    stem = module.replace(".", "/")
    if any(f"{stem}/{name}{end}" in files for end in (".py", "/__init__.py")):
        return True
    text = files.get(f"{stem}.py") or files.get(f"{stem}/__init__.py", "")
    return (
        re.search(rf"^(?:class |def )?{name}\b|^from .* import .*\b{name}\b|^    {name},$", text, re.MULTILINE)
        is not None
    )


def test_plain_cells_are_python(real: Any) -> None:
    for cell in real.cells:
        if cell.cell_type == "code" and not cell.source.startswith("%%"):
            ast.parse(cell.source)


@pytest.mark.parametrize(("example", "equal_bits"), [("gemma3_1b_t4.yaml", True), ("gemma3_1b.yaml", False)])
def test_a_notebook_for_a_gpu_asks_it_for_equal_bits_before_jax_is_imported_as_sessions_do(
    example: str, equal_bits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"XLA_FLAGS": "--xla_dump_to=/d"}
    monkeypatch.setattr(os, "environ", environ)
    cells = [cell.source for cell in notebook_of(example, tmp_path).cells if cell.cell_type == "code"]
    first = next(number for number, source in enumerate(cells) if "STARTED_S = " in source)
    assert not any("import jax" in source for source in cells[: first + 1])
    exec(compile(cells[first], "cell", "exec"), {})
    assert ("--xla_gpu_deterministic_ops=true" in environ["XLA_FLAGS"].split()) is equal_bits
    assert "--xla_dump_to=/d" in environ["XLA_FLAGS"]
    assert environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION") == ("0.92" if equal_bits else None)


def test_every_stage_is_called_in_the_pipelines_order(real: Any) -> None:
    calls = re.findall(r'^training\.run\(([\'"])(.+?)\1', "\n".join(cell.source for cell in real.cells), re.MULTILINE)
    pipeline = load(EXAMPLES / ("gemma2_2b.yaml" if len(calls) > 8 else "gemma3_1b.yaml"))
    assert [name for _, name in calls] == [stage.name for stage in pipeline.stages]


# --- its values --------------------------------------------------------------


@pytest.mark.slow
def test_the_cell_of_variables_holds_what_the_pipeline_trains_with(tmp_path: Path) -> None:
    notebook = notebook_of("gemma2_2b.yaml", tmp_path)
    names = [
        "TEMPERATURE",
        "TOP_K",
        "TOP_P",
        "MAX_GENERATION_STEPS",
        "INF_TEMPERATURE",
        "INF_TOP_K",
        "INF_TOP_P",
        "SEED",
    ]
    assert [defined(notebook, name) for name in names] == [0.9, 50, 1.0, 768, 0, 1, None, 0]
    assert defined(notebook, "REASONING_START") == "<reasoning>" and defined(notebook, "SOLUTION_END") == "</answer>"
    system = defined(notebook, "SYSTEM_PROMPT")
    asked = defined(notebook, "TEMPLATE").format(system_prompt=system, question="1 + 1?")
    assert system and asked == prompt_of("1 + 1?", system)


@pytest.mark.slow
def test_the_pipelines_cell_gives_every_stage_its_options(tmp_path: Path) -> None:
    notebook = notebook_of("gemma2_2b.yaml", tmp_path)
    (cell,) = [cell.source for cell in notebook.cells if "\nSTAGES = (" in cell.source]
    calls = [node for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Call)]
    found = [{word.arg: ast.literal_eval(word.value) for word in call.keywords} for call in calls]
    specs = load(EXAMPLES / "gemma2_2b.yaml").specs
    assert found == [{"name": s.name, "kind": s.kind, "steps": s.steps, "options": s.options} for s in specs]


def test_the_kaggle_model_of_the_unrestricted_mode_is_named(real: Any) -> None:
    assert defined(real, "unrestricted_kaggle_model") == "me/it-reasons"


@given(st.text(max_size=20), st.text(max_size=20), st.sampled_from(list(FAMILIES)))
def test_a_template_gives_the_prompt_that_training_used(system: str, question: str, kind: str) -> None:
    assert template(system, kind).format(system_prompt=system, question=prompt_question(question)) == prompt_of(
        question, system, kind
    )


def prompt_question(question: str) -> str:
    """A question as training escapes and strips it."""
    return (
        prompt_of(question, "")
        .removeprefix("<start_of_turn>user\n")
        .removesuffix("<end_of_turn>\n<start_of_turn>model\n")
    )


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=12), inner, max_size=5),
    max_leaves=20,
)


@pytest.mark.slow
@given(VALUES)
def test_a_written_value_is_read_as_the_same_value(value: Any) -> None:
    assert ast.literal_eval(written(value, 4)) == value


# --- the user's own code, and refusals ---------------------------------------

OWN = "from stages.data.order import derive_seed\nfrom stages.stage import StageFailed\n\ndef longer(prompts, completions, **_):\n    return [1.0] * len(completions)\n"


def pipeline_at(folder: Path, stages: str, model: str = "{kind: gemma2-2b}", own: str = OWN) -> Path:
    (folder / "own_reward.py").write_text(own)
    (folder / "p.yaml").write_text(f"name: p\nmodel: {model}\nstages:\n{stages}")
    return folder / "p.yaml"


GRPO = "  - {name: grpo, kind: grpo, steps: 1, options: {rewards: {'own_reward:longer': 1.0}}}\n"


@pytest.mark.slow
def test_the_users_own_module_is_a_cell_that_imports_from_the_notebooks_package(tmp_path: Path) -> None:
    write_notebook(pipeline_at(tmp_path, GRPO), NotebookChoice(tmp_path / "n.ipynb"))
    text = modules(nbformat.read(tmp_path / "n.ipynb", as_version=4))["own_reward.py"]
    assert text.startswith(f"from {PACKAGE}.data.order import derive_seed\nfrom {PACKAGE}.stage import StageFailed\n")


@pytest.mark.slow
def test_a_stage_of_the_users_own_is_a_cell_and_a_call(tmp_path: Path) -> None:
    own = "from stages.stage import Context\n\ndef train(context: Context) -> None: ...\ndef longer(**_): ...\n"
    path = pipeline_at(tmp_path, GRPO + "  - {name: mine, kind: 'own_reward:train', steps: 2}\n", own=own)
    write_notebook(path, NotebookChoice(tmp_path / "n.ipynb"))
    notebook = nbformat.read(tmp_path / "n.ipynb", as_version=4)
    assert modules(notebook)["own_reward.py"].startswith(f"from {PACKAGE}.stage import Context\n")
    assert [cell.source for cell in notebook.cells if '"mine", own_reward.train' in cell.source]


@pytest.mark.slow
def test_a_stage_that_needs_relay_and_changes_no_weight_is_left_out_and_told(tmp_path: Path) -> None:
    path = pipeline_at(tmp_path, GRPO + "  - {name: out, kind: export, steps: 1}\n")
    said = write_notebook(path, NotebookChoice(tmp_path / "n.ipynb"))
    assert "left out: stage out" in said
    assert "training.run('out'" not in (tmp_path / "n.ipynb").read_text()


REFUSED = {
    "nothing trains": ("  - {name: count, kind: counting, steps: 1}\n", {}, "a notebook has nothing to show"),
    "counting among others": (GRPO + "  - {name: count, kind: counting, steps: 1}\n", {}, "kind counting"),
    "a folder of this machine": (GRPO, {"model": "{kind: gemma2, source: /home/me/gemma}"}, "a folder of this machine"),
    "what a session only has": (
        GRPO,
        {"own": "from stages.session.budget import Budget\ndef longer(*_, **__): ...\n"},
        "own_reward.py imports stages.session.budget, which exists in relay's sessions only",
    ),
    "a name that a session only has": (
        GRPO,
        {"own": "from stages.contract import Manifest, Cursor\ndef longer(*_, **__): ...\n"},
        "own_reward.py imports stages.contract.Manifest, which exists in relay's sessions only",
    ),
    "a module that nobody has": (
        GRPO,
        {"own": "from stages.data.odd import Odd\ndef longer(*_, **__): ...\n"},
        "own_reward.py imports stages.data.odd, which",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_pipeline_that_no_notebook_can_show_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    stages, changes, reason = REFUSED[name]
    with pytest.raises(BadInput, match=re.escape(reason)):
        write_notebook(pipeline_at(tmp_path, stages, **changes), NotebookChoice(tmp_path / "n.ipynb"))
    assert not (tmp_path / "n.ipynb").exists()


TWO = (
    "  - {name: before, kind: evaluate, steps: %d, options: {data: [gsm8k], batch: 10}}\n"
    "  - {name: grpo, kind: grpo, steps: 1, options: {data: [gsm8k]}}\n"
    "  - {name: after, kind: evaluate, steps: 5, options: {data: [gsm8k], batch: 10}}\n"
)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (5, "Every evaluation asks the same problems."),
        (2, "Evaluations ask different numbers of problems: this one the first 20 of the same problems."),
    ],
)
def test_evaluations_are_said_to_ask_the_same_problems_only_if_they_do(steps: int, said: str, tmp_path: Path) -> None:
    stages = load(pipeline_at(tmp_path, TWO % steps)).specs
    assert said in about_stage(stages[0], stages)


@pytest.mark.slow
def test_the_stand_in_of_a_rehearsal_is_named_as_a_model_that_nobody_can_attach(tmp_path: Path) -> None:
    said = write_notebook(EXAMPLES / "tiny.yaml", NotebookChoice(tmp_path / "n.ipynb"))
    assert "the model relay/tiny-gemma2/flax/base/1 is a stand-in of rehearsals, which nobody can attach" in said


def test_a_notebook_speaks_of_one_version_of_tunix(real: Any) -> None:
    assert [path for path, text in modules(real).items() if "0.1.5" in text] == []


# --- the command -------------------------------------------------------------


@pytest.mark.slow
def test_the_command_overwrites_a_file_only_if_forced(tmp_path: Path) -> None:
    target = tmp_path / "n.ipynb"
    target.write_text("mine")
    command = ["notebook", str(EXAMPLES / "tiny.yaml"), "-o", str(target)]

    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 2 and "exists already" in refused.output and target.read_text() == "mine"

    done = CliRunner().invoke(main, [*command, "--force", "--title", "Small steps"])
    assert done.exit_code == 0, done.output
    assert json.loads(target.read_text())["cells"][0]["source"][0] == "# Small steps\n"


def test_a_kaggle_model_has_an_owner_and_a_name(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        main, ["notebook", str(EXAMPLES / "tiny.yaml"), "-o", str(tmp_path / "n.ipynb"), "--model", "mine"]
    )
    assert done.exit_code == 2 and "--model mine: name a Kaggle Model as owner/name" in done.output
