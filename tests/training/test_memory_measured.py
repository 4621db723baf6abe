"""The peak that is planned for a session on a CPU is the peak that its processes have."""

from pathlib import Path

import pytest

from benchmarks.memory import ERROR_MAX, GIB, measured_bytes, planned_bytes
from orchestrator.pipeline import loader
from orchestrator.rehearsal.local_kaggle.stand_ins.model import write_model
from orchestrator.rehearsal.local_kaggle.stand_ins.tokenizer import write_tokenizer

pytestmark = pytest.mark.slow

VOCABULARY = 65_536
"""Rows of the embedding: enough that logits take more than the libraries do."""
OPTIONS = {"data": ["magpie"], "batch": 16, "max_seq_length": 96, "mode": "lora", "lora_rank": 8}


def test_a_plan_for_a_cpu_is_what_a_session_takes_whose_rows_are_as_long_as_may_be(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_model(folder, "gemma3", "transformers", vocabulary=VOCABULARY, width=256, hidden=1024, layers=3)
    write_tokenizer(folder / "tokenizer.model")
    stage = {"name": "sft", "kind": "sft", "steps": 2, "options": OPTIONS}
    model = {"kind": "gemma3", "source": str(folder), "system": ""}
    pipeline = loader.check({"name": "cpu", "accelerator": "cpu", "model": model, "stages": [stage]}, "cpu")
    planned, where = planned_bytes(pipeline, tmp_path / "plans")["sft"]
    measured = measured_bytes(pipeline, tmp_path)["sft"]
    assert planned == pytest.approx(measured, rel=ERROR_MAX)
    assert where == "step" and measured > 1.5 * GIB, "libraries alone would take a quarter of it"
