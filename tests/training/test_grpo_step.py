"""One step of GRPO on a model that fits anywhere: it ends, measures what it promises, and leaves a checkpoint."""

import math
from pathlib import Path

from tests.training.harness import ROLLOUTS, Chain, spec


def test_a_step_of_grpo_is_done_and_saved(tmp_path: Path) -> None:
    options = {**ROLLOUTS, "batch": 1, "max_completion_length": 2}
    record = Chain((spec("grpo", "grpo", 1, **options),)).run(tmp_path)
    assert set(record.metrics) == set(record.digests) == {"grpo-1"}
    measured = {name: float.fromhex(value) for name, value in record.metrics["grpo-1"].items()}
    promised = {"loss", "kl", "clipped_share", "logprob", "grad_norm", "reward", "accuracy", "format", "idle_groups"}
    assert promised <= set(measured)
    assert all(math.isfinite(measured[name]) for name in promised)
    assert measured["logprob"] < 0 <= measured["kl"]
    assert measured["max_length"] <= 2
