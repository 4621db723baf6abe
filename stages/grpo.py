"""Reinforcement learning with Tunix's GRPO learner: the model answers, rewards judge, better answers become likelier."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import optax
from flax import nnx
from tunix.rl.grpo.grpo_learner import GRPOLearner
from tunix.rl.rl_cluster import ClusterConfig, RLCluster, RLTrainingConfig, Role
from tunix.rl.rollout.base_rollout import RolloutConfig

from stages import compat
from stages.accounting import Spent
from stages.check import check
from stages.data import Example, derive_seed, examples_at
from stages.gemma import without_remat
from stages.guards import Guard
from stages.judged import Judged
from stages.model import arrays_of
from stages.optimizers import lost_share
from stages.options import Grpo
from stages.problems import judged_problems, prompt
from stages.rewards import weighted
from stages.stage import Context, StageFailed
from stages.standing import Frozen, Standing, equip, stand, state_of
from stages.steps import LatestMetrics, calm, checked, do_steps

Choose = Callable[[int, int], Sequence[Example]]
"""From (step, seed) to that step's problems."""
Chooser = Callable[[Standing, Sequence[Example]], Choose]
"""From where the stage stands and all training problems to the choice among them."""


def train(context: Context) -> None:
    """Run the stage: see `stages.stage`."""
    options = checked(Grpo, context)

    def chooser(_: Standing, problems: Sequence[Example]) -> Choose:
        return lambda step, seed: examples_at(problems, step, options.batch, seed)

    learn_from(context, options, chooser)


def learn_from(context: Context, options: Grpo, chooser: Chooser) -> None:
    """Do the stage's steps on the problems that are chosen."""
    with calm():
        _learn_from(context, options, chooser)


def _learn_from(context: Context, options: Grpo, chooser: Chooser) -> None:
    keeps_origin = options.beta > 0
    with context.doing(Spent.MODEL):
        standing = stand(context, options, needs_origin=keeps_origin)
    with context.doing(Spent.DATA):
        problems = judged_problems(context, standing.foundation, options.data, options).train
    if not problems:
        raise StageFailed("bad-data", f"data {' '.join(options.data)} holds no problem whose answer can be judged")
    choose = chooser(standing, problems)
    metrics, judged, rollout = LatestMetrics(), Judged(options.generations), rollout_config(options, standing)
    with context.doing(Spent.MODEL):
        began = check(context, options, standing)
        cluster = _cluster(standing, options, context.spec.steps, rollout, metrics)
        cluster.doing = context.doing
        learner = _learner(cluster, options, judged)
        guard, frozen = Guard(options, context.spec.name), Frozen(standing, options)
    data_seed = derive_seed(context.seed, context.spec.name, "data")

    def step(number: int) -> dict[str, float]:
        # Tunix draws the same noise at every step unless it is told otherwise.
        rollout.seed = derive_seed(context.seed, context.spec.name, "rollout", number)
        with context.doing(Spent.DATA):
            examples = choose(number, data_seed)
            columns = _columns(examples, standing)
        context.saw(number, "batch", [example.key for example in examples])
        learner.train([columns])
        context.saw(number, "rollouts", cluster.tokens)
        if options.show_every and number % options.show_every == 0:
            context.say(judged.shown(number))
        lost = lost_share(arrays_of(cluster.actor_trainer.optimizer, nnx.optimizer.OptState))
        found = {**metrics.take("loss", "kl"), **judged.take(), "cut_answers": cluster.cut_share, **lost}
        guard.watch(number, found)
        frozen.look(found)
        return {**found, **began.take()}

    try:
        optimizer_of = cluster.actor_trainer
        do_steps(context, step, lambda: state_of(standing, options, optimizer_of.optimizer, keeps_origin=keeps_origin))
    finally:
        learner.executor.shutdown()


def _learner(cluster: "Cluster", options: Grpo, judged: Judged) -> GRPOLearner:
    return GRPOLearner(
        rl_cluster=cluster,
        algo_config=compat.grpo_config(generations=options.generations, beta=options.beta, epsilon=options.epsilon),
        reward_fns=weighted(options.rewards),
        metric_fns=[judged.watch],
    )


def _columns(examples: Sequence[Example], standing: Standing) -> dict[str, Any]:
    """What Tunix hands to the rewards, a row a problem."""
    return {
        "prompts": np.array([prompt(example, standing.foundation) for example in examples]),
        "answer": np.array([example.answer for example in examples]),
        "domain": np.array([example.domain for example in examples]),
    }


class Cluster(RLCluster):  # type: ignore[misc]
    """Tunix's cluster; remembers the tokens of the answers of the last step."""

    tokens: Sequence[Any] = ()
    answer_tokens_max = 0
    doing: Callable[[Spent], AbstractContextManager[None]]
    """The context's."""

    def generate(self, *arguments: Any, **named: Any) -> Any:
        """Called by the learner once a step."""
        with self.doing(Spent.ROLLOUT):
            output = super().generate(*arguments, **named)
        self.tokens = compat.answer_tokens(output.tokens, self.tokenizer.pad_id())
        return output

    @property
    def cut_share(self) -> float:
        """Share of the answers that were not at their end when `answer_tokens_max` tokens were there."""
        return float(np.mean([len(tokens) >= self.answer_tokens_max for tokens in self.tokens]))


def rollout_config(options: Grpo, standing: Standing) -> RolloutConfig:
    """How answers are drawn; the step sets `seed`."""
    return RolloutConfig(
        max_tokens_to_generate=options.answer_tokens_max,
        max_prompt_length=options.prompt_tokens_max,
        kv_cache_size=options.prompt_tokens_max + options.answer_tokens_max,
        temperature=options.temperature,
        top_p=1.0,
        top_k=options.top_k or None,
        eos_tokens=list(standing.foundation.stops),
    )


def _cluster(standing: Standing, options: Grpo, steps: int, rollout: RolloutConfig, metrics: LatestMetrics) -> Cluster:
    mesh = standing.foundation.mesh
    config = ClusterConfig(
        role_to_mesh={Role.ACTOR: mesh, Role.REFERENCE: mesh, Role.ROLLOUT: mesh},
        training_config=RLTrainingConfig(
            actor_optimizer=optax.identity(),
            eval_every_n_steps=steps + 1,  # never: evaluation is a stage of its own
            max_steps=1,  # any call of `train` ends after the step that it was called for
            mini_batch_size=options.batch,
            train_micro_batch_size=options.batch // options.accumulate,
            rollout_micro_batch_size=options.batch,  # in parts, each part would draw the same noise
            compute_logps_micro_batch_size=options.batch // options.accumulate,
        ),
        rollout_config=rollout,
    )
    with without_remat(standing.model):  # for the sampler that the cluster makes; training recomputes all the same
        cluster = Cluster(
            actor=standing.model,
            reference=standing.frozen if options.beta > 0 else None,
            tokenizer=standing.foundation.tokenizer,
            cluster_config=config,
        )
    assert cluster.actor_trainer.model is standing.model, "Tunix copies only what lies on another mesh"
    cluster.answer_tokens_max = options.answer_tokens_max
    trainer = cluster.actor_trainer
    trainer.config.max_steps = None  # no progress bar in the session's log
    trainer.metrics_logger = metrics
    equip(trainer, standing, options, steps)
    return cluster
