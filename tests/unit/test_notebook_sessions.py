"""Sessions of a notebook hand over to each other: whole checkpoints only, of the same experiment only, and never past an unfinished stage."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.views.notebook.parts.run_stages import Experiment, Training
from stages.contract import MANIFEST_NAME, OUTPUT_DIRECTORY, Cursor, StageSpec
from stages.stage import Context, Next, OpenedCheckpoint, StageFailed

STAGES = (
    StageSpec(name="first", kind="own:count", steps=3, options={"factor": 3}),
    StageSpec(name="second", kind="own:count", steps=2, options={"factor": 5}),
)
EXPERIMENT = Experiment(name="counts", seed=4, model={"kind": "none"}, stages=STAGES)


def count(context: Context) -> None:
    """A stage whose state is one number, a function of every step before."""
    value = 1 if context.checkpoint is None else json.loads((context.checkpoint.directory / "value.json").read_text())
    for step in range(context.start_step + 1, context.spec.steps + 1):
        value = (value * context.spec.options["factor"] + step + context.seed) % 1009
        answer = context.step_done(step, {"value": float(value)})
        if answer is not Next.GO_ON:
            context.save(step, written(value))
        if answer is Next.STOP:
            return


def written(value: int) -> Callable[[Path], dict[str, str]]:
    def write(directory: Path) -> dict[str, str]:
        (directory / "value.json").write_text(str(value))
        return {"weights": str(value)}

    return write


def session(
    working: Path, inputs: Path, *, late: bool = False, experiment: Experiment = EXPERIMENT, **options: Any
) -> Training:
    training = Training(
        experiment=experiment,
        inputs=inputs,
        working=working,
        scratch=working.parent / "scratch",
        deadline_s=time.monotonic() + (-1.0 if late else 3600.0),
        **{"save_interval_s": 3600.0, **options},
    )
    for spec in experiment.stages:
        training.run(spec.name, count)
    return training


def result(training: Training) -> tuple[Any, Any]:
    assert training.checkpoint is not None and training.is_finished
    return training.checkpoint.contents, training.rows


@pytest.fixture
def whole(tmp_path: Path) -> tuple[Any, Any]:
    """What a session computes that has time for everything."""
    return result(session(tmp_path / "whole", tmp_path / "nothing"))


def test_sessions_of_one_step_each_compute_what_one_session_computes(tmp_path: Path, whole: tuple[Any, Any]) -> None:
    inputs = tmp_path / "none"
    for number in range(5):
        working = tmp_path / "mounts" / str(number) / "notebooks" / "me" / "train"
        training = session(working, inputs, late=True)
        assert training.steps == 1
        inputs = tmp_path / "mounts" / str(number)

    assert result(training) == whole
    assert session(tmp_path / "after", inputs).steps == 0


def test_an_unfinished_stage_keeps_the_ones_after_it_from_starting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = session(tmp_path / "working", tmp_path, late=True)
    assert training.checkpoint is not None and training.checkpoint.cursor.stage == "first"
    assert "second: the time of this session is up" in capsys.readouterr().out


def test_a_stage_whose_cell_is_run_before_its_turn_does_nothing(tmp_path: Path) -> None:
    training = Training(
        experiment=EXPERIMENT,
        inputs=tmp_path,
        working=tmp_path / "working",
        scratch=tmp_path / "scratch",
        deadline_s=time.monotonic() + 3600.0,
        save_interval_s=3600.0,
    )
    training.run("second", count)
    assert training.steps == 0 and training.checkpoint is None


@pytest.mark.parametrize(
    ("changed", "begins_anew"),
    [
        ({"seed": 5}, True),
        ({"model": {"kind": "other"}}, True),
        ({"stages": (replace(STAGES[0], options={"factor": 7}), STAGES[1])}, True),
        ({"files": {"mine.jsonl": "ab" * 32}}, True),
        ({"stages": (STAGES[0], replace(STAGES[1], steps=9))}, False),
        ({"stages": (*STAGES, replace(STAGES[1], name="third"))}, False),
        ({"name": "renamed"}, False),
    ],
)
def test_a_checkpoint_is_continued_if_all_that_led_to_it_is_the_same(
    changed: dict[str, Any], begins_anew: bool, tmp_path: Path
) -> None:
    session(tmp_path / "working", tmp_path / "none", late=True)
    training = session(tmp_path / "next", tmp_path / "working", experiment=replace(EXPERIMENT, **changed))
    assert training.steps == sum(stage.steps for stage in training.experiment.stages) - (not begins_anew)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"stage": "other", "experiment": ""}', '{"stage": 3}'])
def test_a_file_of_that_name_which_is_no_checkpoint_is_passed_over(
    text: str, tmp_path: Path, whole: tuple[Any, Any]
) -> None:
    folder = tmp_path / "inputs" / "someone" / OUTPUT_DIRECTORY / "first-000009"
    folder.mkdir(parents=True)
    (folder / MANIFEST_NAME).write_text(text)
    assert result(session(tmp_path / "working", tmp_path / "inputs")) == whole


def test_an_output_holds_the_newest_checkpoint_only(tmp_path: Path) -> None:
    session(tmp_path / "working", tmp_path / "none", save_interval_s=0.0)
    assert [path.name for path in (tmp_path / "working" / OUTPUT_DIRECTORY).iterdir()] == ["second-000002"]


def test_a_save_that_fails_leaves_the_checkpoint_before_it(tmp_path: Path, whole: tuple[Any, Any]) -> None:
    training = session(tmp_path / "working", tmp_path / "none", late=True)
    context = training.context(STAGES[0])
    context.step_done(2, {})

    def breaks(directory: Path) -> dict[str, str]:
        (directory / "value.json").write_text("half")
        raise OSError("no space is left")

    with pytest.raises(OSError, match="no space"):
        context.save(2, breaks)
    assert result(session(tmp_path / "working", tmp_path / "none")) == whole


@pytest.mark.parametrize("metric", ["loss", "grad_norm", "kl"])
def test_a_step_that_is_not_a_number_ends_the_training(metric: str, tmp_path: Path) -> None:
    training = session(tmp_path / "working", tmp_path / "none", late=True)
    with pytest.raises(StageFailed, match=f"{metric} of first is not finite at step 2"):
        training.context(STAGES[0]).step_done(2, {metric: float("nan")})


@pytest.mark.parametrize(
    ("kinds", "place", "trained"),
    [
        (("evaluate", "own:count"), None, False),
        (("evaluate", "own:count"), 0, False),
        (("evaluate", "own:count"), 1, True),
        (("own:count", "evaluate"), 0, True),
        (("curate", "evaluate"), 1, False),
    ],
)
def test_a_checkpoint_answers_questions_once_a_stage_before_its_end_has_trained(
    kinds: tuple[str, str], place: int | None, trained: bool, tmp_path: Path
) -> None:
    stages = tuple(replace(spec, kind=kind) for spec, kind in zip(STAGES, kinds, strict=True))
    training = session(tmp_path / "working", tmp_path, experiment=replace(EXPERIMENT, stages=stages))
    cursor = None if place is None else Cursor(stage=stages[place].name, step=1)
    training.checkpoint = None if cursor is None else OpenedCheckpoint(cursor, tmp_path, contents={})
    assert training.has_trained is trained
