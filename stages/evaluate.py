"""Asks problems that were never trained on and counts what comes back; the model passes through unchanged.

Besides the metrics it leaves an artifact, `transcripts-<stage>.jsonl`: wrong answers first, and where judges disagree; a quarter of
it are the same problems in every evaluation, so that answers before and after can be read side by side.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from stages.data import Example, derive_seed, each_once_at
from stages.options import Evaluate
from stages.rewards import answer_of, correctness_reward, judgements, structure_reward
from stages.session.time_accounting import TimeClass
from stages.stage import Context, StageFailed
from stages.training.checkpoints import TrainingState
from stages.training.confidence import wilson
from stages.training.generate import Completions, Generator
from stages.training.initial_state import is_resumed, load_trained
from stages.training.policy import length_metrics
from stages.training.stage_data import judged_problems
from stages.training.steps import checked, do_steps, quiet_libraries

COMPARED = 4
"""One of so many transcripts is kept whatever came of it: evaluations ask the same problems in the same order."""

Row = dict[str, Any]
"""One answer: key, set, whether hard, format, right, cut, length in tokens, question, answer, wanted, judges that disagree."""


def train(context: Context) -> None:
    """Run the stage: see `stages.stage`. Its metrics are rates over all problems so far: the last ones are the result."""
    options = checked(Evaluate, context)
    with quiet_libraries():
        _evaluate(context, options)


def _evaluate(context: Context, options: Evaluate) -> None:
    foundation, before = load_trained(context)
    with context.doing(TimeClass.DATA):
        problems = judged_problems(context, foundation, options.data, options).held_out
    if not problems:
        raise StageFailed(
            "bad-data",
            f"data {' '.join(options.data)} holds no problem out whose answer can be judged: name other data, or raise max_prompt_length",
        )
    asker, hard = Generator(foundation, options), hard_ones(problems)
    artifact = f"transcripts-{context.spec.name}.jsonl"
    # The same problems in every evaluation of a run, so that two of them can be compared.
    seed = derive_seed(context.seed, "evaluate")
    rows = read(before.artifacts.get(artifact, "")) if is_resumed(context) else []

    done = context.start_step

    def step(number: int) -> dict[str, float]:
        nonlocal done
        chosen = each_once_at(problems, number, options.batch, seed)
        answers = asker.greedy(chosen, options.batch)
        context.saw(number, "rollouts", answers.texts)
        rows.extend(judged(chosen, answers, hard))
        done = number
        return {**rates(rows), **answers.measured}

    def state() -> TrainingState:
        # Until the last step all rows are kept: a session that goes on counts them too.
        kept = transcripts(rows, options.transcripts) if done == context.spec.steps else rows
        artifacts = {**before.artifacts, artifact: written(kept, rates(rows))}
        return dataclasses.replace(before, origin=None, optimizer=None, counters={}, artifacts=artifacts)

    do_steps(context, step, state, TimeClass.EVALUATION)


def hard_ones(problems: Sequence[Example]) -> set[str]:
    """Keys of the problems whose reference solution is longer than the median of their set."""
    lengths: dict[str, list[int]] = {}
    for problem in problems:
        lengths.setdefault(problem.source, []).append(len(problem.completion))
    middle = {source: median(found) for source, found in lengths.items()}
    return {problem.key for problem in problems if len(problem.completion) > middle[problem.source]}


def judged(examples: Sequence[Example], answers: Completions, hard: set[str]) -> list[Row]:
    """One row an answer."""
    right = correctness_reward(
        [], answers.texts, answer=[e.answer for e in examples], domain=[e.domain for e in examples]
    )
    shaped = structure_reward([], answers.texts)
    return [
        {
            "key": example.key,
            "set": example.source,
            "hard": example.key in hard,
            "format": bool(shaped[number]),
            "right": bool(right[number]),
            "cut": answers.cut[number],
            "length": answers.lengths[number],
            "question": example.question,
            "answer": answers.texts[number],
            "wanted": example.answer,
            "disagree": _disagreement(example, answers.texts[number]),
        }
        for number, example in enumerate(examples)
    ]


def rates(rows: Sequence[Row]) -> dict[str, float]:
    """Of all answers so far: the shares that have the format and are right, with its 95 % interval, for each set and on hard problems;
    their mean and greatest length in tokens, and the share that was cut off."""
    found = {
        "format": _share([row["format"] for row in rows]),
        **_with_interval("accuracy", [row["right"] for row in rows]),
        "hard_accuracy": _share([row["right"] for row in rows if row["hard"]]),
        **length_metrics([row["length"] for row in rows], [row["cut"] for row in rows]),
        "disagreements": float(sum(bool(row["disagree"]) for row in rows)),
        "asked": float(len(rows)),
    }
    for name in sorted({row["set"] for row in rows}):
        found |= _with_interval(name, [row["right"] for row in rows if row["set"] == name])
    return found


def transcripts(rows: Sequence[Row], count: int) -> list[Row]:
    """The first quarter of `count` that were asked, and of the others those that are worth reading most.

    Judges disagree, then wrong, then right; each in the order of asking.
    """
    order = sorted(range(len(rows)), key=lambda index: (not rows[index]["disagree"], rows[index]["right"], index))
    compared = set(range(min(len(rows), count // COMPARED)))
    others = [index for index in order if index not in compared][: count - len(compared)]
    kept = compared.union(others)
    return [rows[index] for index in order if index in kept]


def written(rows: Sequence[Row], metrics: Mapping[str, float]) -> str:
    """The artifact: a line with the rates, then a row an answer."""
    lines = [dict(sorted(metrics.items())), *rows]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def read(artifact: str) -> list[Row]:
    """The rows of an artifact that `written` wrote before the evaluation was done."""
    return [json.loads(line) for line in artifact.splitlines()[1:]]


def _disagreement(example: Example, text: str) -> dict[str, bool]:
    """What each judge says, where they say different things; mathematics has more than one judge."""
    given = answer_of(text)
    if example.domain != "math" or given is None:
        return {}
    found = judgements(text, example.answer)
    return found if len(set(found.values())) > 1 else {}


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / max(1, len(hits))


def _with_interval(name: str, hits: Sequence[bool]) -> dict[str, float]:
    low, high = wilson(sum(hits), len(hits))
    return {name: _share(hits), f"{name}_low": low, f"{name}_high": high}
