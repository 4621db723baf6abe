"""SFT and GRPO training in the style of Tunix's own examples: one call of `train` over all the data.

Model, adapter, optimizer, batches and their order are those of relay's stages. For SFT the rows and the loss are too, so that after
the same steps the weights are equal bit for bit; for GRPO the loss is Tunix's own. Nothing waits for a step, and
nothing is reported, guarded, traced or saved; metrics go to Tunix's own logger without a backend.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rl_cluster import ClusterConfig, RLCluster, RLTrainingConfig, Role
from tunix.rl.rollout.base_rollout import RolloutConfig
from tunix.sft.peft_trainer import PeftTrainer, TrainingConfig

from benchmarks.learning import Uncut
from stages.data import derive_seed, examples_at
from stages.options import Grpo, Sft, fit
from stages.rewards import checked_rewards
from stages.session.time_accounting import TimeClass
from stages.training import checkpoints
from stages.training.initial_state import prepare, state_of
from stages.training.losses import TaughtBatch, TaughtLoss, taught_input
from stages.training.optimizers import optimizer
from stages.training.stage_data import judged_problems, prompt, worked_examples
from stages.training.taught_batches import TaughtBatches


class Alone(Uncut):
    """Stage context for training without a session."""

    def doing(self, what: TimeClass) -> AbstractContextManager[None]:
        """Return a no-op context: time is not accounted here."""
        return nullcontext()


def with_tunix_signature(model: Any) -> Any:
    """Give a model loaded by relay the signature of Tunix's class, and return it.

    Tunix's GRPO passes `segment_ids` to any model whose `__call__` takes further keywords, as that of relay's subclass
    does, and Tunix's own Gemma does not.
    """
    own = type(model)
    tunix = [each for each in own.__mro__ if each.__module__.startswith("tunix.")]
    theirs = next(each for each in tunix if getattr(sys.modules[each.__module__], each.__name__) is each)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return own.__call__(self, *args, **kwargs)

    call.__signature__ = inspect.signature(theirs.__call__)  # type: ignore[attr-defined]
    object.__setattr__(model, "__class__", type(own.__name__, (own,), {"__call__": call}))
    return model


Passed = Callable[[int], None]
"""Callback with the number of steps begun. They may not be over: training does not wait for them."""


def train_sft(context: Alone, passed: Passed) -> dict[str, str]:
    """Run all steps of the stage. Return the digests of the state that a checkpoint would hold."""
    options = fit(Sft, context.spec.options, "options")
    standing = prepare(context, options)
    examples = worked_examples(context, standing.foundation, options)
    seed = derive_seed(context.seed, context.spec.name, "data")
    taught = TaughtBatches(examples, standing.foundation, options, seed)

    def batches() -> Iterator[TaughtBatch]:
        for number in range(1, context.spec.steps + 1):
            yield taught.at(number)
            passed(number)

    steps = context.spec.steps
    trainer = PeftTrainer(standing.model, optimizer(options, steps), TrainingConfig(eval_every_n_steps=steps + 1))
    trainer.with_loss_fn(TaughtLoss(head_trains=options.mode == "full"))
    trainer.with_gen_model_input_fn(taught_input)
    with standing.foundation.mesh:
        trainer.train(batches())
    return checkpoints.digests(state_of(standing, options, trainer.optimizer, keeps_origin=False))


def train_grpo(context: Alone, passed: Passed) -> dict[str, str]:
    """Run all steps of the stage. Return the digests of the state that a checkpoint would hold."""
    options = fit(Grpo, context.spec.options, "options")
    standing = prepare(context, options, needs_origin=options.beta > 0)
    problems = judged_problems(context, standing.foundation, options.data, options).train
    seed = derive_seed(context.seed, context.spec.name, "data")
    rollout = RolloutConfig(
        max_tokens_to_generate=options.max_completion_length,
        max_prompt_length=options.max_prompt_length,
        kv_cache_size=options.max_prompt_length + options.max_completion_length,
        temperature=options.temperature,
        top_p=1.0,
        top_k=options.top_k or None,
        eos_tokens=list(standing.foundation.stops),
    )

    def batches() -> Iterator[dict[str, Any]]:
        for number in range(1, context.spec.steps + 1):
            rollout.seed = derive_seed(context.seed, context.spec.name, "rollout", number)
            chosen = examples_at(problems, number, options.batch, seed)
            yield {
                "prompts": np.array([prompt(example, standing.foundation) for example in chosen]),
                "answer": np.array([example.answer for example in chosen]),
                "domain": np.array([example.domain for example in chosen]),
            }
            passed(number)

    mesh, steps = standing.foundation.mesh, context.spec.steps
    config = ClusterConfig(
        role_to_mesh={Role.ACTOR: mesh, Role.REFERENCE: mesh, Role.ROLLOUT: mesh},
        training_config=RLTrainingConfig(
            actor_optimizer=optimizer(options, steps),
            eval_every_n_steps=steps + 1,
            max_steps=steps,
            mini_batch_size=options.batch,
            train_micro_batch_size=options.batch,
            rollout_micro_batch_size=options.batch,
            compute_logps_micro_batch_size=options.batch,
        ),
        rollout_config=rollout,
    )
    cluster = RLCluster(
        actor=with_tunix_signature(standing.model),
        reference=with_tunix_signature(standing.frozen) if options.beta > 0 else None,
        tokenizer=standing.foundation.tokenizer,
        cluster_config=config,
    )
    cluster.actor_trainer.config.max_steps = None  # no progress bar
    learner = GRPOLearner(
        rl_cluster=cluster,
        algo_config=GRPOConfig(
            num_generations=options.num_generations,
            beta=options.beta,
            epsilon=options.epsilon,
            kl_loss_mode="low_var_kl",
        ),
        reward_fns=[
            _weighted(reward, options.rewards[name]) for name, reward in checked_rewards(options.rewards).items()
        ],
    )
    try:
        learner.train(batches())
    finally:
        learner.executor.shutdown()
    actor = cluster.actor_trainer.optimizer
    return checkpoints.digests(state_of(standing, options, actor, keeps_origin=options.beta > 0))


def _weighted(reward: Callable[..., list[float]], weight: float) -> Callable[..., list[float]]:
    @functools.wraps(reward)  # Tunix reads the names of further arguments from the signature
    def scaled(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        return [weight * value for value in reward(prompts=prompts, completions=completions, **columns)]

    return scaled
