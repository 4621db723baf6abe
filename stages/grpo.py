"""Reinforcement learning with GRPO: the model generates, rewards judge, and completions better than their
group's mean become more likely.

Tunix's RL cluster generates the completions and runs the training steps. Advantages (`stages.training.policy`)
and the loss (`stages.training.losses`) are relay's own, so that gradient accumulation, stop tokens and the
GRPO variants follow their papers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from stages.data import Example, derive_seed, examples_at
from stages.options import Grpo
from stages.rewards import checked_rewards
from stages.session.time_accounting import TimeClass
from stages.stage import Context, StageFailed
from stages.training.guards import TrainingGuard
from stages.training.initial_state import FrozenWeightsCheck, StageState, prepare, state_of
from stages.training.losses import PolicyBatch, PolicyLoss, frozen_logprobs, parts
from stages.training.optimizers import measurements
from stages.training.policy import (
    Bools,
    DrawnAnswer,
    Floats,
    arrays_for,
    informative,
    length_metrics,
    overlong_penalty,
    weighted_sum,
)
from stages.training.probe_eval import check
from stages.training.rollout_metrics import shown, worth
from stages.training.rollouts import Cluster, cluster_of
from stages.training.stage_data import judged_problems, prompt
from stages.training.steps import LatestMetrics, checked, do_steps, quiet_libraries

Choose = Callable[[int, int], Sequence[Example]]
"""Function from (step, seed) to that step's problems."""
Chooser = Callable[[StageState, Sequence[Example]], Choose]
"""Function from the stage's state and all training problems to the `Choose` of that stage."""


def train(context: Context) -> None:
    """Run the stage; the protocol is described in `stages.stage`."""
    options = checked(Grpo, context)

    def chooser(_: StageState, problems: Sequence[Example]) -> Choose:
        return lambda step, seed: examples_at(problems, step, options.batch, seed)

    learn_from(context, options, chooser)


def learn_from(context: Context, options: Grpo, chooser: Chooser) -> None:
    """Run the stage's steps on the problems selected by `chooser`."""
    with quiet_libraries():
        _learn_from(context, options, chooser)


def _learn_from(context: Context, options: Grpo, chooser: Chooser) -> None:
    keeps_origin = options.beta > 0
    with context.doing(TimeClass.MODEL):
        stage_state = prepare(context, options, needs_origin=keeps_origin)
    with context.doing(TimeClass.DATA):
        problems = judged_problems(context, stage_state.foundation, options.data, options).train
    if not problems:
        raise StageFailed(
            "bad-data",
            f"data {' '.join(options.data)}: no training problem has a gradable answer: name other data, "
            "or raise max_prompt_length",
        )
    metrics = LatestMetrics()
    with context.doing(TimeClass.MODEL):
        probe = check(context, options, stage_state)
        cluster = cluster_of(stage_state, options, context.spec.steps, metrics)
        cluster.doing = context.doing
        trainer = cluster.actor_trainer
        trainer.with_loss_fn(PolicyLoss.of(options), has_aux=True)
        trainer.with_gen_model_input_fn(lambda batch: {"batch": batch})
        metric_names = ("kl", "clipped_share", "logprob") if keeps_origin else ("clipped_share", "logprob")
        trainer.with_rl_metrics_to_log(dict.fromkeys(metric_names, np.mean))
        guard, frozen = TrainingGuard(options, context.spec.name), FrozenWeightsCheck(stage_state, options)
    draws = Draws(context, options, cluster, stage_state, chooser(stage_state, problems))

    def step(number: int) -> dict[str, float]:
        sampled = draws.at(number)
        batch = _batch(sampled, stage_state, options)
        for _ in range(options.num_iterations):
            cluster.update_actor(parts(batch, options.gradient_accumulation_steps), None)
        trainer.close()  # flushes this step's metrics, which the trainer would buffer until the next one
        found = {
            **metrics.take("loss", *metric_names),
            **measurements(trainer.optimizer.opt_state),
            **sampled.metrics,
        }
        guard.watch(number, found)
        frozen.look(found)
        return {**found, **probe.take()}

    def state() -> Any:
        return state_of(stage_state, options, trainer.optimizer, keeps_origin=keeps_origin)

    do_steps(context, step, state)


# --- what a step learns from --------------------------------------------------


@dataclass(frozen=True)
class Sampled:
    """Completions that a step learns from, grouped by problem, with their rewards."""

    prompts: np.ndarray[Any, Any]
    """Prompt tokens, rows × positions, padded on the left."""
    answers: list[DrawnAnswer]
    rewards: Floats
    metrics: dict[str, float]
    """Metrics over all completions that were generated, including those not learnt from."""


