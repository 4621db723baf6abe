"""The notebook of a pipeline computes, without relay, what relay's own chain computes: bit for bit, however often it is cut."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

from orchestrator.app.notebook import NotebookChoice, write_notebook
from orchestrator.pipeline.environments import DEFAULT, lock_of, pins_of
from stages.contract import StageSpec
from stages.session import packages
from stages.session.package_lock import PackageLock
from tests.training.harness import ANSWERS, ROLLOUTS, SMALL, Chain, Record, shared_inputs, unmeasured

pytestmark = pytest.mark.slow

REWARD = '''"""A reward of the user's own."""


def even(prompts, completions, **columns):
    return [float(sum(completion.encode()) % 2 == 0) for completion in completions]
'''

LEARN = {**ROLLOUTS, "rewards": {"structure": 0.5, "own_reward:even": 1.0}}
STAGES: list[dict[str, Any]] = [
    {
        "name": "sft",
        "kind": "sft",
        "steps": 3,
        "options": {"data": ["magpie", "ultrafeedback"], "batch": 8, "max_seq_length": 96},
    },
    {"name": "before", "kind": "evaluate", "steps": 2, "options": {**ANSWERS, "batch": 4}},
    {"name": "grpo", "kind": "grpo", "steps": 3, "options": LEARN},
    {
        "name": "curate",
        "kind": "curate",
        "steps": 2,
        "options": {**ANSWERS, "batch": 3, "num_generations": 2, "hard_min": 4},
    },
    {"name": "continued", "kind": "continued", "steps": 2, "options": LEARN},
    {"name": "after", "kind": "evaluate", "steps": 2, "options": {**ANSWERS, "batch": 4}},
]
MODEL = {"kind": "gemma2", "source": SMALL["gemma2"], "system": ""}


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("pipeline")
    (folder / "own_reward.py").write_text(REWARD)
    (folder / "small.yaml").write_text(yaml.safe_dump({"name": "small", "seed": 7, "model": MODEL, "stages": STAGES}))
    write_notebook(folder / "small.yaml", NotebookChoice(folder / "small.ipynb"))
    return nbformat.read(folder / "small.ipynb", as_version=4)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """What relay's own chain of the same stages computes."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_reward.py").write_text(REWARD)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        return Chain(tuple(StageSpec.from_dict(stage) for stage in STAGES), MODEL, 7).run(folder / "run")


def execute(notebook: Any, working: Path, inputs: Path, **environ: str) -> str:
    """Run all cells as on Kaggle; the answer is what they print."""
    working.mkdir(parents=True)
    fresh = copy.deepcopy(notebook)
    client = NotebookClient(
        fresh,
        timeout=400,
        kernel_name="python3",
        resources={"metadata": {"path": str(working)}},
        store_widget_state=False,
    )
    home = working.parent / f"{working.name}-home"
    home.mkdir()
    client.execute(
        env={
            **os.environ,
            "HOME": str(home),
            "MPLBACKEND": "agg",
            "PYTHONPATH": str(recording_pip(home)),
            "ZERO_COST_INPUT": str(inputs),
            "ZERO_COST_WORKING": str(working),
            "ZERO_COST_SCRATCH": str(home / "scratch"),
            **environ,
        }
    )
    return "".join(output.get("text", "") for cell in fresh.cells for output in cell.get("outputs", ()))


def recording_pip(folder: Path) -> Path:
    """A pip that installs nothing and appends its arguments, and the file of requirements, to `pip.txt`."""
    (folder / "path" / "pip").mkdir(parents=True)
    (folder / "path" / "pip" / "__init__.py").touch()
    (folder / "path" / "pip" / "__main__.py").write_text(
        "import sys, pathlib\n"
        f"with open({str(folder / 'pip.txt')!r}, 'a') as file:\n"
        "    print(*sys.argv[1:], file=file)\n"
        "    if '--requirement' in sys.argv:\n"
        "        print(pathlib.Path(sys.argv[-1]).read_text(), file=file)\n"
    )
    return folder / "path"


def installed_by(notebook: Any, folder: Path, *, python: str = "") -> tuple[str, str]:
    """What the notebook's first cells print and tell pip; on a machine whose Python the lock is for, if it is named."""
    first = [cell.source for cell in notebook.cells if cell.cell_type == "code"][:2]
    text = "\n".join(first).replace(
        "LOCKED_PYTHON = '3.12'", f"LOCKED_PYTHON = {python!r}" if python else "LOCKED_PYTHON = '2.7'"
    )
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(recording_pip(folder)), "ZERO_COST_SCRATCH": str(folder / "scratch")},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, (folder / "pip.txt").read_text()


def test_the_notebook_installs_every_package_of_the_lock_with_its_hashes(notebook: Any, tmp_path: Path) -> None:
    lock = PackageLock.parse(lock_of(DEFAULT, "tpu"))
    said, told = installed_by(notebook, tmp_path, python=packages.python_version())
    assert said.startswith(f"All {len(lock.packages)} packages have the versions of the lock")
    assert told.startswith("install --quiet --no-deps --require-hashes --requirement ")
    assert lock.requirements(lock.all_pins) in told


def test_the_notebook_says_why_it_does_not_use_the_lock(notebook: Any, tmp_path: Path) -> None:
    said, told = installed_by(notebook, tmp_path)
    assert said.startswith("No lock is used, since it is for Python 2.7, and this is ")
    assert told.splitlines()[0] == " ".join(["install --quiet", *pins_of(DEFAULT, "tpu")])


def saved(working: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The only checkpoint of an output, and the metrics of each step that it holds."""
    (folder,) = (working / "checkpoints").iterdir()
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return json.loads((folder / "checkpoint.json").read_text()), [json.loads(line) for line in lines]


def exact(rows: list[dict[str, Any]]) -> Mapping[str, dict[str, str]]:
    found = ((f"{row.pop('stage')}-{row.pop('step')}", row) for row in rows)
    return {name: {metric: float(value).hex() for metric, value in row.items()} for name, row in found}


def test_the_notebook_computes_the_same_weights_as_relays_chain(notebook: Any, chain: Record, tmp_path: Path) -> None:
    said = execute(notebook, tmp_path / "working", shared_inputs())

    checkpoint, rows = saved(tmp_path / "working")
    assert (checkpoint["stage"], checkpoint["step"]) == ("after", 2)
    assert checkpoint["digests"] == chain.digests["after-2"]
    assert exact(rows) == {name: unhexed(metrics) for name, metrics in chain.metrics.items()}
    assert "Question: " in said and said.endswith("finished\n")
    assert (tmp_path / "working" / "curves.png").stat().st_size > 1000


def unhexed(metrics: Mapping[str, str]) -> dict[str, str]:
    return {name: metrics[name] for name in unmeasured(dict.fromkeys(metrics, 0.0))}


JUDGED = """
from tunix_zero_cost.rewards import correctness_reward, judge_counts

given = ["<reasoning>r</reasoning><answer>(x+1)^2</answer>", "<reasoning>r</reasoning><answer>def f(x): return x + 1</answer>"]
print(correctness_reward([], given, answer=["x^2+2x+1", '{"setup": "", "tests": ["assert f(1) == 2"]}'], domain=["math", "python"]))
print(correctness_reward([], given, answer=["x^2+2x", '{"setup": "", "tests": ["assert f(1) == 3"]}'], domain=["math", "python"]))
print(judge_counts()["started"])
"""


def test_the_notebooks_rewards_judge_mathematics_and_python(notebook: Any, tmp_path: Path) -> None:
    """The judges are processes of their own, which have to find the notebook's package."""
    for cell in notebook.cells:
        first, _, text = cell.source.partition("\n")
        if first.startswith("%%writefile "):
            path = tmp_path / first.removeprefix("%%writefile ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    done = subprocess.run([sys.executable, "-c", JUDGED], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["[1.0, 1.0]", "[0.0, 0.0]", "2"], done.stderr


def test_a_notebook_whose_time_is_up_goes_on_from_its_own_output_to_the_same_weights(
    notebook: Any, chain: Record, tmp_path: Path
) -> None:
    """The first session has time for nothing but one step. The second one has no model mounted and takes kagglehub's."""
    first = execute(notebook, tmp_path / "first", shared_inputs(), ZERO_COST_STOP_AFTER_S="0")
    assert saved(tmp_path / "first")[0]["step"] == 1
    assert "grpo: the time of this session is up" in first and first.endswith(
        "run again with this output as an input\n"
    )
    assert "Answers of the model after step 1 of the stage sft:" in first and "Question: " in first

    inputs = mounted(tmp_path / "inputs", tmp_path / "first")
    cache = downloaded(inputs, tmp_path / "cache")
    second = execute(notebook, tmp_path / "second", inputs, KAGGLEHUB_CACHE=str(cache))

    assert "Going on after step 1 of sft" in second and second.endswith("finished\n")
    assert saved(tmp_path / "second")[0]["digests"] == chain.digests["after-2"]


def mounted(inputs: Path, output: Path) -> Path:
    """The usual inputs, and the output of an earlier run of the notebook."""
    inputs.mkdir()
    for entry in shared_inputs().iterdir():
        os.link(entry, inputs / entry.name) if entry.is_file() else copied(entry, inputs / entry.name)
    copied(output, inputs / "notebooks" / "me" / "zero-cost")
    return inputs


def downloaded(inputs: Path, cache: Path) -> Path:
    """The mounted model, moved to where kagglehub keeps what it has downloaded."""
    model = cache / "models" / MODEL["source"]
    model.parent.mkdir(parents=True)
    (inputs / "models" / MODEL["source"]).rename(model)
    model.with_name(f"{model.name}.complete").touch()
    return cache


def copied(folder: Path, to: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            (to / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            os.link(path, to / path.relative_to(folder))
