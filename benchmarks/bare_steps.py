"""SFT, GRPO and evaluation in the style of Tunix's own examples, one step at a time, with nothing of relay's savings.

Model, adapter, optimizer, prompts and the order of batches are those of relay's stages. All else is Tunix as it comes:
rows padded to the longest one allowed, its default losses with logits of every position, its sampler, its learner.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from tunix.generate.sampler import CacheConfig, Sampler
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rl_cluster import ClusterConfig, RLCluster, RLTrainingConfig, Role
from tunix.rl.rollout.base_rollout import RolloutConfig, RolloutOutput
from tunix.sft.peft_trainer import PeftTrainer, TrainingConfig, TrainingInput
from tunix.sft.utils import build_positions_from_mask, make_causal_attn_mask

from benchmarks.bare import Alone, with_tunix_signature
from stages.data import Example, derive_seed, each_once_at, examples_at
from stages.options import Evaluate, Grpo, Sft, fit
from stages.rewards import correctness_reward, structure_reward
from stages.training.initial_state import load_trained, prepare
from stages.training.optimizers import optimizer
from stages.training.stage_data import judged_problems, prompt, tokens_of, worked_examples
from stages.training.steps import LatestMetrics

NEVER = 1_000_000_000
"""Steps until Tunix would evaluate or end by itself."""

Rewards = Callable[..., list[float]]


def by_length(prompts: Any, completions: Sequence[str], **_: Any) -> list[float]:
    """Return a reward that costs nothing and differs between the completions even of an untrained model."""
    return [len(text) % 7 / 7 for text in completions]


class BareSft:
    """Tunix's PeftTrainer with its default loss; rows are padded to `max_seq_length`."""

    def __init__(self, context: Alone) -> None:
        self._options = options = fit(Sft, context.spec.options, "options")
        self.standing = prepare(context, options)
        self._examples = worked_examples(context, self.standing.foundation, options).train
        self._seed = derive_seed(context.seed, context.spec.name, "data")
        self._metrics = LatestMetrics()
        parts = options.gradient_accumulation_steps
        config = TrainingConfig(
            eval_every_n_steps=NEVER, gradient_accumulation_steps=parts if parts > 1 else None, max_steps=None
        )
        rule = optimizer(options, context.spec.steps)
        self.trainer = PeftTrainer(self.standing.model, rule, config, metrics_logger=self._metrics)
        self.trainer.with_gen_model_input_fn(self._model_input)
        self.trainer.is_managed_externally = True

    def step(self, number: int) -> Mapping[str, float]:
        """Train on the batch of step `number` and return its loss."""
        options = self._options
        batch = self._encoded(examples_at(self._examples, number, options.batch, self._seed))
        rows = options.batch // options.gradient_accumulation_steps
        micro_batches = [
            jax.tree.map(lambda leaf, first=first: leaf[first : first + rows], batch)
            for first in range(0, options.batch, rows)
        ]
        with self.standing.foundation.mesh:
            self.trainer.train(micro_batches)
        self.trainer.close()
        jax.block_until_ready(nnx.state(self.standing.model, nnx.LoRAParam))
        return self._metrics.take("loss")

    def close(self) -> None:
        """Release the model."""
        del self.trainer, self.standing

    def _encoded(self, examples: Sequence[Example]) -> TrainingInput:
        foundation, width = self.standing.foundation, self._options.max_seq_length
        tokens = np.full((len(examples), width), foundation.tokenizer.pad_id(), np.int32)
        mask = np.zeros(tokens.shape, bool)
        for row, example in enumerate(examples):
            whole, asked = tokens_of(example, foundation)
            tokens[row, : len(whole)], mask[row, asked : len(whole)] = whole, True
        return TrainingInput(input_tokens=tokens, input_mask=mask)

    def _model_input(self, batch: TrainingInput) -> dict[str, Any]:
        seen = batch.input_tokens != self.standing.foundation.tokenizer.pad_id()
        return {
            "input_tokens": batch.input_tokens,
            "input_mask": batch.input_mask,
            "positions": build_positions_from_mask(seen),
            "attention_mask": make_causal_attn_mask(seen),
        }


@dataclass
class Rollouts:
    """Completions that a step is given instead of generating them."""

    tokens: list[np.ndarray[Any, Any]]
    """Tokens of each completion with its stop token."""
    texts: list[str]


class GivenRollouts(RLCluster):  # type: ignore[misc]
    """Tunix's cluster, which does not generate if it is given completions."""

    given: Rollouts | None = None

    def generate(self, prompts: Any, *args: Any, **kwargs: Any) -> RolloutOutput:
        """Return the given completions, else generate."""
        if self.given is None:
            return super().generate(prompts, *args, **kwargs)
        width = self.cluster_config.rollout_config.max_prompt_length
        padded = np.full((len(prompts), width), self.tokenizer.pad_id(), np.int32)
        for row, text in enumerate(prompts):
            whole = [self.tokenizer.bos_id(), *self.tokenizer.encode(str(text))]
            padded[row, width - len(whole) :] = whole
        return RolloutOutput(
            text=self.given.texts,
            logits=None,
            tokens=self.given.tokens,
            left_padded_prompt_tokens=padded,
            logprobs=None,
        )


