"""Generates completions for problems, greedily or by sampling, with Tunix's sampler."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from flax import nnx
from tunix.generate.sampler import CacheConfig, Sampler

from stages.data import Example
from stages.options import Answer, Asking, Sampling
from stages.training.families import without_remat
from stages.training.model import Foundation
from stages.training.stage_data import prompt


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
    """Generates with `model` (by default the foundation's own), using the weights that it had
    when the Generator was created."""

    def __init__(self, foundation: Foundation, options: Asking, model: nnx.Module | None = None) -> None:
        self._foundation = foundation
        self._options = options
        model = foundation.model if model is None else model
        config = model.config
        with without_remat(model):
            self._sampler = Sampler(
                model,
                foundation.tokenizer,
                CacheConfig(
                    cache_size=options.max_prompt_length + options.max_completion_length,
                    num_layers=config.num_layers,
                    num_kv_heads=config.num_kv_heads,
                    head_dim=config.head_dim,
                ),
            )

    def greedy(self, examples: Sequence[Example], batch: int) -> Completions:
        """Generate the most likely completion of each problem. Pads the batch to `batch` rows, so
        that nothing is recompiled."""
        return self._generate(examples, batch, temperature=0.0, top_p=None, top_k=None, seed=0)

    def sample(self, examples: Sequence[Example], batch: int, options: Sampling | Answer, seed: int) -> Completions:
        """Sample a completion of each problem; the same seed gives the same completions."""
        top_p = options.top_p if isinstance(options, Answer) else 1.0  # training needs the probabilities of all tokens
        return self._generate(
            examples, batch, temperature=options.temperature, top_p=top_p, top_k=options.top_k or None, seed=seed
        )

    def _generate(
        self,
        examples: Sequence[Example],
        batch: int,
        *,
        temperature: float,
        top_p: float | None,
        top_k: int | None,
        seed: int,
    ) -> Completions:
        if not examples:
            return Completions([], [], [], 0)
        prompts = [prompt(example, self._foundation) for example in examples]
        with self._foundation.mesh:
            out = self._sampler(
                input_strings=[*prompts, *prompts[:1] * (batch - len(prompts))],
                max_generation_steps=self._options.max_completion_length,
                max_prompt_length=self._options.max_prompt_length,
                temperature=temperature,
                top_p=top_p,
                top_k=top_k,
                seed=seed,
                eos_tokens=list(self._foundation.stops),
            )
        count = len(prompts)
        cut = [len(tokens) >= self._options.max_completion_length for tokens in out.tokens[:count]]
        lengths = [len(tokens) + (not ended) for tokens, ended in zip(out.tokens[:count], cut, strict=True)]
        asked = np.count_nonzero(np.asarray(out.padded_prompt_tokens)[:count] != self._foundation.tokenizer.pad_id())
        return Completions(list(out.text[:count]), cut, lengths, int(asked) + sum(lengths))
