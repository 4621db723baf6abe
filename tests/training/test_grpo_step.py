"""GRPO on a model that fits anywhere: it begins, and one step ends, measures what it promises, and leaves a checkpoint."""

import math
from pathlib import Path

import pytest

from stages.grpo import train
from tests.training.harness import ROLLOUTS, TINY, Chain, Record, SmallContext, shared_inputs, spec

SHORT = {**ROLLOUTS, "batch": 2, "max_completion_length": 2}


class BatchChosen(Exception):
    """The stage has chosen its first problems and is about to let the model answer."""


class BrieflyContext(SmallContext):
    """A session that ends as soon as the stage has chosen the problems of its first step."""

    def saw(self, step: int, name: str, value: object) -> None:
        super().saw(step, name, value)
        assert (step, name) == (1, "batch")
        assert isinstance(value, list)
        raise BatchChosen(*value)


@pytest.mark.slow
def test_grpo_loads_its_model_and_chooses_the_problems_of_its_first_step(tmp_path: Path) -> None:
    """What costs most, generating and learning, is left to the slow tests."""
    whole = {name: value for name, value in SHORT.items() if name != "lora_rank"}
    stage = spec("grpo", "grpo", 1, **whole, mode="full", beta=0.0)
    context = BrieflyContext(stage, TINY, 0, tmp_path, Record(), None, 1, shared_inputs(), plan=(stage,))
    with pytest.raises(BatchChosen) as chosen:
        train(context)
    assert len(set(chosen.value.args)) == SHORT["batch"]


@pytest.mark.slow
def test_a_step_of_grpo_is_done_and_saved(tmp_path: Path) -> None:
    record = Chain((spec("grpo", "grpo", 1, **SHORT),)).run(tmp_path)
    assert set(record.metrics) == set(record.digests) == {"grpo-1"}
    measured = {name: float.fromhex(value) for name, value in record.metrics["grpo-1"].items()}
    promised = {"loss", "kl", "clipped_share", "logprob", "grad_norm", "reward", "accuracy", "format", "idle_groups"}
    assert promised <= set(measured)
    assert all(math.isfinite(measured[name]) for name in promised)
    assert measured["logprob"] < 0 <= measured["kl"]
    assert measured["max_length"] <= 2
