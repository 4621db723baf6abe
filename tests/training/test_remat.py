"""Computing activations again changes how much memory training takes, and nothing that it computes.

Each kind of stage starts at the same untouched weights. The two programs round differently, and Adam's first steps are as
long for a gradient that is rounding alone as for any other: of what is sampled after an update a few tokens may differ.
"""

from pathlib import Path

import pytest

from stages.contract import StageSpec
from tests.training.harness import ANSWERS, ROLLOUTS, SMALL, Chain, Record, spec

pytestmark = pytest.mark.slow

SFT = spec("sft", "sft", 2, data=["gsm8k"], max_seq_length=64, batch=4, mode="lora", lora_rank=2, probe_problems=2)
GRPO = spec("grpo", "grpo", 1, **ROLLOUTS, rewards={"tests.training.odd_rewards:by_hash": 1.0})
ASK = spec("ask", "evaluate", 1, **ANSWERS, batch=4)


@pytest.mark.parametrize("kind", ["gemma2", "gemma3"])
@pytest.mark.parametrize("stage", [SFT, GRPO, ASK], ids=lambda stage: stage.kind)
def test_a_model_that_recomputes_trains_samples_and_answers_like_one_that_does_not(
    stage: StageSpec, kind: str, tmp_path: Path
) -> None:
    model = {"kind": kind, "source": SMALL[kind], "system": ""}
    plain, again = (Chain((stage,), {**model, "remat": remat}).run(tmp_path / remat) for remat in ("none", "block"))
    assert plain.seen == again.seen, "the same batches, the same rollouts"
    for name in ("loss", "grad_norm"):
        assert values(again, name) == pytest.approx(values(plain, name), rel=1e-4, abs=1e-6), name
    assert stage is ASK or min(values(plain, "grad_norm")) > 1e-3, "there was something to learn"


def values(record: Record, name: str) -> list[float]:
    return [float.fromhex(found[name]) for found in record.metrics.values() if name in found]
