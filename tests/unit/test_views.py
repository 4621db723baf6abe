"""What people and programs read: nothing is cut off in a narrow terminal, and the document is the one that is documented."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from orchestrator.pipeline.loader import parse
from orchestrator.views import fact_text
from orchestrator.views.document import status_document
from orchestrator.views.format import metrics_text
from orchestrator.views.live import progress_view
from orchestrator.views.overview import status_view
from orchestrator.views.run_document import run_document
from orchestrator.views.summary import summary_view
from state import machine
from state.facts.run import RunParked, RunStarted
from state.facts.session import Judgement, NothingCollected
from state.model.metrics import Metric
from state.model.run_state import RunState
from state.model.statuses import Phase
from tests.unit.test_machine import AT, SAMPLES, path_to

NOW = datetime(2030, 1, 7, 1, tzinfo=UTC)
ROOT = Path(__file__).parents[2]
PIPELINE = parse("{name: r, accelerator: cpu, stages: [{name: count, kind: counting, steps: 80}]}", "r.yaml")
STARTED = RunStarted(
    run="r-0001",
    pipeline_name="r",
    owner="me",
    accelerator="cpu",
    pipeline=PIPELINE.canonical(),
    pipeline_path="r.yaml",
    pipeline_digest=PIPELINE.digest,
)
METRIC = Metric(run="r-0001", session=1, attempt=1, number=4, stage="count", step=40, name="loss", value=0.25, at_s=3.0)


def state(phase: Phase = Phase.PUBLISHED) -> RunState:
    return machine.fold([(AT, fact) for fact in [STARTED, *path_to(phase)]])


def drawn(view: object, columns: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=columns).print(view)
    return out.getvalue()


def document(found: RunState) -> dict[str, object]:
    return {
        "at": NOW.isoformat(),
        "home": "/home",
        "runs": [run_document(found, [METRIC], NOW)],
        "quota": [],
        "damaged": [],
        "lost": [],
    }


def test_the_status_says_where_a_run_is_and_fits_a_narrow_terminal() -> None:
    text = drawn(status_view(document(state())))
    assert "r-0001" in text
    assert "count step 40, 40 of 80 steps (50 %)" in text
    assert "loss 0.25" in text
    assert "stopped itself" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_a_parked_run_shows_reason_excerpt_and_the_command_to_type() -> None:
    parked = RunParked(reason="it broke", remedy="relay retry r-0001", excerpt="Traceback\nValueError")
    text = drawn(status_view(document(machine.apply(state(), parked, AT))))
    for said in ("parked", "it broke", "│ ValueError", "type: relay retry r-0001"):
        assert said in text


def test_steps_that_the_live_session_told_of_are_seen_and_not_yet_done() -> None:
    found = run_document(state(Phase.RUNNING), [METRIC], NOW)
    (stage,) = found["stages"]
    assert (stage["done"], stage["seen"], stage["target"]) == (0, 40, 80)
    text = drawn(progress_view(found, NOW))
    assert "40/80 seen" in text
    assert "session 1 running 10 s of 10 s" in text, "never longer than its limit"


def test_a_rehearsals_summary_ends_with_the_digests_and_where_to_look() -> None:
    text = drawn(summary_view(document(state())["runs"][0], Path(".relay/rehearsal")), 140)
    assert "relay --home .relay/rehearsal status" in text


def test_evaluations_stand_side_by_side_with_how_sure_they_are() -> None:
    shares = {
        "accuracy": 0.5,
        "accuracy_low": 0.46,
        "accuracy_high": 0.53,
        "gsm8k": 0.25,
        "format": 1.0,
        "asked": 384.0,
    }
    stages = [{"name": "after-sft", "kind": "evaluate", "metrics": shares}]
    text = drawn(summary_view({**document(state())["runs"][0], "stages": stages_like(stages)}, Path("home")))
    (header,) = [line for line in text.splitlines() if "never trained on" in line]
    (row,) = [line for line in text.splitlines() if "±" in line]
    assert header.split()[-2:] == ["format", "accuracy"], "what has no interval of its own is not a result"
    assert row.split() == ["after-sft", "1.000", "0.500", "±0.040"]


def stages_like(stages: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{"done": 6, "target": 6, "seen": 6, **stage} for stage in stages]


def test_of_many_values_the_ones_that_tell_most_are_shown() -> None:
    found = {"accuracy": 0.5, "accuracy_low": 0.4, "asked": 64.0, "format": 1.0, "loss": 0.25, "hard_accuracy": 0.125}
    assert metrics_text(found) == "loss 0.25  format 1  accuracy 0.5  hard_accuracy 0.125"


def test_every_key_of_the_status_document_is_documented() -> None:
    page = (ROOT / "docs" / "status.md").read_text(encoding="utf-8")
    run = run_document(state(), [METRIC], NOW)
    keys = {*status_document(None, ROOT, NOW), *run}
    for part in ("sessions", "checkpoints", "stages"):
        keys |= run[part][0].keys()
    assert sorted(key for key in keys if f"`{key}`" not in page) == []
    json.dumps(run)


def test_every_fact_that_matters_to_a_person_is_one_line() -> None:
    lines = {fact.name: fact_text.describe_fact(fact) for fact in SAMPLES.values()}
    silent = {name for name, line in lines.items() if not line}
    assert silent == {
        *("inputs_intended", "push_intended", "publish_intended"),
        *("inputs_offered", "origin_offered", "dataset_offered", "push_unsent"),  # what follows is told
    }
    assert all("\n" not in line for line in lines.values())
    lost = NothingCollected(number=2, attempt=2, judgement=Judgement(outcome="failed", reason="it broke"))
    assert fact_text.describe_fact(lost) == "session 2 attempt 2 failed (it broke): no new checkpoint"
