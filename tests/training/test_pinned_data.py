"""One run trains on one set of rows, wherever Kaggle mounts them: real sessions, each with a layout of its own."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.contract import Cursor, Order, Report
from tests.training.harness import SMALL, shared_inputs, spec, unmeasured
from tests.unit.counting_runs import Kaggle, kaggle, next_order, order

pytestmark = pytest.mark.slow

ROWS = 90
ASKED = {"data": ["gsm8k"], "max_prompt_length": 24, "max_completion_length": 8}
STAGES = (
    spec("sft", "sft", 6, data=["gsm8k:60"], max_seq_length=64, batch=4, mode="lora", lora_rank=2),
    spec("ask", "evaluate", 1, **ASKED, batch=2),
)

FLAT, DEEP, OUTPUT = "{slug}", "datasets/me/{slug}", "notebooks/me/{slug}"


def gsm8k(changed: int | None = None) -> dict[str, bytes]:
    """A small GSM8K of the user's own; one row of either split may be different."""

    def lines(first: int, count: int) -> bytes:
        numbers = range(first, first + count)
        rows = [{"question": f"{n} + 1 = ?", "answer": f"so\n#### {n + 1 + (n == changed)}"} for n in numbers]
        return "".join(json.dumps(row) + "\n" for row in rows).encode()

    return {"gsm8k_train.jsonl": lines(0, ROWS), "gsm8k_test.jsonl": lines(ROWS, 8)}


def mount(world: Kaggle, layout: str, slug: str, files: Mapping[str, bytes]) -> None:
    folder = world.inputs / layout.format(slug=slug)
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def beginning(**changes: Any) -> Order:
    source = str(shared_inputs() / "models" / SMALL["gemma2"])
    usual = {"model": {"kind": "gemma2", "source": source, "system": ""}, "start": Cursor(stage="sft", step=0)}
    return order(**{**usual, "stages": STAGES, **changes})


BY_FILES = {"files": {name: hashlib.sha256(data).hexdigest() for name, data in gsm8k().items()}}


def stand_ins(world: Kaggle, place: str = "stand-in-sets") -> None:
    shutil.copytree(shared_inputs() / "sets", world.inputs / place)


def following(before: Kaggle, asked: Order, world: Kaggle, layout: str = FLAT, **changes: Any) -> Order:
    """The order of the next session, in whose world the checkpoint of the one before is mounted."""
    world.publish(before.folders()[-1], layout.format(slug=f"run-c{asked.session:04d}"))
    return next_order(asked, before.report(), **changes)


def to_its_end(world: Kaggle, asked: Order) -> Report:
    status, report = world.run(asked)
    assert status == 0, (report.cause, report.reason)
    return report


def at(step: int) -> Cursor:
    return Cursor(stage="sft", step=step)


def test_three_sessions_with_three_layouts_train_on_the_users_rows_and_never_on_stand_ins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = kaggle(tmp_path / "whole")
    mount(whole, FLAT, "run-inputs", gsm8k())
    expected = to_its_end(whole, beginning(**BY_FILES))
    capsys.readouterr()

    worlds = [kaggle(tmp_path / name) for name in ("first", "second", "third")]
    made_up = {"train.jsonl": gsm8k(3)["gsm8k_train.jsonl"], "test.jsonl": gsm8k(3)["gsm8k_test.jsonl"]}
    for world, inputs_at, other_at in zip(worlds, (FLAT, DEEP, DEEP), (OUTPUT, FLAT, DEEP), strict=True):
        mount(world, inputs_at, "run-inputs", gsm8k())
        mount(world, other_at, "gsm8k", made_up)
        stand_ins(world)
    first, second, third = worlds
    asked = beginning(**BY_FILES, stop_at=at(2))
    to_its_end(first, asked)
    asked = following(first, asked, second, DEEP, stop_at=at(4))
    to_its_end(second, asked)
    report = to_its_end(third, following(second, asked, third, stop_at=None))

    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("data gsm8k")]
    assert [line.partition("; left out")[0] for line in told] == [
        *["data gsm8k:60: 60 to train on, 8 held out; gsm8k from the pipeline's inputs.files"] * 3,
        f"data gsm8k: {ROWS} to train on, 8 held out; gsm8k from the pipeline's inputs.files",
    ]
    assert expected.checkpoint is not None and report.checkpoint is not None
    assert report.checkpoint.digests == expected.checkpoint.digests
    assert report.stand_ins == ()
    assert unmeasured(report.stages["ask"].metrics) == unmeasured(expected.stages["ask"].metrics)


