"""Computing activations again changes how much memory training takes, and nothing that it computes."""

from pathlib import Path

import pytest

from tests.training.harness import ANSWERS, ROLLOUTS, SMALL, Chain, Record, spec

pytestmark = pytest.mark.slow

STAGES = (
    spec("sft", "sft", 2, data=["gsm8k"], max_seq_length=64, batch=4, mode="lora", lora_rank=2, probe_problems=2),
    spec("grpo", "grpo", 2, **ROLLOUTS),
    spec("ask", "evaluate", 1, **ANSWERS, batch=4),
)


@pytest.mark.parametrize("kind", ["gemma2", "gemma3"])
def test_a_model_that_recomputes_trains_samples_and_answers_like_one_that_does_not(kind: str, tmp_path: Path) -> None:
    model = {"kind": kind, "source": SMALL[kind], "system": ""}
    plain, again = (Chain(STAGES, {**model, "remat": remat}).run(tmp_path / remat) for remat in ("none", "block"))
    assert plain.seen == again.seen, "the same batches, the same rollouts"
    assert losses(again) == pytest.approx(losses(plain), rel=1e-4, abs=1e-6)


def losses(record: Record) -> list[float]:
    return [float.fromhex(found["loss"]) for found in record.metrics.values() if "loss" in found]
