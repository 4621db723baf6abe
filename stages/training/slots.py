"""Plans the sampler's shapes: how many rows a program has and how wide the cache is. Few, since each is compiled.

A slot is a row of the decode loop; an answer has one from its admission until its end. Every function is pure, so that
a resumed session computes with the shapes of the first one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.training.widths import ladder, narrowest

SLOTS_MAX = 128
"""Most slots, unless the options say otherwise."""
SEGMENT = 32
"""Steps of the decode loop between two looks at the rows: an ended row idles for half of them on average."""
SIZES_MAX = 4
"""Most numbers of rows; each is about half of the next."""
CACHE_WIDTHS, CACHE_FACTOR = 5, 1.5
PROMPT_WIDTHS, PROMPT_FACTOR = 3, 1.5
"""Most widths, and ratio of neighbouring ones, of the cache and of prompts in tokens."""


@dataclass(frozen=True)
class SlotPlan:
    """Shapes that a sampler may use, each in ascending order."""

    sizes: tuple[int, ...]
    """Numbers of rows, of the decode loop and of prompts that are admitted together."""
    prompt_widths: tuple[int, ...]
    cache_widths: tuple[int, ...]

    @classmethod
    def of(cls, slots: int, prompt_tokens: int, answer_tokens: int, fsdp: int = 1) -> "SlotPlan":
        """Return the plan for so many slots and these length limits; rows are divisible by the mesh's `fsdp` axis."""
        sizes = {-(-max(1, slots // 2**step) // fsdp) * fsdp for step in range(SIZES_MAX)}
        return cls(
            tuple(sorted(sizes)),
            ladder(prompt_tokens, PROMPT_WIDTHS, PROMPT_FACTOR),
            ladder(prompt_tokens + answer_tokens, CACHE_WIDTHS, CACHE_FACTOR),
        )

    def size_for(self, rows: int) -> int:
        """Return the smallest number of slots that holds these rows, at most the largest."""
        return narrowest(min(rows, self.sizes[-1]), self.sizes)

    def width_for(self, places: Sequence[int], steps: int) -> int:
        """Return the cache's width in which rows at these places can go on for so many steps, or until their limit."""
        return narrowest(min(max(places) + steps, self.cache_widths[-1]), self.cache_widths)
