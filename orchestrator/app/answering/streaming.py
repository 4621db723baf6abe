"""Generates one answer token by token, with the same tokens as an evaluation."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tunix.generate.sampler import CacheConfig, Sampler

from orchestrator.core.asking import Drawing
from stages.training.families import without_remat
from stages.training.model import Foundation

REPLACEMENT = "\ufffd"
"""Character for bytes that are no UTF-8, such as the first bytes of a character of several tokens."""


class StreamingSampler(Sampler):  # type: ignore[misc]
    """Tunix's sampler, whose loop over tokens pauses after each one. The loop's body is the same."""

    def __init__(self, foundation: Foundation, prompt_tokens: int, answer_tokens: int) -> None:
        config = foundation.model.config
        cache = CacheConfig(
            cache_size=prompt_tokens + answer_tokens,
            num_layers=config.num_layers,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
        )
        with without_remat(foundation.model):
            super().__init__(foundation.model, foundation.tokenizer, cache)
        self._foundation = foundation
        self._prompt_tokens, self._answer_tokens = prompt_tokens, answer_tokens
        self._compiled_part = jax.jit(self._decode_until, donate_argnums=(1,))

    def stream(self, prompt: Sequence[int], drawing: Drawing, stops: Sequence[int]) -> Iterator[int]:
        """Yield the tokens of an answer up to and including a stop token; `prompt` begins with `<bos>`."""
        self.eos_ids = jnp.array(stops)
        row = np.full((1, self._prompt_tokens), self.tokenizer.pad_id(), np.int32)
        row[0, self._prompt_tokens - len(prompt) :] = prompt
        total = self._prompt_tokens + self._answer_tokens
        weights = self._flattened_transformer_state
        with self._foundation.mesh:
            state = self.init_sample_state(
                jnp.array(row),
                total_sampling_steps=total,
                include_logits=False,
                forbidden_token_ids=None,
                temperature=drawing.temperature,
                top_p=drawing.top_p if drawing.temperature else None,
                top_k=(drawing.top_k or None) if drawing.temperature else None,
                seed=jax.random.PRNGKey(drawing.seed),
                beam_size=None,
            )
            state = self._compiled_prefill_fn(weights, state, None, echo=False)
        for place in range(self._prompt_tokens, total):
            token = int(state.token_buffer[0, place])
            yield token
            if token in stops or place + 1 == total:
                return
            with self._foundation.mesh:
                state = self._compiled_part(weights, state, place + 1)

    def _decode_until(self, weights: Any, state: Any, end: jax.Array) -> Any:
        def unfinished(state: Any) -> jax.Array:
            return (state.decoding_step < end) & jnp.any(jnp.logical_not(state.done))

        return jax.lax.while_loop(unfinished, partial(self._sample_step, weights), state)


@dataclass
class TextSoFar:
    """Text of the tokens so far, which grows by whole characters."""

    decode: Callable[[list[int]], str]
    text: str = ""
    """Text that was returned so far."""
    tokens: list[int] = field(default_factory=list)

    def add(self, token: int) -> str:
        """Return the text that a token adds; bytes of an unfinished character are held back."""
        self.tokens.append(token)
        return self._new(self.decode(self.tokens).rstrip(REPLACEMENT))

    def end(self) -> str:
        """Return what was held back: there are no further tokens."""
        return self._new(self.decode(self.tokens))

    def _new(self, text: str) -> str:
        new = text[len(self.text) :]
        self.text += new
        return new
