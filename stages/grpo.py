"""Reinforcement learning with GRPO: the model generates, rewards judge, and completions better than their
group's mean become more likely.

Tunix's RL cluster generates the completions and runs the training steps. Advantages (`stages.training.policy`)
and the loss (`stages.training.losses`) are relay's own, so that gradient accumulation, stop tokens and the
GRPO variants follow their papers.

Rows are padded to one of a few shapes per stage (`stages.training.widths.row_shapes`). The device computes the
reference's log-probabilities while rewards are judged: see `stages.training.weighing.score`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.data import Example, derive_seed, examples_at
from stages.options import Grpo
from stages.rewards import checked_rewards
from stages.session.time_accounting import TimeClass
from stages.stage import Context, StageFailed
from stages.training.compiled_shapes import CompiledShapes
from stages.training.guards import TrainingGuard
from stages.training.initial_state import FrozenWeightsCheck, StageState, prepare, state_of
from stages.training.losses import PolicyLoss
from stages.training.optimizers import measurements
from stages.training.policy import (
    Bools,
    DrawnAnswer,
    Floats,
    Sampled,
    informative,
    length_metrics,
    overlong_penalty,
    weighted_sum,
)
from stages.training.probe_eval import check
from stages.training.rollout_metrics import shown, worth
from stages.training.rollouts import Cluster, cluster_of
from stages.training.stage_data import judged_problems, prompt, prompt_length
from stages.training.steps import LatestMetrics, checked, do_steps, quiet_libraries
from stages.training.weighing import WeighedPart, score, weigh
from stages.training.widths import RowShape, row_shapes

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
    problems = _problems(context, stage_state, options)
    shapes = _shapes(context, stage_state, options, problems)
    compiled = CompiledShapes(context, shapes)
    with context.doing(TimeClass.MODEL):
        probe = check(context, options, stage_state)
        updater = PolicyUpdater(context, stage_state, options)
        guard, frozen = TrainingGuard(options, context.spec.name), FrozenWeightsCheck(stage_state, options)
    source = RolloutSource(context, options, updater.cluster, stage_state, chooser(stage_state, problems))
    judge = RewardJudge(context, options)

    def step(number: int) -> dict[str, float]:
        """Draw and judge completions, choose those to learn from, weigh their tokens, update the policy, and check."""
        rounds: list[Sampled] = []
        scored = None
        while needs_round(rounds, options):
            drawn = source.draw(number, len(rounds))
            if not options.dynamic_sampling:  # otherwise the rewards decide which rows are computed at all
                scored = score(drawn.tokens, drawn.answers, stage_state, options, shapes)
            rounds.append(judge.judge(number, drawn))
        chosen = chosen_groups(rounds, options)
        batch = weigh(chosen, stage_state, options, shapes, scored)
        updated = updater.update(batch)
        compiled.used(part.shape for part in batch)
        metrics = {**updated, **chosen.metrics}
        guard.watch(number, metrics)
        frozen.look(metrics)
        return {**metrics, **probe.take()}

    def state() -> Any:
        return state_of(stage_state, options, updater.trainer.optimizer, keeps_origin=keeps_origin)

    do_steps(context, step, state, options=options)


def _problems(context: Context, stage_state: StageState, options: Grpo) -> Sequence[Example]:
    """Return the training problems; raises StageFailed if there are none."""
    with context.doing(TimeClass.DATA):
        problems = judged_problems(context, stage_state.foundation, options.data, options).train
    if not problems:
        raise StageFailed(
            "bad-data",
            f"data {' '.join(options.data)}: no training problem has a gradable answer: name other data, "
            "or raise max_prompt_length",
        )
    return problems


def _shapes(
    context: Context, stage_state: StageState, options: Grpo, problems: Sequence[Example]
) -> tuple[RowShape, ...]:
    """Return the shapes that the stage's steps are padded to: a function of its problems and options."""
    with context.doing(TimeClass.DATA):
        lengths = [prompt_length(example, stage_state.foundation) for example in problems]
    shapes = row_shapes(lengths, options.max_prompt_length, options.max_completion_length)
    widths, answers = (" or ".join(f"{width:,}" for width in column) for column in zip(*shapes, strict=True))
    context.say(f"rows are padded to {widths} tokens, and their completions to {answers}")
    return shapes


# --- draw ---------------------------------------------------------------------


@dataclass(frozen=True)
class DrawnRound:
    """Completions of one batch of problems, before they are judged; one entry per completion."""

    rows: list[Example]
    prompts: list[str]
    tokens: np.ndarray[Any, Any]
    """Prompt tokens, rows × positions, padded on the left."""
    answers: list[DrawnAnswer]
    padding: int = 0
    """Id of the token for padding."""


