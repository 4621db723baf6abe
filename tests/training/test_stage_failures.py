"""Training that cannot go on says so, with a key that tells one kind of failure from another."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.stage import StageFailed
from tests.training.harness import ANSWERS, ROLLOUTS, Chain, spec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_once")]


def test_a_loss_that_is_not_a_number_ends_the_stage_at_the_step_that_has_it(tmp_path: Path) -> None:
    chain = Chain((spec("sft", "sft", 9, data="sums:20", batch=4, learning_rate=1e38, clip_norm=1e38, warmup_steps=0),))
    with pytest.raises(StageFailed) as failed:
        chain.run(tmp_path)
    assert failed.value.cause == "not-a-number"
    assert not list(tmp_path.glob("sft-*")), "nothing broken is saved"


@pytest.mark.parametrize(
    ("kind", "options", "cause"),
    [
        ("sft", {"tokens_max": 12}, "example-too-long"),
        ("grpo", {**ROLLOUTS, "prompt_tokens_max": 8}, "example-too-long"),
        ("evaluate", {**ANSWERS, "prompt_tokens_max": 8}, "example-too-long"),
        ("sft", {"data": "gsm8k"}, "bad-options"),
        ("grpo", {"generations": 1}, "bad-options"),
        ("evaluate", {"data": "sums:2"}, "bad-options"),
        ("sft", {"data": "absent.jsonl"}, "bad-data"),
        ("continued", {**ROLLOUTS, "data": "easy.jsonl"}, "bad-data"),
    ],
)
def test_options_and_data_that_do_not_go_together_are_refused(
    kind: str, options: dict[str, Any], cause: str, tmp_path: Path
) -> None:
    (tmp_path / "inputs").mkdir()
    lines = [json.dumps({"prompt": f"{n}", "answer": "1", "completion": "1"}) for n in range(50)]
    (tmp_path / "inputs" / "easy.jsonl").write_text("\n".join(lines))
    with pytest.raises(StageFailed) as failed:
        Chain((spec("stage", kind, 2, **options),)).run(tmp_path)
    assert failed.value.cause == cause
