"""Generates answers with Tunix's RL cluster, including the stop token that ended each answer."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import optax
from tunix.rl.rl_cluster import ClusterConfig, RLCluster, RLTrainingConfig, Role
from tunix.rl.rollout.base_rollout import RolloutConfig

from stages.options import Asking, Grpo
from stages.session.time_accounting import TimeClass
from stages.training.families import without_remat
from stages.training.initial_state import StageState, equip
from stages.training.policy import DrawnAnswer


class DrawnBuffer:
    """Keeps the tokens that Tunix's sampler generated: the sampler's result lacks the stop token
    and does not say which it was."""

    def __init__(self, sampler: Any) -> None:
        self._decode = sampler._compiled_decode_fn
        self._tokens: Any = None
        sampler._compiled_decode_fn = self

    def __call__(self, parameters: Any, state: Any) -> Any:
        """Call the sampler's decode function, which this object replaces, and keep its tokens."""
        state = self._decode(parameters, state)
        self._tokens = state.token_buffer
        return state

    def answers(self, texts: Sequence[str], prompt_width: int, stops: Sequence[int]) -> list[DrawnAnswer]:
        """Return the answers of the last call, in order; `texts` are the texts that the sampler decoded."""
        drawn = np.asarray(self._tokens)[:, prompt_width:]
        return [drawn_answer(text, row, stops) for text, row in zip(texts, drawn, strict=True)]


def drawn_answer(text: str, row: np.ndarray[Any, Any], stops: Sequence[int]) -> DrawnAnswer:
    """Build an answer from its row of tokens, up to and including the first stop token;
    without one it was truncated."""
    ends = np.flatnonzero(np.isin(row, stops))
    length = int(ends[0]) + 1 if len(ends) else len(row)
    return DrawnAnswer(text, row[:length].astype(np.int32), truncated=not len(ends))


class Cluster(RLCluster):  # type: ignore[misc]
    """Tunix's cluster of policy, sampler and trainer, on one mesh."""

    doing: Callable[[TimeClass], AbstractContextManager[None]]
    """The context's `doing` method."""
    buffer: DrawnBuffer

    def draw(self, prompts: list[str], seed: int) -> tuple[np.ndarray[Any, Any], list[DrawnAnswer]]:
        """Generate an answer to each prompt; deterministic for a seed. Also returns the prompt tokens (rows ×
        `max_prompt_length`, padded on the left)."""
        config = self.cluster_config.rollout_config
        config.seed = seed  # Tunix uses the same random numbers at every step by default
        with self.doing(TimeClass.ROLLOUT):
            output = self.generate(
                prompts, micro_batch_size=len(prompts)
            )  # micro-batches would all use the same random numbers
            answers = self.buffer.answers(output.text, config.max_prompt_length, config.eos_tokens)
        return np.asarray(output.left_padded_prompt_tokens, np.int32), answers


def rollout_config(options: Asking, temperature: float, top_k: int, stops: Sequence[int]) -> RolloutConfig:
    """Create Tunix's configuration for generation; `Cluster.draw` sets `seed`."""
    return RolloutConfig(
        max_tokens_to_generate=options.max_completion_length,
        max_prompt_length=options.max_prompt_length,
        kv_cache_size=options.max_prompt_length + options.max_completion_length,
        temperature=temperature,
        top_p=1.0,
        top_k=top_k or None,
        eos_tokens=list(stops),
    )


def cluster_of(standing: StageState, options: Grpo, steps: int, metrics: Any) -> Cluster:
    """Create the stage's cluster, with the optimizer restored if the stage is resumed. Its trainer has no loss yet."""
    mesh = standing.foundation.mesh
    micro = {
        "mini_batch_size": options.batch,
        "train_micro_batch_size": options.batch // options.gradient_accumulation_steps,
    }
    parts = micro if options.gradient_accumulation_steps > 1 else {}  # accumulation takes memory
    config = ClusterConfig(
        role_to_mesh={Role.ACTOR: mesh, Role.REFERENCE: mesh, Role.ROLLOUT: mesh},
        training_config=RLTrainingConfig(
            actor_optimizer=optax.identity(),  # see `equip`
            eval_every_n_steps=steps * options.num_iterations + 1,  # never: evaluation is a stage of its own
            **parts,
        ),
        rollout_config=rollout_config(options, options.temperature, options.top_k, standing.foundation.stops),
    )
    with without_remat(standing.model):  # affects the cluster's sampler only, not training
        cluster = Cluster(actor=standing.model, tokenizer=standing.foundation.tokenizer, cluster_config=config)
    cluster.buffer = DrawnBuffer(cluster.rollout._sampler)
    cluster._anchor_policy_state = None  # frees a copy of all weights on the host, which only other trainers use
    trainer = cluster.actor_trainer
    assert trainer.model is standing.model, "Tunix copies only what lies on another mesh"
    trainer.metrics_logger = metrics
    trainer.is_managed_externally = True  # otherwise the trainer skips data that it believes it has seen
    equip(trainer, standing, options, steps)
    return cluster
