"""The peak that is planned for a session on a CPU is the peak that its processes have."""

from pathlib import Path

import pytest

from benchmarks.memory import GIB, measured_bytes, planned_bytes
from orchestrator.pipeline import loader
from orchestrator.rehearsal.local_kaggle.stand_ins.model import write_model
from orchestrator.rehearsal.local_kaggle.stand_ins.tokenizer import write_tokenizer

pytestmark = pytest.mark.slow

VOCABULARY = 49_152
"""Rows of the embedding: enough that logits take more than the libraries do."""
OPTIONS = {"data": ["magpie"], "batch": 16, "max_seq_length": 96, "mode": "lora", "lora_rank": 8}


def test_a_plan_for_a_cpu_is_no_less_than_a_session_takes_and_not_far_above(tmp_path: Path) -> None:
    """Rows are planned as long, and as much of them learnt, as may be; those of the session are shorter."""
    folder = tmp_path / "model"
    write_model(folder, "gemma3", "transformers", vocabulary=VOCABULARY, width=256, hidden=1024, layers=3)
    write_tokenizer(folder / "tokenizer.model")
    stage = {"name": "sft", "kind": "sft", "steps": 2, "options": OPTIONS}
    model = {"kind": "gemma3", "source": str(folder), "system": ""}
    pipeline = loader.check({"name": "cpu", "accelerator": "cpu", "model": model, "stages": [stage]}, "cpu")
    planned, where = planned_bytes(pipeline, tmp_path / "plans")
    measured = measured_bytes(pipeline, tmp_path)
    assert 0.95 * measured < planned < 1.35 * measured
    assert where == "step" and measured > 1.1 * GIB, "libraries alone would take a third of it"
