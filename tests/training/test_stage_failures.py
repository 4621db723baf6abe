"""Training that cannot go on says so, with a key that tells one kind of failure from another."""

from pathlib import Path
from typing import Any

import pytest

from stages.stage import StageFailed
from tests.training.harness import ANSWERS, ROLLOUTS, Chain, spec

pytestmark = pytest.mark.slow


def test_a_loss_that_is_not_a_number_ends_the_stage_at_the_step_that_has_it(tmp_path: Path) -> None:
    wild = {"learning_rate": 1e38, "clip_norm": 1e38, "warmup_steps": 0}
    chain = Chain((spec("sft", "sft", 9, data=["gsm8k"], max_seq_length=64, batch=4, **wild),))
    with pytest.raises(StageFailed) as failed:
        chain.run(tmp_path)
    assert failed.value.cause == "not-a-number"
    assert not list(tmp_path.glob("sft-*")), "nothing broken is saved"


@pytest.mark.parametrize(
    ("kind", "options", "cause"),
    [
        ("grpo", {**ROLLOUTS, "max_prompt_length": 4}, "bad-data"),
        ("evaluate", {**ANSWERS, "max_prompt_length": 4}, "bad-data"),
        ("curate", {**ANSWERS, "max_prompt_length": 4}, "bad-data"),
        ("sft", {"max_seq_length": 4}, "bad-data"),
        ("sft", {"data": "gsm8k"}, "bad-options"),
        ("grpo", {"num_generations": 1}, "bad-options"),
        ("evaluate", {"data": ["sums"]}, "bad-options"),
        ("sft", {"data": ["absent.jsonl"]}, "bad-data"),
        ("grpo", {**ROLLOUTS, "data": ["ultrafeedback"]}, "bad-data"),
    ],
)
def test_options_and_data_that_do_not_go_together_are_refused(
    kind: str, options: dict[str, Any], cause: str, tmp_path: Path
) -> None:
    with pytest.raises(StageFailed) as failed:
        Chain((spec("stage", kind, 2, **options),)).run(tmp_path)
    assert failed.value.cause == cause
    assert len(failed.value.reason.splitlines()) == 1
