"""Selects the examples that a stage can use from its data sets, and logs once how many were used
and why others were left out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stages.data import Example, RunData, Source, open_source, prompt_of
from stages.data.quality import unwanted
from stages.options import Asking, Sft
from stages.stage import Context, StageFailed
from stages.training.model import Foundation
from stages.training.row_packing import ExampleSize


@dataclass(frozen=True, kw_only=True)
class WorkedExamples(Source):
    """Examples to learn from; `sizes` are those of `train`, in its order."""

    sizes: tuple[ExampleSize, ...] = ()


def worked_examples(context: Context, foundation: Foundation, options: Sft) -> WorkedExamples:
    """Return the examples with a completion worth learning that fit into `max_seq_length`,
    including prompt and end token.

    Raises StageFailed `bad-data` if no training example is left; the message gives the reasons.
    """
    sizes: dict[Example, ExampleSize] = {}

    def wants(example: Example) -> str:
        if not example.completion:
            return "nothing to teach"
        if reason := unwanted(example.quality, options):
            return reason
        tokens, asked = tokens_of(example, foundation)
        sizes[example] = ExampleSize(len(tokens), len(tokens) - asked)
        return "too long" if len(tokens) > options.max_seq_length else ""

    source = _open(context, options.data, wants, "taught")
    if not source.train:
        said = f"no training example is left: {summary(options.data, source)}"
        raise StageFailed("bad-data", f"{said}; raise max_seq_length, lower min_score or name other data")
    return WorkedExamples(**vars(source), sizes=tuple(sizes[example] for example in source.train))


def judged_problems(context: Context, foundation: Foundation, data: Sequence[str], options: Asking) -> Source:
    """Return the problems whose answers can be judged and whose prompts fit into `max_prompt_length`."""

    def wants(example: Example) -> str:
        if not example.answer:
            return "cannot be judged"
        if not example.quality.english:
            return "not in English"
        # Tunix would silently raise the limit for a longer prompt.
        return "prompt too long" if prompt_length(example, foundation) > options.max_prompt_length else ""

    return _open(context, data, wants, "judged")


def prompt(example: Example, foundation: Foundation) -> str:
    """Format the prompt: the chat template with the system prompt and the question."""
    return prompt_of(example.question, foundation.options.system, foundation.options.kind)


def prompt_length(example: Example, foundation: Foundation) -> int:
    """Return the number of tokens of the prompt, with the token that begins a text."""
    return len(foundation.tokenizer.begin) + len(foundation.tokenizer.encode(prompt(example, foundation)))


def tokens_of(example: Example, foundation: Foundation) -> tuple[list[int], int]:
    """Return the tokens of prompt, completion and the end token of the model's template, and
    the number of prompt tokens."""
    tokenizer = foundation.tokenizer
    asked = [*tokenizer.begin, *tokenizer.encode(prompt(example, foundation))]
    return [*asked, *tokenizer.encode(example.completion), foundation.ending], len(asked)


def _open(context: Context, data: Sequence[str], wants: Callable[[Example], str], use: str) -> Source:
    asked = [
        name for stage in context.plan if stage.kind == "evaluate" for name in stage.options.get("data", ["gsm8k"])
    ]
    try:
        source = open_source(
            data,
            context.inputs,
            seed=context.seed,
            wants=wants,
            apart_from=asked,
            scratch=context.scratch,
            run=RunData(context.brought, context.pins, f"{context.spec.name} ({use})"),
        )
    except ValueError as error:
        raise StageFailed("bad-data", str(error)) from error
    context.say(summary(data, source))
    return source


def summary(data: Sequence[str], source: Source) -> str:
    """Summarise in one line the number of examples by use, their origins, why others were left
    out, and problems with copies."""
    left_out = ", ".join(f"{reason} {count:,}" for reason, count in sorted(source.left_out.items()))
    origins = [f"{name} from {where}" for name, where in source.origins.items()]
    used = f"data {' '.join(data)}: {len(source.train):,} to train on, {len(source.held_out):,} held out"
    return "; ".join((used, *origins, *([f"left out: {left_out}"] if left_out else []), *source.notes))
