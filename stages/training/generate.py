"""Generates completions for problems, greedily or by sampling."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from flax import nnx

from stages.data import Example
from stages.options import Answer, Asking, Sampling
from stages.training.model import Foundation
from stages.training.policy import DrawnAnswer
from stages.training.sampler import ContinuousSampler, Draw, DrawnTokens, SamplerLimits
from stages.training.slots import SLOTS_MAX
from stages.training.stage_data import prompt
from stages.training.tokenizer import Tokenizer


@dataclass(frozen=True)
class Completions:
    """Completions of a batch, one for each prompt."""

    texts: list[str]
    cut: list[bool]
    """True for each completion that was truncated at `max_completion_length` tokens."""
    lengths: list[int]
    """Number of tokens of each completion, including the stop token."""
    tokens: int
    """Total number of tokens of all prompts and completions."""

    @property
    def measured(self) -> dict[str, float]:
        """Metrics of the counts from which the session computes rates: `examples` and `tokens`."""
        return {"examples": float(len(self.texts)), "tokens": float(self.tokens)}


class Generator:
    """Generates with `model` (by default the foundation's own)."""

    def __init__(self, foundation: Foundation, options: Asking, model: nnx.Module | None = None) -> None:
        self._foundation, self._options = foundation, options
        self._model = foundation.model if model is None else model
        self._samplers: dict[int, ContinuousSampler] = {}

    def greedy(self, examples: Sequence[Example], batch: int) -> Completions:
        """Generate the most likely completion of each problem; `batch` is the number of problems of a full batch, from
        which the shapes of a smaller one follow too, so that little is recompiled."""
        return self._generate(examples, batch, Draw())

    def sample(self, examples: Sequence[Example], batch: int, options: Sampling | Answer, seed: int) -> Completions:
        """Sample a completion of each problem; the same seed gives the same completions."""
        top_p = options.top_p if isinstance(options, Answer) else 1.0  # training needs the probabilities of all tokens
        return self._generate(examples, batch, Draw(options.temperature, options.top_k, top_p, seed))

    def _generate(self, examples: Sequence[Example], batch: int, draw: Draw) -> Completions:
        if not examples:
            return Completions([], [], [], 0)
        pieces = self._foundation.tokenizer
        prompts = [prompt_tokens(prompt(example, self._foundation), pieces) for example in examples]
        sampler = self._samplers.get(batch)
        if sampler is None:
            sampler = self._samplers[batch] = sampler_of(self._foundation, self._options, batch, self._model)
        drawn = sampler.draw(prompts, draw)
        answers = [answer_of_tokens(each, self._foundation.stops, pieces) for each in drawn]
        lengths = [len(answer.tokens) for answer in answers]
        total = sum(len(each) for each in prompts) + sum(lengths)
        return Completions(
            [answer.text for answer in answers], [answer.truncated for answer in answers], lengths, total
        )


def prompt_tokens(text: str, pieces: Tokenizer) -> list[int]:
    """Return the tokens of a prompt, with the one that begins a text."""
    return [*pieces.begin, *pieces.encode(text)]


def answer_of_tokens(drawn: DrawnTokens, stops: Sequence[int], pieces: Tokenizer) -> DrawnAnswer:
    """Return the answer of generated tokens; its text is without the stop token."""
    ended = drawn.tokens[-1] in stops
    text = pieces.decode(drawn.tokens[:-1] if ended else drawn.tokens)
    tokens, logprobs = np.array(drawn.tokens, np.int32), np.array(drawn.logprobs, np.float32)
    return DrawnAnswer(text, tokens, truncated=not ended, logprobs=logprobs)


def sampler_of(
    foundation: Foundation, options: Asking, rows: int, model: nnx.Module, *, base_frozen: bool = True
) -> ContinuousSampler:
    """Create the sampler of a stage that generates at most `rows` completions at a time."""
    limits = SamplerLimits(
        options.max_prompt_length,
        options.max_completion_length,
        min(rows, options.slots or SLOTS_MAX),
        foundation.stops,
    )
    narrow = options.sampling_dtype == "bfloat16" and foundation.options.dtype != "bfloat16"
    return ContinuousSampler(model, foundation.mesh, limits, narrow=narrow, base_frozen=base_frozen)
