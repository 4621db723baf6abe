"""Chooses the widths to which batches are padded: few, so that little is compiled, and close to what rows need.

Every function is pure, so that a resumed session pads a batch exactly as the first one would have.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

WIDTHS_MAX = 5
"""Most widths of a stage: each is compiled once in every program that sees it, which takes minutes on a TPU."""
FACTOR = 1.25
"""Ratio of neighbouring widths of `ladder`: on average a row then has a tenth of padding."""
MULTIPLE = 32
"""Divisor of every width but the longest one allowed. XLA tiles positions by 8 to 128."""


def rounded_up(length: int, longest: int, multiple: int = MULTIPLE) -> int:
    """Return the next multiple at or above `length`, at most `longest`."""
    return min(longest, -(-max(1, length) // multiple) * multiple)


def narrowest(length: int, widths: Sequence[int]) -> int:
    """Return the smallest width that holds `length` tokens. Raises ValueError if none does."""
    return min(width for width in widths if width >= length)


def ladder(longest: int, count: int = WIDTHS_MAX, factor: float = FACTOR) -> tuple[int, ...]:
    """Return at most `count` ascending widths up to `longest`, each about `factor` times the one before.

    For lengths that are not known beforehand, such as those of generated answers.
    """
    found = {rounded_up(round(longest / factor**step), longest) for step in range(count)}
    return tuple(sorted(found))


def best_widths(lengths: Iterable[int], longest: int, count: int = WIDTHS_MAX) -> tuple[int, ...]:
    """Return at most `count` ascending widths that hold all `lengths` with the least padding in total.

    `lengths` are those that batches need, none above `longest`, in tokens; each candidate is a multiple of `MULTIPLE`
    (the largest one is at most `longest`). Without any length the answer is `(longest,)`.
    """
    needed = Counter(rounded_up(length, longest) for length in lengths)
    places = sorted(needed)
    if not places:
        return (longest,)
    before = [0]
    for place in places:
        before.append(before[-1] + needed[place])
    # best[last] is (padded positions of the rows up to places[last], widths), if places[last] is a width.
    best: list[tuple[int, tuple[int, ...]]] = [
        (place * before[last + 1], (place,)) for last, place in enumerate(places)
    ]
    for _ in range(count - 1):
        best = [
            min(
                [best[last]]
                + [
                    (best[first][0] + place * (before[last + 1] - before[first + 1]), (*best[first][1], place))
                    for first in range(last)
                ]
            )
            for last, place in enumerate(places)
        ]
    return best[-1][1]


ANSWER_FACTOR = 1.4
"""Ratio of neighbouring answer widths of `row_shapes`. Lengths of answers differ more than those of worked examples, so
that five widths have to reach further down: `max_completion_length` is often several times the usual length."""


class RowShape(NamedTuple):
    """Widths of the arrays of prompts with their answers."""

    tokens: int
    """Width of prompt and answer together."""
    answers: int
    """Width of the answers alone."""


def row_shapes(
    prompts: Iterable[int], longest_prompt: int, longest_answer: int, count: int = WIDTHS_MAX
) -> tuple[RowShape, ...]:
    """Return at most `count` shapes, ascending in both widths, for answers whose lengths are not known beforehand.

    `prompts` are the lengths of the prompts that may occur, in tokens, none above `longest_prompt`. Any of them fits into
    the largest shape with an answer of `longest_answer` tokens. The smaller shapes hold a prompt of mean length with the
    longest answer of that shape, since in most batches the longest answer does not follow the longest prompt.
    """
    lengths = list(prompts) or [longest_prompt]
    widest = rounded_up(max(lengths), longest_prompt) + longest_answer
    usual = sum(lengths) // len(lengths)
    smaller = ladder(longest_answer, count, ANSWER_FACTOR)[:-1]
    return (
        *(RowShape(rounded_up(usual + answers, widest), answers) for answers in smaller),
        RowShape(widest, longest_answer),
    )


def smallest(shapes: Sequence[RowShape], tokens: int, answers: int) -> RowShape:
    """Return the first of the ascending shapes that holds rows of `tokens` tokens, of which at most `answers` are the
    answer's. Raises ValueError if none does."""
    found = next((shape for shape in shapes if shape.tokens >= tokens and shape.answers >= answers), None)
    if found is None:
        raise ValueError(f"rows of {tokens} tokens with answers of {answers} do not fit into {shapes[-1]}")
    return found