@pytest.mark.parametrize(
    ("changed", "name"), [(5, "gsm8k train"), (ROWS + 5, "gsm8k held out")], ids=["trained on", "held out"]
)
@pytest.mark.parametrize("ends_at", [at(2), at(6)], ids=["within a stage", "before the next stage"])
def test_a_session_that_finds_other_rows_ends_before_its_first_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: int, name: str, ends_at: Cursor
) -> None:
    """As where the dataset that the pipeline lists got a new version meanwhile."""
    first, second = kaggle(tmp_path / "first"), kaggle(tmp_path / "second")
    mount(first, FLAT, "gsm8k-mine", gsm8k())
    mount(second, DEEP, "gsm8k-mine", gsm8k(changed))
    asked = beginning(datasets=("me/gsm8k-mine",), stop_at=ends_at)
    to_its_end(first, asked)
    asked = following(first, asked, second, stop_at=None)
    capsys.readouterr()
    status, report = second.run(asked)
    assert (status, report.cause, report.transient) == (1, "data-changed", False)
    assert '"event":"step"' not in capsys.readouterr().out and second.folders() == []
    assert report.reason.startswith(f"data: {name} is no longer what this run began with: that had ")
    assert "gsm8k-mine of inputs.datasets has" in report.reason


@pytest.mark.parametrize(
    ("brought", "said"),
    [
        (BY_FILES, "data: gsm8k_train.jsonl, gsm8k_test.jsonl of the pipeline's inputs, for gsm8k, is not mounted"),
        ({"datasets": ("me/gsm8k-mine",)}, "data: me/gsm8k-mine of the pipeline's inputs, for gsm8k, is not mounted"),
    ],
    ids=["files", "a dataset"],
)
def test_stand_ins_do_not_stand_in_for_what_kaggle_failed_to_mount(
    tmp_path: Path, brought: dict[str, Any], said: str
) -> None:
    world = kaggle(tmp_path / "world")
    stand_ins(world)
    status, report = world.run(beginning(**brought))
    assert (status, report.cause, report.transient) == (1, "data-missing", True)
    assert report.reason == f"{said}: relay tries again; if it stays so, look whether Kaggle still has it"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"gsm8k_train.jsonl": b"{}\n"}, "which needs files of the splits train and test in one format"),
        (
            {"gsm8k_train.jsonl": b'{"prompt": "?"}\n', "gsm8k_test.jsonl": b'{"prompt": "?"}\n'},
            "is called after gsm8k and is another set (it has no columns question and answer)",
        ),
    ],
    ids=["half a set", "other columns"],
)
def test_files_that_are_called_after_a_set_and_are_no_copy_of_it_are_refused(
    tmp_path: Path, files: dict[str, bytes], said: str
) -> None:
    world = kaggle(tmp_path / "world")
    stand_ins(world)
    mount(world, FLAT, "run-inputs", files)
    status, report = world.run(
        beginning(files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
    )
    assert (status, report.cause) == (1, "bad-data")
    assert said in report.reason


def test_what_a_stage_says_of_stand_ins_does_not_depend_on_the_stages_before_it_in_the_session(tmp_path: Path) -> None:
    """Else a run that is cut would measure something else than one that is not."""
    stages = (replace(STAGES[0], options={**STAGES[0].options, "data": ["mbpp:9"], "max_seq_length": 128}), STAGES[1])
    whole, first, second = (kaggle(tmp_path / name) for name in ("whole", "first", "second"))
    for world in (whole, first, second):
        stand_ins(world)
        mount(world, DEEP, "run-inputs", gsm8k())
    asked = beginning(**BY_FILES, stages=stages)
    expected = to_its_end(whole, asked)
    cut = replace(asked, stop_at=at(6))
    assert to_its_end(first, cut).stand_ins == expected.stand_ins == ("mbpp",)
    report = to_its_end(second, following(first, cut, second, stop_at=None))
    assert unmeasured(report.stages["ask"].metrics) == unmeasured(expected.stages["ask"].metrics)
    assert report.stand_ins == ()


def test_whatever_was_measured_on_stand_ins_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = kaggle(tmp_path / "world")
    stand_ins(world)
    report = to_its_end(world, replace(beginning(), stages=(replace(STAGES[1]),), start=Cursor(stage="ask", step=0)))
    assert report.stand_ins == ("gsm8k",)
    assert report.stages["ask"].metrics["stand_in_gsm8k"] == 1.0
    assert "; gsm8k from STAND-IN DATA, made up for rehearsals" in capsys.readouterr().out
