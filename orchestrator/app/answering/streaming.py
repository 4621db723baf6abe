"""Generates one answer token by token, with the same tokens as an evaluation."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.core.asking import Drawing
from stages.training.model import Foundation
from stages.training.sampler import ContinuousSampler, Draw, SamplerLimits

REPLACEMENT = "\ufffd"
"""Character for bytes that are no UTF-8, such as the first bytes of a character of several tokens."""


class StreamingSampler:
    """Generates one answer at a time, with the programs of the stages' sampler."""

    def __init__(self, foundation: Foundation, prompt_tokens: int, answer_tokens: int) -> None:
        self._foundation = foundation
        self._limits = SamplerLimits(prompt_tokens, answer_tokens, 1, foundation.stops)

    def stream(self, prompt: Sequence[int], drawing: Drawing, stops: Sequence[int]) -> Iterator[int]:
        """Yield the tokens of an answer up to and including a stop token; `prompt` begins with `<bos>`."""
        limits = replace(self._limits, stops=tuple(stops))
        sampler = ContinuousSampler(self._foundation.model, self._foundation.mesh, limits)
        yield from sampler.stream(prompt, Draw(drawing.temperature, drawing.top_k, drawing.top_p, drawing.seed))


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
