"""Selects the hard problems: those that the current model solves in some, but not in most, of several tries.

The results are an artifact that travels with the checkpoint (`hard-subset.jsonl`): a first line with
the rule, the counts and the rows' SHA-256, then one row per problem with the reason for its selection.
The model is passed on unchanged.
"""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.data import Example, derive_seed, each_once_at
from stages.options import Curate
from stages.rewards import correctness_reward
from stages.session.time_accounting import TimeClass
from stages.stage import Context, StageFailed
from stages.training.checkpoints import TrainingState
from stages.training.generate import Generator
from stages.training.initial_state import is_resumed, load_trained
from stages.training.policy import length_metrics
from stages.training.stage_data import judged_problems
from stages.training.steps import checked, do_steps, quiet_libraries

HARD_SUBSET = "hard-subset.jsonl"
LABELS = ("very easy", "easy", "medium", "hard", "very hard")
"""Magpie's difficulty labels, from the easiest to the hardest."""


@dataclass(frozen=True)
class Tried:
    """A problem and the number of correct tries. `label` and `solution_chars` are its data set's
    estimate of its difficulty."""

    key: str
    source: str
    solved: int
    tries: int
    label: str
    solution_chars: int

    @property
    def hardness(self) -> tuple[int, int, str]:
        """Sort key of unsolved problems: label, then length of the solution, then the problem's key."""
        label = LABELS.index(self.label) if self.label in LABELS else LABELS.index("medium")
        return label, self.solution_chars, self.key


def train(context: Context) -> None:
    """Run the stage; the protocol is described in `stages.stage`."""
    options = checked(Curate, context)
    with quiet_libraries():
        _curate(context, options)


def _curate(context: Context, options: Curate) -> None:
    foundation, before = load_trained(context)
    with context.doing(TimeClass.DATA):
        problems = judged_problems(context, foundation, options.data, options).train
    if not problems:
        raise StageFailed(
            "bad-data",
            f"data {' '.join(options.data)}: no training problem has a gradable answer: name other data, "
            "or raise max_prompt_length",
        )
    generator = Generator(foundation, options)
    tried = read(before.artifacts.get(HARD_SUBSET, "")) if is_resumed(context) else []
    order_seed = derive_seed(context.seed, context.spec.name, "order")

    def step(number: int) -> dict[str, float]:
        chosen = each_once_at(problems, number, options.batch, order_seed)
        context.saw(number, "batch", [example.key for example in chosen])
        asked = [example for example in chosen for _ in range(options.num_generations)]
        seed = derive_seed(context.seed, context.spec.name, "draw", number)
        answers = generator.sample(asked, options.batch * options.num_generations, options, seed)
        context.saw(number, "rollouts", answers.texts)
        tried.extend(judged(chosen, answers.texts, options.num_generations))
        lengths = length_metrics(answers.lengths, answers.cut)
        return {**summary(tried, options), **answers.measured, "examples": float(len(chosen)), **lengths}

    def state() -> TrainingState:
        artifacts = {**before.artifacts, HARD_SUBSET: written(tried, options)}
        return dataclasses.replace(before, origin=None, optimizer=None, counters={}, artifacts=artifacts)

    do_steps(context, step, state, TimeClass.ROLLOUT)


def judged(examples: Sequence[Example], texts: Sequence[str], tries: int) -> list[Tried]:
    """Judge the answers: `tries` per problem, with the answers to one problem next to each other."""
    asked = [example for example in examples for _ in range(tries)]
    right = correctness_reward([], texts, answer=[e.answer for e in asked], domain=[e.domain for e in asked])
    return [
        Tried(
            key=example.key,
            source=example.source,
            solved=int(sum(right[number * tries : (number + 1) * tries])),
            tries=tries,
            label=example.difficulty,
            solution_chars=len(example.completion),
        )
        for number, example in enumerate(examples)
    ]


def reasons(tried: Sequence[Tried], options: Curate) -> dict[str, str]:
    """Return the reason why each hard problem is hard, by key, in the order of trying.

    If fewer than `hard_min` problems are solved sometimes, the hardest unsolved ones by `Tried.hardness` are added.
    """
    found = {each.key: "solved sometimes" for each in tried if 0 < each.solved <= options.solved_max * each.tries}
    unsolved = sorted((each for each in tried if each.solved == 0), key=lambda each: each.hardness, reverse=True)
    for each in unsolved[: max(0, options.hard_min - len(found))]:
        found[each.key] = f"never solved; label {each.label or 'none'}, solution of {each.solution_chars} characters"
    return {each.key: found[each.key] for each in tried if each.key in found}


def summary(tried: Sequence[Tried], options: Curate) -> dict[str, float]:
    """Compute the metrics: problems tried so far, number of hard ones, and share of correct answers."""
    answers = sum(each.tries for each in tried)
    return {
        "tried": float(len(tried)),
        "hard": float(len(reasons(tried, options))),
        "accuracy": sum(each.solved for each in tried) / max(1, answers),
    }


def written(tried: Sequence[Tried], options: Curate) -> str:
    """Format the artifact: one line with the summary, then one row per problem."""
    why = reasons(tried, options)
    rows = [
        _line({**dataclasses.asdict(each), "hard": each.key in why, "reason": why.get(each.key, "")}) for each in tried
    ]
    about: dict[str, Any] = {
        "rule": f"solved in some, but in no more than {options.solved_max:g} of {options.num_generations} tries",
        "tried": len(tried),
        "hard": len(why),
        "by_source": dict(sorted(Counter(each.source for each in tried if each.key in why).items())),
        "rows_sha256": hashlib.sha256("".join(rows).encode()).hexdigest(),
    }
    return "".join([_line(about), *rows])


def read(artifact: str) -> list[Tried]:
    """Parse the rows of an artifact that `written` made; an empty list for an empty artifact."""
    names = [field.name for field in dataclasses.fields(Tried)]
    rows = [json.loads(line) for line in artifact.splitlines()[1:]]
    return [Tried(**{name: row[name] for name in names}) for row in rows]


def hard_keys(artifacts: Mapping[str, str]) -> set[str]:
    """Return the keys of the problems that the last curate stage selected."""
    rows = [json.loads(line) for line in artifacts.get(HARD_SUBSET, "").splitlines()[1:]]
    return {row["key"] for row in rows if row["hard"]}


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False) + "\n"
