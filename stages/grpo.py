"""Reinforcement learning with Tunix's GRPO learner: the model answers, rewards judge, better answers become likelier."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from flax import nnx
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rl_cluster import ClusterConfig, RLCluster, RLTrainingConfig, Role
from tunix.rl.rollout.base_rollout import RolloutConfig

from stages.data import Example, derive_seed, examples_at
from stages.model import put_arrays
from stages.optimizers import optimizer
from stages.options import Grpo
from stages.rewards import correctness_reward, structure_reward
from stages.stage import Context
from stages.standing import Standing, stand, state_of
from stages.steps import LatestMetrics, asked, calm, checked, do_steps, finished, source_of

Choose = Callable[[int, int], Sequence[Example]]
"""From (step, seed) to that step's problems."""


def train(context: Context) -> None:
    """Run the stage: see `stages.stage`."""
    options = checked(Grpo, context)
    source = source_of(context, options.data)
    learn_from(context, options, lambda step, seed: examples_at(source.train, step, options.batch, seed))


def learn_from(context: Context, options: Grpo, choose: Choose) -> None:
    """Do the stage's steps on the problems that `choose` gives."""
    with calm():
        _learn_from(context, options, choose)


def _learn_from(context: Context, options: Grpo, choose: Choose) -> None:
    keeps_origin = options.beta > 0
    standing = stand(context, options, needs_origin=keeps_origin)
    metrics, judged = LatestMetrics(), Judged(options.generations)
    rollout = _rollout_config(options)
    cluster = _cluster(standing, options, context.spec.steps, rollout, metrics)
    learner = GRPOLearner(
        rl_cluster=cluster,
        algo_config=GRPOConfig(num_generations=options.generations, beta=options.beta, epsilon=options.epsilon),
        reward_fns=[structure_reward, correctness_reward],
        metric_fns=[judged.watch],
    )
    data_seed = derive_seed(context.seed, context.spec.name, "data")

    def step(number: int) -> dict[str, float]:
        # Tunix draws the same noise at every step unless it is told otherwise.
        rollout.seed = derive_seed(context.seed, context.spec.name, "rollout", number)
        examples = choose(number, data_seed)
        prompts = asked(examples, standing.foundation.tokenizer, options.prompt_tokens_max)
        answers = [example.answer for example in examples]
        learner.train([{"prompts": np.array(prompts), "answer": np.array(answers)}])
        finished(nnx.state(cluster.actor_trainer.optimizer))
        return {**metrics.take("loss", "kl"), **judged.take()}

    try:
        do_steps(
            context,
            step,
            lambda: state_of(standing, options, cluster.actor_trainer.optimizer, keeps_origin=keeps_origin),
        )
    finally:
        learner.executor.shutdown()


class Judged:
    """What the answers of one step were worth."""

    def __init__(self, generations: int) -> None:
        self._generations = generations
        self._found: dict[str, float] = {}

    def watch(
        self, prompts: Sequence[str], completions: Sequence[str], rewards: Any, answer: Sequence[str], **_: Any
    ) -> dict[str, Any]:
        """Called by Tunix once a step, with every answer of that step."""
        groups = np.asarray(rewards).reshape(-1, self._generations)
        self._found = {
            "reward": float(np.mean(rewards)),
            "format": float(np.mean(structure_reward(prompts, completions))),
            "accuracy": float(np.mean(correctness_reward(prompts, completions, answer=answer))),
            # A group of equals teaches nothing.
            "degenerate_groups": float(np.sum(groups.max(axis=1) == groups.min(axis=1))),
        }
        return {}

    def take(self) -> dict[str, float]:
        """The step's values, and forget them."""
        found, self._found = self._found, {}
        return found


def _rollout_config(options: Grpo) -> RolloutConfig:
    return RolloutConfig(
        max_tokens_to_generate=options.answer_tokens_max,
        max_prompt_length=options.prompt_tokens_max,
        kv_cache_size=options.prompt_tokens_max + options.answer_tokens_max,
        temperature=options.temperature,
        top_p=1.0,
        top_k=options.top_k or None,
    )


def _cluster(
    standing: Standing, options: Grpo, steps: int, rollout: RolloutConfig, metrics: LatestMetrics
) -> RLCluster:
    mesh = standing.foundation.mesh
    config = ClusterConfig(
        role_to_mesh={Role.ACTOR: mesh, Role.REFERENCE: mesh, Role.ROLLOUT: mesh},
        training_config=RLTrainingConfig(
            actor_optimizer=optimizer(options, steps),
            eval_every_n_steps=steps + 1,  # never: evaluation is a stage of its own
            max_steps=1,  # any call of `train` ends after the step that it was called for
            mini_batch_size=options.batch,
            train_micro_batch_size=options.batch // options.accumulate,
            rollout_micro_batch_size=options.batch,  # in parts, each part would draw the same noise
            compute_logps_micro_batch_size=options.batch // options.accumulate,
        ),
        rollout_config=rollout,
    )
    cluster = RLCluster(
        actor=standing.model,
        reference=standing.frozen if options.beta > 0 else None,
        tokenizer=standing.foundation.tokenizer,
        cluster_config=config,
    )
    trainer = cluster.actor_trainer
    trainer.config.max_steps = None  # no progress bar in the session's log
    trainer.metrics_logger = metrics
    if standing.resumed:
        put_arrays(trainer.optimizer, standing.before.optimizer or {}, nnx.optimizer.OptState)
    return cluster
