"""The metrics of all sessions become one series: each step once, that of the last session whose checkpoint has it."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet
import pytest

from orchestrator.app.metrics.files import chosen_format, encoded, summary, write_metrics
from orchestrator.app.metrics.tensorboard import update_event_files
from orchestrator.app.metrics.trackers import SentSteps, send, unsent
from orchestrator.base.errors import BadInput
from orchestrator.core.joined_metrics import JoinedMetrics, JoinedStep, joined
from stages.contract import Cursor
from state.model.metrics import Metric
from state.model.run_state import Checkpoint, Run, RunState, Session
from state.model.statuses import CheckpointStatus, Phase, RunStatus
from tests.unit.records import shown
from tests.unit.test_machine import AT

STAGES = [{"name": "sft", "kind": "counting", "steps": 4}, {"name": "grpo", "kind": "counting", "steps": 6}]


def session(number: int, reached: tuple[str, int] | None, attempt: int = 1) -> Session:
    return Session(
        run="r-0001", number=number, attempt=attempt, slug=f"r-{number}-{attempt}", token="0" * 24, phase=Phase.PUBLISHED,
        start=Cursor(stage="sft", step=0), parent=None, budget_s=100.0, limit_s=100.0, planned_at=AT,
        running_at=AT + timedelta(hours=number), reached=None if reached is None else Cursor(stage=reached[0], step=reached[1]),
    )  # fmt: skip


def run(sessions: Sequence[Session], head: tuple[str, int] | None) -> RunState:
    made = Run(
        id="r-0001", name="r", owner="me", accelerator="cpu", status=RunStatus.ACTIVE,
        pipeline=json.dumps({"stages": [{**stage, "options": {}} for stage in STAGES]}), pipeline_path="r.yaml",
        pipeline_digest="0", created_at=AT, updated_at=AT,
    )  # fmt: skip
    if head is None:
        return RunState(made, tuple(sessions), ())
    kept = Checkpoint(
        run="r-0001", name="r-0001-c0001", session=sessions[-1].number, attempt=1, digest="0", parent=None,
        cursor=Cursor(stage=head[0], step=head[1]), size_bytes=1, manifest="{}", status=CheckpointStatus.PUBLISHED,
        verified_at=AT,
    )  # fmt: skip
    return RunState(made, tuple(sessions), (kept,))


def reported(number: int, stage: str, steps: Sequence[int], attempt: int = 1) -> list[Metric]:
    return [
        Metric(
            run="r-0001", session=number, attempt=attempt, number=step, stage=stage, step=step, name="loss",
            value=number + step / 100, at_s=float(step),
        )
        for step in steps
    ]  # fmt: skip


def told(found: JoinedMetrics) -> list[tuple[int, int, bool]]:
    return [(step.position, step.session, step.verified) for step in found.steps]


@pytest.mark.parametrize(
    ("sessions", "head", "metrics", "expected", "repeated"),
    [
        ([session(1, None)], None, reported(1, "sft", [1, 2]), [(1, 1, False), (2, 1, False)], 0),
        (  # session 1 was killed after its checkpoint, and session 2 repeats the step that was lost
            [session(1, ("sft", 2)), session(2, ("sft", 4))],
            ("sft", 4),
            reported(1, "sft", [1, 2, 3]) + reported(2, "sft", [3, 4]),
            [(1, 1, True), (2, 1, True), (3, 2, True), (4, 2, True)],
            1,
        ),
        (  # the live session is no more than a copy of what a verified checkpoint contains
            [session(1, ("sft", 3)), session(2, None)],
            ("sft", 3),
            reported(1, "sft", [2, 3]) + reported(2, "sft", [3, 4]),
            [(2, 1, True), (3, 1, True), (4, 2, False)],
            1,
        ),
        (  # the run was taken back to step 2 and has done one step since
            [session(1, ("grpo", 2)), session(2, ("sft", 3))],
            ("sft", 3),
            reported(1, "sft", [2, 3, 4]) + reported(1, "grpo", [1]) + reported(2, "sft", [3]),
            [(2, 1, True), (3, 2, True), (4, 1, False), (5, 1, False)],
            1,
        ),
        ([session(1, None)], None, reported(1, "gone", [1]) + reported(1, "grpo", [1]), [(5, 1, False)], 0),
    ],
)
def test_each_step_is_that_of_the_last_session_whose_checkpoint_has_it(
    sessions: list[Session],
    head: tuple[str, int] | None,
    metrics: list[Metric],
    expected: list[tuple[int, int, bool]],
    repeated: int,
) -> None:
    found = joined(run(sessions, head), metrics)
    assert (told(found), found.repeated) == (expected, repeated)


def test_what_was_measured_with_stand_ins_says_so_wherever_it_goes() -> None:
    made_up = [replace(metric, name="stand_in_gsm8k", value=1.0) for metric in reported(1, "sft", [1])]
    found = joined(run([session(1, None)], None), [*reported(1, "sft", [1]), *made_up])
    assert found.steps[0].values == {"loss": 1.01, "stand_in_gsm8k": 1.0}
    assert summary("r-0001", found).endswith("; measured with stand-ins made up for rehearsals: gsm8k")
    assert not SERIES.stand_ins and "stand-ins" not in summary("r-0001", SERIES)


def step(position: int, number: int = 1, *, verified: bool = True, **values: float) -> JoinedStep:
    at = AT + timedelta(seconds=position)
    return JoinedStep(
        position, "sft", position, number, 1, float(position), at, verified, values or {"loss": 1.0 / position}
    )


SERIES = JoinedMetrics([step(1, loss=2.0), step(2, loss=float("nan"), accuracy=0.5), step(3, 2, verified=False)], 2)


def test_a_csv_has_a_row_for_each_step_and_leaves_out_what_was_not_reported() -> None:
    rows = list(csv.DictReader(io.StringIO(encoded(SERIES, "csv").decode())))
    assert [row["position"] for row in rows] == ["1", "2", "3"]
    assert [row["accuracy"] for row in rows] == ["", "0.5", ""]
    assert rows[0]["at"] == (AT + timedelta(seconds=1)).isoformat()


def test_json_lines_are_json() -> None:
    rows = [json.loads(line) for line in encoded(SERIES, "jsonl").decode().splitlines()]
    assert [row["loss"] for row in rows] == [2.0, None, 1 / 3]
    assert "accuracy" not in rows[0]


def test_parquet_keeps_types_and_values() -> None:
    table = pyarrow.parquet.read_table(io.BytesIO(encoded(SERIES, "parquet")))
    assert table.column("accuracy").to_pylist() == [None, 0.5, None]
    assert table.column("at").to_pylist()[0] == AT + timedelta(seconds=1)
    assert table.column("verified").to_pylist() == [True, True, False]


@pytest.mark.parametrize(
    ("given", "output", "expected"),
    [(None, None, "csv"), (None, "a.parquet", "parquet"), (None, "a.txt", "csv"), ("jsonl", "a.csv", "jsonl")],
)
def test_the_format_follows_the_files_name(given: str | None, output: str | None, expected: str) -> None:
    assert chosen_format(given, Path(output) if output else None) == expected


def test_a_file_that_cannot_be_written_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="name one with -o"):
        chosen_format("parquet", None)
    with pytest.raises(BadInput, match="there is no"):
        write_metrics(tmp_path / "no" / "a.csv", b"")
    with pytest.raises(BadInput, match="is a folder"):
        write_metrics(tmp_path, b"")
    assert list(tmp_path.iterdir()) == []


def test_what_was_left_out_is_said() -> None:
    text = summary("r-0001", SERIES)
    assert text == (
        "r-0001: 3 steps of 2 sessions; 2 reports of repeated steps left out, the last verified one is kept; "
        "1 step not yet in a verified checkpoint"
    )


def test_event_files_grow_by_what_is_new_and_drop_what_was_superseded(tmp_path: Path) -> None:
    first = [step(1, loss=1.0), step(2, loss=2.0, verified=False), step(3, loss=3.0, verified=False)]
    assert update_event_files(tmp_path, first) == 3
    assert update_event_files(tmp_path, first) == 0
    assert shown(tmp_path / "sft") == {"loss": [(1, 1.0), (2, 2.0), (3, 3.0)]}
    later = [step(1, loss=1.0), step(2, 2, loss=5.0)]
    assert update_event_files(tmp_path, later) == 1
    assert shown(tmp_path / "sft") == {"loss": [(1, 1.0), (2, 5.0)]}
    assert update_event_files(tmp_path, later) == 0


class Recorded:
    """Tracker that keeps what it is sent, unless it breaks before it has stored it."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self._breaks = breaks

    def log(self, values: dict[str, float], position: int) -> None:
        self.rows.append((position, values))

    def finish(self) -> None:
        if self._breaks:
            raise ConnectionError("no network")


def test_each_verified_step_is_sent_once_to_each_project(tmp_path: Path) -> None:
    sent, series = SentSteps(tmp_path / "r" / "sent.json"), [step(1), step(2), step(3, verified=False)]
    tracker = Recorded()
    assert send(unsent(series, sent.last("wandb:a")), tracker, sent, "wandb:a") == 2
    assert tracker.rows == [(1, {"sft/loss": 1.0}), (2, {"sft/loss": 0.5})]
    assert unsent(series, sent.last("wandb:a")) == []
    assert [each.position for each in unsent([*series[:2], step(3)], sent.last("wandb:a"))] == [3]
    assert len(unsent(series, sent.last("wandb:b"))) == 2


def test_steps_that_a_tracker_did_not_store_are_sent_again(tmp_path: Path) -> None:
    sent = SentSteps(tmp_path / "sent.json")
    with pytest.raises(ConnectionError):
        send([step(1)], Recorded(breaks=True), sent, "trackio:a")
    assert sent.last("trackio:a") == 0
