"""Evaluates the model on held-out problems; the model is passed on unchanged.

Besides the metrics it writes the artifact `transcripts-<stage>.jsonl`: answers on which the judges disagree first, then
wrong ones. A quarter of the transcripts are the same problems in every evaluation, for a side-by-side comparison. The
artifact `verdicts-<stage>.jsonl` has one line for each problem that was asked: transcripts are chosen by their verdicts,
so a test between two evaluations needs all of them.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from stages.contract import VERDICTS
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
"""Fraction 1/COMPARED of the transcripts is reserved for the first problems asked, which are
the same in each evaluation."""

Row = dict[str, Any]
"""Answer, with the keys key, set, hard, format, right, cut, length (tokens), question, answer, wanted and disagree
(verdicts of disagreeing judges)."""


def train(context: Context) -> None:
    """Run the stage (see `stages.stage`). Metrics are rates over all problems so far, so the
    last step's are the result."""
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
            f"data {' '.join(options.data)}: no held-out problem has a gradable answer: name other data, "
            "or raise max_prompt_length",
        )
    generator, hard = Generator(foundation, options), hard_ones(problems)
    artifact = f"transcripts-{context.spec.name}.jsonl"
    # The seed does not depend on the stage, so all evaluations of a run ask the same problems and can be compared.
    seed = derive_seed(context.seed, "evaluate")
    rows = read(before.artifacts.get(artifact, "")) if is_resumed(context) else []

    done = context.start_step

    def step(number: int) -> dict[str, float]:
        nonlocal done
        chosen = each_once_at(problems, number, options.batch, seed)
        answers = generator.greedy(chosen, options.batch)
        context.saw(number, "rollouts", answers.texts)
        rows.extend(judged(chosen, answers, hard))
        done = number
        return {**rates(rows), **answers.measured}

    def state() -> TrainingState:
        # All rows are kept until the last step: a session that resumes the stage needs them for its rates.
        kept = transcripts(rows, options.transcripts) if done == context.spec.steps else rows
        judgements_of_all = {VERDICTS.format(stage=context.spec.name): verdicts(rows)}
        artifacts = {**before.artifacts, artifact: written(kept, rates(rows)), **judgements_of_all}
        return dataclasses.replace(before, origin=None, optimizer=None, counters={}, artifacts=artifacts)

    do_steps(context, step, state, TimeClass.EVALUATION)


def hard_ones(problems: Sequence[Example]) -> set[str]:
    """Return the keys of the problems whose reference solution is longer than the median of their set."""
    lengths: dict[str, list[int]] = {}
    for problem in problems:
        lengths.setdefault(problem.source, []).append(len(problem.completion))
    middle = {source: median(found) for source, found in lengths.items()}
    return {problem.key for problem in problems if len(problem.completion) > middle[problem.source]}


def judged(examples: Sequence[Example], answers: Completions, hard: set[str]) -> list[Row]:
    """Judge the answers; one row per answer."""
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
    """Compute metrics over all answers so far: share with the right format; accuracy with its 95 % interval, overall
    and per set; accuracy on hard problems; mean and greatest length in tokens; share of truncated answers."""
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
    """Select `count` rows: the first quarter that were asked, then those most worth reading.

    The order is: judges disagree, wrong, right; within each group the order of asking.
    """
    order = sorted(range(len(rows)), key=lambda index: (not rows[index]["disagree"], rows[index]["right"], index))
    compared = set(range(min(len(rows), count // COMPARED)))
    others = [index for index in order if index not in compared][: count - len(compared)]
    kept = compared.union(others)
    return [rows[index] for index in order if index in kept]


def written(rows: Sequence[Row], metrics: Mapping[str, float]) -> str:
    """Format the artifact: one line with the rates, then one row per answer."""
    lines = [dict(sorted(metrics.items())), *rows]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def verdicts(rows: Sequence[Row]) -> str:
    """Format the verdict on each answer, in the order of asking."""
    return "".join(json.dumps({name: row[name] for name in ("key", "set", "format", "right")}) + "\n" for row in rows)


def read(artifact: str) -> list[Row]:
    """Parse the rows of an artifact that `written` made."""
    return [json.loads(line) for line in artifact.splitlines()[1:]]


def _disagreement(example: Example, text: str) -> dict[str, bool]:
    """Return each judge's verdict if the verdicts differ, else an empty dict; only
    mathematics has more than one judge."""
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
