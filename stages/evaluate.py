"""Asks problems that were never trained on and counts what comes back; the model passes through unchanged."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence

from tunix.generate.sampler import CacheConfig, Sampler

from stages.checkpoints import State
from stages.data import Example, derive_seed, examples_at
from stages.model import Foundation, load
from stages.options import Evaluate
from stages.rewards import correct, well_formed
from stages.stage import Context
from stages.standing import is_resumed, put_weights, restored
from stages.steps import asked, calm, checked, do_steps, source_of


def train(context: Context) -> None:
    """Run the stage: see `stages.stage`. Its metrics are rates over all problems so far: the last ones are the result."""
    options = checked(Evaluate, context)
    with calm():
        _evaluate(context, options)


def _evaluate(context: Context, options: Evaluate) -> None:
    foundation = load(context.model)
    before = restored(context, foundation)
    put_weights(foundation.model, before.weights)
    ask = _asker(foundation, options)
    problems = source_of(context, options.data).held_out
    # The same problems in every evaluation of a run, so that two of them can be compared.
    seed = derive_seed(context.seed, "evaluate")
    counters = Counter(before.counters if is_resumed(context) else {})

    def step(number: int) -> dict[str, float]:
        chosen = examples_at(problems, number, options.batch, seed)
        counters.update(counted(chosen, ask(chosen)))
        return rates(counters)

    def state() -> State:
        return dataclasses.replace(before, origin=None, optimizer=None, counters=dict(counters))

    do_steps(context, step, state)


def rates(counters: Counter[str]) -> dict[str, float]:
    """Format, accuracy and accuracy on hard problems so far; 0 where there was no problem yet."""
    seen, hard = max(1, counters["seen"]), max(1, counters["hard"])
    return {
        "format": counters["well_formed"] / seen,
        "accuracy": counters["right"] / seen,
        "hard_accuracy": counters["hard_right"] / hard,
    }


def _asker(foundation: Foundation, options: Evaluate) -> Callable[[Sequence[Example]], list[str]]:
    config = foundation.model.config
    sampler = Sampler(
        foundation.model,
        foundation.tokenizer,
        CacheConfig(
            cache_size=options.prompt_tokens_max + options.answer_tokens_max,
            num_layers=config.num_layers,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
        ),
    )

    def ask(examples: Sequence[Example]) -> list[str]:
        with foundation.mesh:
            answers = sampler(
                input_strings=asked(examples, foundation.tokenizer, options.prompt_tokens_max),
                max_generation_steps=options.answer_tokens_max,
                max_prompt_length=options.prompt_tokens_max,
            )
        return list(answers.text)

    return ask


def counted(examples: Sequence[Example], completions: Sequence[str]) -> Counter[str]:
    """How many completions there are, and how many are what they should be."""
    found: Counter[str] = Counter()
    for example, completion in zip(examples, completions, strict=True):
        right = correct(completion, example.answer)
        found.update(seen=1, well_formed=well_formed(completion), right=right)
        found.update(hard=example.hard, hard_right=example.hard and right)
    return found
