"""Answers the questions of a file; the model is passed on unchanged.

The artifact `answers-<stage>.jsonl` has one line for each question that was answered, in the order of the file: its id,
the question, reasoning and answer apart, and the whole text.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from stages.contract import ANSWERS
from stages.data import Example, derive_seed
from stages.data.questions import AskedLine, questions_in
from stages.options import Answer
from stages.rewards import answer_of
from stages.rewards.parts import reasoning_of
from stages.session.time_accounting import TimeClass
from stages.stage import Context, StageFailed
from stages.training.checkpoints import TrainingState
from stages.training.generate import Completions, Generator
from stages.training.initial_state import is_resumed, load_trained
from stages.training.model import Foundation
from stages.training.policy import length_metrics
from stages.training.stage_data import prompt
from stages.training.steps import checked, do_steps, quiet_libraries

Row = dict[str, Any]
"""Line of the artifact. `answer` is None unless the text has exactly one answer block, and `problem` says why a
question was not asked."""


def train(context: Context) -> None:
    """Run the stage; the protocol is described in `stages.stage`."""
    options = checked(Answer, context)
    with quiet_libraries():
        _answer(context, options)


def _answer(context: Context, options: Answer) -> None:
    foundation, before = load_trained(context)
    with context.doing(TimeClass.DATA):
        questions = _questions(context, options)
        problems = too_long(questions, foundation, options)
    asked = min(len(questions), context.spec.steps * options.batch)  # a shortened rehearsal has too few steps
    context.say(
        f"{options.questions}: {asked:,} of {len(questions):,} questions, {len(problems):,} of all are too long"
    )
    generator = Generator(foundation, options)
    artifact = ANSWERS.format(stage=context.spec.name)
    rows = read(before.artifacts.get(artifact, "")) if is_resumed(context) else []

    def step(number: int) -> dict[str, float]:
        chosen = questions[(number - 1) * options.batch : number * options.batch]
        examples = [Example(options.questions, each.question) for each in chosen if each.line not in problems]
        if options.temperature:
            seed = derive_seed(context.seed, context.spec.name, "draw", number)
            answers = generator.sample(examples, options.batch, options, seed)
        else:
            answers = generator.greedy(examples, options.batch)
        context.saw(number, "rollouts", answers.texts)
        rows.extend(answered(chosen, answers, problems))
        return {**measured(rows), **answers.measured}

    def state() -> TrainingState:
        artifacts = {**before.artifacts, artifact: written(rows)}
        return dataclasses.replace(before, origin=None, optimizer=None, counters={}, artifacts=artifacts)

    do_steps(context, step, state, TimeClass.ROLLOUT)


def _questions(context: Context, options: Answer) -> tuple[AskedLine, ...]:
    """Read the questions; raises StageFailed `bad-data` naming a bad line."""
    name = options.questions
    try:
        return questions_in(context.inputs, name, context.brought.files.get(name, ""))
    except ValueError as error:
        raise StageFailed("bad-data", f"questions: {error}") from error


def too_long(questions: Sequence[AskedLine], foundation: Foundation, options: Answer) -> dict[int, str]:
    """Return why questions cannot be asked, by line."""
    limit = options.max_prompt_length
    counts = {
        each.line: 1 + len(foundation.tokenizer.encode(prompt(Example("", each.question), foundation)))
        for each in questions
    }
    return {
        line: f"the prompt has {count:,} tokens, and max_prompt_length is {limit:,}"
        for line, count in counts.items()
        if count > limit
    }


def answered(questions: Sequence[AskedLine], answers: Completions, problems: Mapping[int, str]) -> list[Row]:
    """Return a row for each question; `answers` are those of the questions that have no problem."""
    given = iter(zip(answers.texts, answers.lengths, answers.cut, strict=True))
    rows = []
    for asked in questions:
        problem = problems.get(asked.line)
        text, tokens, cut = ("", 0, False) if problem else next(given)
        row = {
            "id": asked.id,
            "question": asked.question,
            "reasoning": reasoning_of(text) or None,
            "answer": answer_of(text),
            "text": text,
            "tokens": tokens,
            "truncated": cut,
            "problem": problem,
        }
        rows.append(row)
    return rows


def measured(rows: Sequence[Row]) -> dict[str, float]:
    """Compute metrics over all answers so far: their number, the share with an answer block, and their lengths."""
    given = [row for row in rows if row["problem"] is None]
    return {
        "answered": float(len(given)),
        "format": sum(row["answer"] is not None for row in given) / max(1, len(given)),
        **length_metrics([row["tokens"] for row in given], [row["truncated"] for row in given]),
    }


def written(rows: Sequence[Row]) -> str:
    """Format the artifact."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read(artifact: str) -> list[Row]:
    """Parse the rows of an artifact that `written` made."""
    return [json.loads(line) for line in artifact.split("\n") if line]
