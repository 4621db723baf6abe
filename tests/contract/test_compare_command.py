"""`relay compare` with runs that a local Kaggle executed: what it says of equal and different ones, and what it refuses."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.base.clock import SystemClock
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS
from orchestrator.rehearsal.local_kaggle.processes import ProcessSandbox
from orchestrator.rehearsal.local_kaggle.rules import Rules
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from tests.contract.test_commands import relay

pytestmark = pytest.mark.slow

COUNTING = """
name: {name}
accelerator: TpuV5E8
seed: {seed}
session: {{limit_s: 10, margin_s: 2, save_interval_s: 1}}
stages:
  - {{name: one, kind: counting, steps: 12, options: {{step_s: 0.05}}}}
  - {{name: two, kind: counting, steps: {steps}, options: {{step_s: {step_s}}}}}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three finished runs: two of the same seed and steps, of which one is slower, and one of another seed."""
    place = tmp_path_factory.mktemp("compare")
    clock = SystemClock()
    root = place / "kaggle"
    with LocalKaggle(root, clock, Rules.brisk(30.0), NO_FAULTS, ProcessSandbox(root, clock)) as kaggle:
        for name, seed, steps, step_s in (("quick", 0, 20, 0.05), ("slow", 0, 20, 0.1), ("other", 1, 8, 0.05)):
            path = place / f"{name}.yaml"
            path.write_text(COUNTING.format(name=name, seed=seed, steps=steps, step_s=step_s), encoding="utf-8")
            done = relay("up", str(path), home=place / "home", environ=kaggle.environment())
            assert done.returncode == 0, done.stderr
    yield place / "home"


def compared(home: Path, *names: str) -> dict[str, object]:
    done = relay("compare", *names, "--json", home=home)
    assert done.returncode == 0, done.stderr
    document: dict[str, object] = json.loads(done.stdout)
    return document


def test_runs_of_one_seed_are_told_to_have_the_same_weights_and_those_of_another_not(home: Path) -> None:
    found = compared(home, "quick", "slow", "other")
    weights = found["weights"]
    assert isinstance(weights, list)
    assert [(one["run"].split("-")[0], one["equal"]) for one in weights] == [("slow", True), ("other", False)]
    assert weights[0]["last_equal"] == {"stage": "two", "step": 20}
    assert weights[1]["last_equal"] is None


def test_the_document_has_what_differs_between_the_pipelines_and_the_hours_of_each(home: Path) -> None:
    found = compared(home, "quick", "slow")
    assert [(row["key"], row["values"]) for row in found["differences"]] == [  # type: ignore[attr-defined]
        ("name", ["quick", "slow"]),
        ("stages.two.options.step_s", [0.05, 0.1]),
    ]
    assert found["format"] == 1
    assert found["path"] is None
    status = json.loads(relay("status", "--json", home=home).stdout)
    sessions = {run["name"]: sum(session["seconds"] for session in run["sessions"]) for run in status["runs"]}
    hours = found["hours"]
    assert isinstance(hours, list)
    assert [one["quota_s"] for one in hours] == pytest.approx([sessions["quick"], sessions["slow"]])
    for one in hours:
        assert sum(stage["quota_s"] for stage in one["stages"]) + one["after_s"] == pytest.approx(
            one["quota_s"], abs=0.01
        )
        assert all(stage["quota_s"] > 0 for stage in one["stages"])
    assert hours[1]["stages"][1]["quota_s"] > 20 * 0.1


def test_the_screen_says_what_cannot_be_compared_instead_of_leaving_it_out(home: Path) -> None:
    done = relay("compare", "quick", "other", home=home)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "different weights; " in said
    assert "stages.two.steps 20 8" in said
    for name in ("quick", "other"):
        assert f"{name}-" in said
        assert any(
            line.strip().startswith(f"{name}-") and line.endswith("has no stage of the kind evaluate")
            for line in done.stdout.splitlines()
        )
    assert "that takes two finished evaluations" in said


def test_a_page_is_written_where_it_is_asked_for_and_named(home: Path, tmp_path: Path) -> None:
    done = relay("compare", "quick", "slow", "--html", "page.html", home=home, cwd=tmp_path, environ=source())
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("page.html holds this comparison with its curves")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert 'data-curve="loss" data-axis="hours"' in text
    document = relay(
        "compare", "quick", "slow", "--html", "page.html", "--json", home=home, cwd=tmp_path, environ=source()
    )
    assert json.loads(document.stdout)["path"] == str((tmp_path / "page.html").resolve())


def source() -> dict[str, str]:
    """What a command in another folder needs to find relay."""
    return {"PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "takes at least two runs"),
        (("quick",), "takes at least two runs"),
        (("quick", "nobody"), "there is no run nobody: the runs are "),
        (("quick", "slow", "quick"), "is named twice"),
        (("quick", "slow", "--html", "."), "--html . is a folder"),
        (("quick", "slow", "--html", "nowhere/page.html"), "there is no folder nowhere"),
    ],
)
def test_bad_input_is_refused_in_one_sentence_with_status_2(home: Path, arguments: tuple[str, ...], said: str) -> None:
    refused = relay("compare", *arguments, home=home, environ=source())
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert said in refused.stderr
    assert refused.stderr.startswith("relay: ")
    assert refused.stderr.count("\n") == 1


def test_the_same_run_by_its_id_and_by_its_pipelines_name_is_named_twice(home: Path) -> None:
    runs = json.loads(relay("status", "--json", home=home).stdout)["runs"]
    name = next(run["id"] for run in runs if run["name"] == "quick")
    refused = relay("compare", "quick", name, home=home)
    assert (refused.returncode, refused.stderr) == (2, f"relay: {name} is named twice: name two different runs\n")
