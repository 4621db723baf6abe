"""What a step of GRPO learns does not depend on how its rows are padded, cut and ordered; its importance weights need the sampler."""

import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from stages.options import Grpo
from stages.stage import StageFailed
from stages.training.checkpoints import TrainingState, Weights
from stages.training.initial_state import StageState
from stages.training.lora import with_adapter
from stages.training.losses import PolicyLoss
from stages.training.model import arrays_of, put_arrays
from stages.training.policy import DrawnAnswer, Sampled
from stages.training.weighing import weigh
from stages.training.widths import RowShape
from tests.training.models import loaded, written

pytestmark = pytest.mark.slow

GRPO = Grpo(
    num_generations=2, batch=4, max_prompt_length=24, max_completion_length=96, loss_type="grpo", temperature=0.8
)


@functools.cache
def standing() -> StageState:
    """A model with an adapter that changes what it says, beside its base as reference."""
    foundation = loaded(written(Path(tempfile.mkdtemp())))
    model = with_adapter(foundation.model, Grpo(lora_rank=2), 7, foundation.mesh)
    noise = np.random.default_rng(2)
    arrays = arrays_of(model, nnx.LoRAParam)
    moved = {name: jnp.asarray(noise.normal(size=array.shape) / 4, array.dtype) for name, array in arrays.items()}
    put_arrays(model, moved, nnx.LoRAParam)
    return StageState(foundation, model, foundation.model, Weights(), TrainingState(Weights(), ""), resumed=False)


def sampled(longest: int) -> Sampled:
    """Eight completions, most of them short and one of `longest` tokens."""
    draw = np.random.default_rng(5)
    prompts = np.zeros((8, GRPO.max_prompt_length), np.int32)
    for row, length in enumerate((5, 5, 24, 24, 9, 9, 3, 3)):
        prompts[row, -length:] = draw.integers(3, 90, length)
    answers = [
        DrawnAnswer("", draw.integers(3, 90, length).astype(np.int32), truncated=False)
        for length in (7, longest, 12, 30, 1, 20, 4, 9)
    ]
    return Sampled(prompts, answers, draw.uniform(size=8), {})


@nnx.jit(static_argnums=2)  # type: ignore[untyped-decorator]
def _slopes(model: Any, batch: Any, loss: PolicyLoss) -> Any:
    return nnx.value_and_grad(loss, argnums=nnx.DiffState(0, nnx.LoRAParam), has_aux=True)(model, batch)


def learnt(options: Grpo, shapes: tuple[RowShape, ...] = ()) -> tuple[dict[str, float], np.ndarray, list[RowShape]]:
    """Loss and metrics, the adapter's gradient, and the shapes of the parts: means over the parts, as Optax has them."""
    parts = weigh(sampled(70), standing(), options, shapes)
    loss = PolicyLoss.of(options, standing().foundation.tokenizer.pad_id())
    found = [_slopes(standing().model, part.batch, loss) for part in parts]
    metrics = [{"loss": value, **aux} for (value, aux), _ in found]
    gradients = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(slopes)]) for _, slopes in found]
    means = {name: float(np.mean([float(each[name]) for each in metrics])) for name in metrics[0]}
    return means, np.mean(gradients, axis=0, dtype=np.float64), [part.shape for part in parts]


def test_the_gradient_of_trimmed_parts_is_that_of_the_whole_padded_batch() -> None:
    padded = RowShape(GRPO.max_prompt_length + GRPO.max_completion_length, GRPO.max_completion_length)
    whole, wanted, _ = learnt(GRPO, (padded,))
    cut, gradient, shapes = learnt(dataclasses.replace(GRPO, gradient_accumulation_steps=2))
    assert shapes == [RowShape(64, 32), RowShape(120, 96)], "else nothing was trimmed"
    assert np.linalg.norm(wanted) > 0.01
    assert np.linalg.norm(gradient - wanted) <= 1e-5 * np.linalg.norm(wanted)
    assert whole["kl"] > 0.001, "the adapter has to show, or this proves nothing"
    assert cut == pytest.approx(whole, rel=1e-5, abs=1e-7)


def test_importance_weights_without_the_samplers_logprobs_are_refused() -> None:
    with pytest.raises(StageFailed, match="importance_cap needs log-probabilities, which this sampler does not return"):
        weigh(sampled(70), standing(), dataclasses.replace(GRPO, importance_cap=2.0), scored=[])