class RolloutSource:
    """Generates a step's completions, a function of the seed, the step and the current model."""

    def __init__(self, context: Context, options: Grpo, cluster: Cluster, standing: StageState, choose: Choose) -> None:
        self._context, self._options, self._cluster, self._standing = context, options, cluster, standing
        self._choose = choose

    def draw(self, step: int, number: int) -> DrawnRound:
        """Generate the completions of one round of a step: one batch of problems."""
        context, options, name = self._context, self._options, self._context.spec.name
        with context.doing(TimeClass.DATA):
            seed = derive_seed(context.seed, name, "data")
            examples = self._choose(step, derive_seed(seed, "round", number) if number else seed)
            rows = [example for example in examples for _ in range(options.num_generations)]
            prompts = [prompt(example, self._standing.foundation) for example in rows]
        context.saw(step, f"batch{number or ''}", [example.key for example in examples])
        words = (step, number) if number else (step,)
        tokens, answers = self._cluster.draw(prompts, derive_seed(context.seed, name, "rollout", *words))
        context.saw(step, f"rollouts{number or ''}", [answer.tokens for answer in answers])
        return DrawnRound(rows, prompts, tokens, answers, self._standing.foundation.tokenizer.pad_id())


# --- judge --------------------------------------------------------------------


class RewardJudge:
    """Judges completions by the rewards that the options name."""

    def __init__(self, context: Context, options: Grpo) -> None:
        self._context, self._options = context, options
        self._rewards = checked_rewards(options.rewards)

    def judge(self, step: int, drawn: DrawnRound) -> Sampled:
        """Return the completions with their rewards and metrics; shows some in the log when the options say so."""
        options, prompts, rows = self._options, drawn.prompts, drawn.rows
        texts = [answer.text for answer in drawn.answers]
        columns: dict[str, Any] = {"answer": [row.answer for row in rows], "domain": [row.domain for row in rows]}
        values = {
            name: np.asarray(reward(prompts=prompts, completions=texts, **columns), np.float64)
            for name, reward in self._rewards.items()
        }
        lengths = np.array([len(answer.tokens) for answer in drawn.answers])
        penalty = overlong_penalty(lengths, options.max_completion_length, options.overlong_buffer)
        rewards = weighted_sum(values, options.rewards) + options.overlong_penalty * penalty
        if options.show_every and step % options.show_every == 0:
            self._context.say(shown(step, prompts, texts, rewards, options.num_generations))
        metrics = {
            **worth(texts, rewards, options.num_generations, values, columns),
            **length_metrics(lengths.tolist(), [answer.truncated for answer in drawn.answers]),
            "tokens": float(np.count_nonzero(drawn.tokens != drawn.padding) + lengths.sum()),
        }
        return Sampled(drawn.tokens, drawn.answers, rewards, metrics)


# --- choose -------------------------------------------------------------------


def needs_round(rounds: Sequence[Sampled], options: Grpo) -> bool:
    """Return True until there are enough groups to learn from, or the options allow no more rounds.

    With `dynamic_sampling` (DAPO, arXiv:2503.14476, section 3.2) a group whose completions all have the same reward is
    replaced by one from another round of problems, for as many rounds as the option allows. If groups are still missing
    then, the batch is filled with uninformative groups of the first rounds, which contribute no gradient.
    """
    if not rounds or len(rounds) > options.dynamic_sampling:
        return not rounds
    return sum(int(_useful(each.rewards, each.answers, options).sum()) for each in rounds) < options.batch


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


# --- update -------------------------------------------------------------------


class PolicyUpdater:
    """Updates the policy with Tunix's trainer."""

    def __init__(self, context: Context, stage_state: StageState, options: Grpo) -> None:
        self._options, self._metrics = options, LatestMetrics()
        self.cluster = cluster_of(stage_state, options, context.spec.steps, self._metrics)
        self.cluster.doing = context.doing
        self.trainer = self.cluster.actor_trainer
        self.trainer.with_loss_fn(PolicyLoss.of(options, stage_state.foundation.tokenizer.pad_id()), has_aux=True)
        self.trainer.with_gen_model_input_fn(lambda batch: {"batch": batch})

    def update(self, parts: Sequence[WeighedPart]) -> dict[str, float]:
        """Do the batch's updates, as many as the options say, and return the metrics of the last one."""
        batches = [part.batch for part in parts]
        optional = {"kl": batches[0].reference, "sampler_kl": batches[0].sampler}
        names = ["clipped_share", "logprob", *(name for name, array in optional.items() if array is not None)]
        self.trainer.with_rl_metrics_to_log(dict.fromkeys(names, np.mean))
        for _ in range(self._options.num_iterations):
            self.cluster.update_actor(iter(batches), None)
        self.trainer.close()  # flushes this step's metrics, which the trainer would buffer until the next one
        return {**self._metrics.take("loss", *names), **measurements(self.trainer.optimizer.opt_state)}