class Draws:
    """Generates and judges a step's completions, a function of the seed, the step and the current model."""

    def __init__(self, context: Context, options: Grpo, cluster: Cluster, standing: StageState, choose: Choose) -> None:
        self._context, self._options, self._cluster, self._standing = context, options, cluster, standing
        self._choose = choose
        self._rewards = checked_rewards(options.rewards)

    def at(self, step: int) -> Sampled:
        """Return the step's groups.

        With `dynamic_sampling` (DAPO, arXiv:2503.14476, section 3.2) a group whose completions all have the same reward
        is replaced by one from another round of problems, for as many rounds as the option allows. If groups are still
        missing then, the batch is filled with uninformative groups of the first rounds, which contribute no gradient.
        """
        rounds = [self._round(step, 0)]
        while len(rounds) <= self._options.dynamic_sampling and self._useful(rounds) < self._options.batch:
            rounds.append(self._round(step, len(rounds)))
        return chosen_groups(rounds, self._options)

    def _useful(self, rounds: Sequence[Sampled]) -> int:
        return sum(int(_useful(each.rewards, each.answers, self._options).sum()) for each in rounds)

    def _round(self, step: int, number: int) -> Sampled:
        """Generate and judge one round of a step: one batch of problems."""
        context, options, name = self._context, self._options, self._context.spec.name
        with context.doing(TimeClass.DATA):
            seed = derive_seed(context.seed, name, "data")
            examples = self._choose(step, derive_seed(seed, "round", number) if number else seed)
            rows = [example for example in examples for _ in range(options.num_generations)]
            prompts = [prompt(example, self._standing.foundation) for example in rows]
        label = f"{number}" if number else ""
        context.saw(step, f"batch{label}", [example.key for example in examples])
        words = (step, number) if number else (step,)
        tokens, answers = self._cluster.draw(prompts, derive_seed(context.seed, name, "rollout", *words))
        context.saw(step, f"rollouts{label}", [answer.tokens for answer in answers])
        return self._judged(step, rows, prompts, tokens, answers)

    def _judged(
        self, step: int, rows: list[Example], prompts: list[str], tokens: Any, answers: list[DrawnAnswer]
    ) -> Sampled:
        options, texts = self._options, [answer.text for answer in answers]
        columns: dict[str, Any] = {"answer": [row.answer for row in rows], "domain": [row.domain for row in rows]}
        values = {
            name: np.asarray(reward(prompts=prompts, completions=texts, **columns), np.float64)
            for name, reward in self._rewards.items()
        }
        lengths = np.array([len(answer.tokens) for answer in answers])
        penalty = overlong_penalty(lengths, options.max_completion_length, options.overlong_buffer)
        rewards = weighted_sum(values, options.rewards) + options.overlong_penalty * penalty
        if options.show_every and step % options.show_every == 0:
            self._context.say(shown(step, prompts, texts, rewards, options.num_generations))
        reward_metrics = worth(texts, rewards, options.num_generations, values, columns)
        tokens_drawn = float(np.count_nonzero(tokens) + lengths.sum())  # padding is token 0
        return Sampled(
            tokens,
            answers,
            rewards,
            {
                **reward_metrics,
                **length_metrics(lengths.tolist(), [answer.truncated for answer in answers]),
                "tokens": tokens_drawn,
            },
        )


def _useful(rewards: Floats, answers: Sequence[DrawnAnswer], options: Grpo) -> Bools:
    """Return, for each group, whether it contributes to the gradient."""
    masked = [options.mask_truncated_completions and answer.truncated for answer in answers]
    return informative(rewards, options.num_generations, ~np.array(masked))


def chosen_groups(rounds: Sequence[Sampled], options: Grpo) -> Sampled:
    """Select the first informative groups in order of generation, filled up with uninformative ones to a full batch."""
    group = options.num_generations
    rewards = np.concatenate([each.rewards for each in rounds])
    answers = [answer for each in rounds for answer in each.answers]
    useful = _useful(rewards, answers, options)
    taken = np.sort(np.argsort(~useful, kind="stable")[: options.batch])
    rows = (taken[:, None] * group + np.arange(group)).reshape(-1)
    means = {name: float(np.mean([each.metrics[name] for each in rounds])) for name in rounds[0].metrics}
    metrics = {
        **means,
        "max_length": max(each.metrics["max_length"] for each in rounds),
        "tokens": sum(each.metrics["tokens"] for each in rounds),
        "idle_groups": float(np.mean(~useful[taken])),
    }
    if options.dynamic_sampling:
        metrics["sampled_groups"] = float(len(useful))
    prompts = np.concatenate([each.prompts for each in rounds])
    return Sampled(prompts[rows], [answers[row] for row in rows], rewards[rows], metrics)


def _batch(sampled: Sampled, stage_state: StageState, options: Grpo) -> PolicyBatch:
    """Build the step's arrays, with log-probabilities under the reference and under the policy
    that generated the completions."""
    padding = stage_state.foundation.tokenizer.pad_id()
    batch = PolicyBatch(prompts=sampled.prompts, **arrays_for(sampled.answers, sampled.rewards, options, padding))

    mesh = stage_state.foundation.mesh

    def logprobs(model: Any) -> Any:
        pieces = parts(batch, options.gradient_accumulation_steps)
        return jnp.concatenate([frozen_logprobs(model, piece, options.temperature, mesh) for piece in pieces])

    with mesh:
        reference = logprobs(stage_state.frozen) if options.beta > 0 else None
        old = logprobs(stage_state.model) if options.num_iterations > 1 else None
    return replace(batch, reference=reference, old=old)
