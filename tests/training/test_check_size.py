"""The sizes that relay check reckons with are those of the model that a session builds."""

import math

import jax
import pytest
from flax import nnx

from orchestrator.preflight.check.size import adapter_weights, weights
from orchestrator.preflight.memory.abstract_model import abstract_model, mesh_of
from orchestrator.preflight.memory.programs import Program
from stages.options import Model, Sft
from stages.training import families

KINDS = ("gemma2-2b", "gemma3-1b", "gemma3-270m", "qwen2.5-0.5b", "qwen3-0.6b", "llama3.2-1b")
"""One size of each family, and the sizes of the examples."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_adapters_counted_without_jax_are_those_of_the_model(kind: str) -> None:
    options, sft = Model(kind=kind), Sft(mode="lora", lora_rank=64)
    program = Program(kind="sft", prompt_tokens=64, rank=sft.lora_rank, targets=sft.lora_targets)
    model = abstract_model(families.full_size_config(kind, options), options, program, mesh_of(options))
    adapter = _numbers(nnx.state(model, nnx.LoRAParam))
    assert adapter_weights(kind, sft) == adapter
    own = _numbers(nnx.state(model, nnx.Param)) - adapter
    assert weights(kind) == pytest.approx(own, rel=0.001)  # the norms are left out


def _numbers(state: nnx.State) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state))
