"""Packs the examples of a batch into rows, and chooses the few shapes that a stage's batches are padded to.

Every function is pure, so that a resumed session computes a step in the shape in which the first one would have.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stages.training.widths import WIDTHS_MAX, rounded_up

SAMPLED_BATCHES = 256
"""Number of a stage's first batches by which its shapes are chosen. It does not depend on the stage's steps, which may
change midway."""
ATTENTION_TOKENS = 4096
"""Width at which attention is assumed to cost as much as the rest of a layer. Within a factor of four for the models
that relay trains (0.27 to 4 billion weights): it only decides between shapes with almost equally many positions."""
SHAPE_GAIN_MIN = 0.03
"""Share of the cost that another shape has to save: it is compiled, which takes minutes on a TPU."""
ROW_RATIOS = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0, 2.2, 2.4, 2.7, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0)
"""Numbers of examples a row that are tried."""


class ExampleSize(NamedTuple):
    """Tokens of an example, and how many of them are learnt: its last ones."""

    length: int
    learnt: int


class PackedShape(NamedTuple):
    """Shape of a batch: rows, positions of a row, and positions of a row whose logits are computed."""

    rows: int
    width: int
    selected: int

    @property
    def cost(self) -> float:
        """Cost of a step, in positions. Logits of a position are assumed to cost as much as its layers."""
        return self.rows * (self.width * (1 + self.width / ATTENTION_TOKENS) + self.selected) / 2

    def holds(self, need: ExampleSize) -> bool:
        """Return whether rows of which the fullest ones need that much fit."""
        return need.length <= self.width and need.learnt <= self.selected


@dataclass(frozen=True)
class PackedRows:
    """Numbers of the examples in each row, and what the fullest rows need."""

    rows: tuple[tuple[int, ...], ...]
    need: ExampleSize

    @property
    def shared(self) -> bool:
        """True if any row has more than one example."""
        return any(len(row) > 1 for row in self.rows)


def packed(sizes: Sequence[ExampleSize], rows: int) -> PackedRows:
    """Distribute examples over `rows` rows such that the longest row is short.

    Each example, longest first, goes to the row with the fewest tokens (Graham's LPT rule, doi:10.1137/0117039: at most
    4/3 of the best). With as many rows as examples, each has the row of its own number. Rows may stay empty.
    """
    if rows >= len(sizes):
        found = [[number] for number in range(len(sizes))] + [[] for _ in range(rows - len(sizes))]
    else:
        found = [[] for _ in range(rows)]
        filled = [(0, row) for row in range(rows)]
        for number in sorted(range(len(sizes)), key=lambda number: (-sizes[number].length, number)):
            tokens, row = filled[0]
            found[row].append(number)
            heapq.heapreplace(filled, (tokens + sizes[number].length, row))
    need = ExampleSize(
        max(sum(sizes[number].length for number in row) for row in found),
        max(sum(sizes[number].learnt for number in row) for row in found),
    )
    return PackedRows(tuple(tuple(sorted(row)) for row in found), need)


@dataclass(frozen=True)
class PackedLayout:
    """Shapes of a stage's batches, at most `WIDTHS_MAX`, cheapest first. One of them has a row for each example, as wide
    as the longest one, and fits any batch."""

    shapes: tuple[PackedShape, ...]

    def laid_out(self, sizes: Sequence[ExampleSize]) -> tuple[PackedShape, PackedRows]:
        """Return the cheapest shape that the batch fits into, and its rows."""
        packings = {rows: packed(sizes, rows) for rows in {shape.rows for shape in self.shapes}}
        shape = next(shape for shape in self.shapes if shape.holds(packings[shape.rows].need))
        return shape, packings[shape.rows]


def full_width(batch: int, width: int, multiple: int = 1) -> PackedLayout:
    """Return the layout of one example a row, all rows `width` positions wide, whatever the data's lengths are."""
    return PackedLayout((PackedShape(_multiple_of(multiple, batch), width, max(1, width - 1)),))


def chosen(
    batches: Iterable[Sequence[ExampleSize]],
    longest: ExampleSize,
    width_max: int,
    *,
    multiple: int = 1,
    packing: bool = True,
) -> PackedLayout:
    """Return the layout that computes these batches at a low cost.

    All batches have equally many examples. `longest` has the greatest length and the greatest number of learnt tokens
    of all examples, sampled or not. Numbers of rows are multiples of `multiple`; no row is wider than `width_max`.
    Without `packing` each example has a row of its own. Shapes are added one by one, each the one that saves most.
    """
    known = [tuple(batch) for batch in batches]
    examples = len(known[0])
    whole = _multiple_of(multiple, examples)
    last = PackedShape(whole, rounded_up(longest.length, width_max), rounded_up(longest.learnt, width_max))
    ratios = ROW_RATIOS if packing else ()
    counts = {whole, *(_multiple_of(multiple, round(examples / ratio)) for ratio in ratios)}
    candidates: dict[PackedShape, list[float]] = {}
    for rows in sorted(rows for rows in counts if rows <= whole):
        needs = [packed(batch, rows).need for batch in known]
        for shape in _candidates(rows, needs, last, width_max):
            candidates[shape] = [shape.cost if shape.holds(need) else last.cost for need in needs]
    shapes: list[PackedShape] = []
    costs = [last.cost] * len(known)
    while candidates and len(shapes) < WIDTHS_MAX - 1:
        total, best = min((sum(map(min, costs, each)), shape) for shape, each in candidates.items())
        if total > sum(costs) * (1 - SHAPE_GAIN_MIN):
            break
        shapes.append(best)
        costs = [*map(min, costs, candidates.pop(best))]
    return PackedLayout(tuple(sorted((*shapes, last), key=lambda shape: (shape.cost, shape))))


def _candidates(rows: int, needs: Sequence[ExampleSize], last: PackedShape, width_max: int) -> Iterator[PackedShape]:
    """Yield the shapes of so many rows that the batches with these needs may use, if they are cheaper than `last`."""
    widths = sorted({rounded_up(need.length, width_max) for need in needs if need.length <= width_max})
    for width in widths:
        learnt = max(need.learnt for need in needs if need.length <= width)
        shape = PackedShape(rows, width, rounded_up(learnt, width))
        if shape.cost < last.cost:
            yield shape


def _multiple_of(multiple: int, count: int) -> int:
    return max(1, -(-count // multiple)) * multiple


def summary(layout: PackedLayout, batches: Sequence[Sequence[ExampleSize]], width_max: int) -> str:
    """Summarise in one line the shapes, how many of the batches have each, and the padding saved."""
    used = Counter(layout.laid_out(batch)[0] for batch in batches)
    tokens = sum(size.length for batch in batches for size in batch)
    before = width_max * sum(len(batch) for batch in batches)
    after = sum(shape.rows * shape.width * count for shape, count in used.items())
    logits = sum(shape.rows * shape.selected * count for shape, count in used.items())
    kinds = ", ".join(f"{shape.rows} × {shape.width} {used[shape]:,}" for shape in layout.shapes if used[shape])
    return (
        f"rows × positions of the first {len(batches):,} batches: {kinds}; {1 - tokens / after:.0%} are padding, in place "
        f"of {1 - tokens / before:.0%} in rows of {width_max}; logits of {logits / before:.0%}"
    )