class BareGrpo:
    """Tunix's GRPOLearner and RLCluster; each step generates, judges and updates."""

    def __init__(self, context: Alone, reward: Rewards = by_length) -> None:
        self._options = options = fit(Grpo, context.spec.options, "options")
        self._context = context
        self.standing = prepare(context, options, needs_origin=options.beta > 0)
        foundation = self.standing.foundation
        self._problems = judged_problems(context, foundation, options.data, options).train
        self._rollout = RolloutConfig(
            max_tokens_to_generate=options.max_completion_length,
            max_prompt_length=options.max_prompt_length,
            kv_cache_size=options.max_prompt_length + options.max_completion_length,
            temperature=options.temperature,
            top_p=1.0,
            top_k=options.top_k or None,
            eos_tokens=list(foundation.stops),
        )
        micro = options.batch // options.gradient_accumulation_steps
        config = ClusterConfig(
            role_to_mesh=dict.fromkeys((Role.ACTOR, Role.REFERENCE, Role.ROLLOUT), foundation.mesh),
            training_config=RLTrainingConfig(
                actor_optimizer=optimizer(options, context.spec.steps),
                eval_every_n_steps=NEVER,
                max_steps=NEVER,
                mini_batch_size=options.batch,
                train_micro_batch_size=micro,
                rollout_micro_batch_size=options.batch,
                compute_logps_micro_batch_size=micro,
            ),
            rollout_config=self._rollout,
        )
        self.cluster = GivenRollouts(
            actor=with_tunix_signature(self.standing.model),
            reference=with_tunix_signature(self.standing.frozen) if options.beta > 0 else None,
            tokenizer=foundation.tokenizer,
            cluster_config=config,
        )
        self.cluster.actor_trainer.config.max_steps = None  # no progress bar
        algorithm = GRPOConfig(
            num_generations=options.num_generations,
            beta=options.beta,
            epsilon=options.epsilon,
            kl_loss_mode="low_var_kl",
            loss_agg_mode="token-mean" if options.loss_type == "dapo" else "sequence-mean-token-mean",
        )
        self._learner = GRPOLearner(rl_cluster=self.cluster, algo_config=algorithm, reward_fns=[reward])

    def step(self, number: int, given: Rollouts | None = None) -> Mapping[str, float]:
        """Do step `number`, with the `given` completions if there are any."""
        context, options = self._context, self._options
        seed = derive_seed(context.seed, context.spec.name, "data")
        self._rollout.seed = derive_seed(context.seed, context.spec.name, "rollout", number)
        self.cluster.given = given
        chosen = examples_at(self._problems, number, options.batch, seed)
        foundation = self.standing.foundation
        self._learner.train([{"prompts": np.array([prompt(example, foundation) for example in chosen])}])
        jax.block_until_ready(nnx.state(self.standing.model, nnx.LoRAParam))
        return {}

    def close(self) -> None:
        """Stop the learner's thread and release the models."""
        self._learner.executor.shutdown()
        del self._learner, self.cluster, self.standing


class BareEvaluation:
    """Tunix's sampler, greedy, a batch of problems at a time, with relay's judges."""

    def __init__(self, context: Alone) -> None:
        self._options = options = fit(Evaluate, context.spec.options, "options")
        self.foundation, _ = load_trained(context)
        self._problems = judged_problems(context, self.foundation, options.data, options).held_out
        self._seed = derive_seed(context.seed, "evaluate")
        config: Any = self.foundation.model.config
        self._sampler = Sampler(
            self.foundation.model,
            self.foundation.tokenizer,
            CacheConfig(
                cache_size=options.max_prompt_length + options.max_completion_length,
                num_layers=config.num_layers,
                num_kv_heads=config.num_kv_heads,
                head_dim=config.head_dim,
            ),
        )
        self.texts: list[str] = []
        self.tokens: list[list[int]] = []
        """Tokens of each answer of the last step, without the stop token."""
        self.prompts: list[list[int]] = []

    def step(self, number: int) -> Mapping[str, float]:
        """Ask and judge the problems of step `number`."""
        options = self._options
        chosen = each_once_at(self._problems, number, options.batch, self._seed)
        asked = [prompt(example, self.foundation) for example in chosen]
        with self.foundation.mesh:
            out = self._sampler(
                input_strings=asked,
                max_generation_steps=options.max_completion_length,
                max_prompt_length=options.max_prompt_length,
                temperature=0.0,
                seed=0,
                eos_tokens=list(self.foundation.stops),
            )
        self.texts = list(out.text)
        columns = {"answer": [each.answer for each in chosen], "domain": [each.domain for each in chosen]}
        right, shaped = correctness_reward([], self.texts, **columns), structure_reward([], self.texts)
        tokenizer = self.foundation.tokenizer
        self.prompts = [[*tokenizer.begin, *tokenizer.encode(text)] for text in asked]
        self.tokens = [[int(each) for each in tokens] for tokens in out.tokens]
        lengths = [len(tokens) for tokens in self.tokens]
        return {
            "format": float(np.mean(shaped)),
            "accuracy": float(np.mean(right)),
            "mean_length": float(np.mean(lengths)),
            "truncated_share": float(np.mean([length >= options.max_completion_length for length in lengths])),
        }

    def close(self) -> None:
        """Release the model."""
        del self._sampler, self.foundation
