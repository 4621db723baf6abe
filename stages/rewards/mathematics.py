"""Whether a mathematical answer is the wanted one: numbers by a fixed grammar, expressions by SymPy in the judge's process.

The grammar (`quantities`) decides wherever the wanted answer is a number, a list, a set, a tuple or an interval of numbers,
or a word; it evaluates nothing. Only where the wanted answer is an expression are SymPy and math-verify asked, through the
judge, and only about texts that are mathematics from end to end (`expressions`). Standard library only.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stages.rewards.expressions import latex_of, left_to_do
from stages.rewards.judging.client import JUDGES, Question, Verdict
from stages.rewards.quantities import Quantity, equal_quantities, read_quantity
from stages.rewards.structure import answer_of
from stages.rewards.tidy import tidy, whole_group

ITEMS_MAX = 12
_INFINITE = re.compile(r"(?P<sign>[+-]?) ?(?:\\infty|infinity|inf|oo)")
_CHOICE = re.compile(r"\(?([A-Za-z])[).]?")
_SEPARATOR = re.compile(r"\s*(?:,\s*(?:and|or)\b|[,;]|\b(?:and|or)\b)\s*")
_BRACKETS = {
    ("(", ")"): "()",
    ("[", "]"): "[]",
    ("(", "]"): "(]",
    ("[", ")"): "[)",
    (r"\{", r"\}"): "{}",
    ("{", "}"): "{}",
}


@dataclass(frozen=True)
class Leaf:
    """A tidy text that is one thing: a quantity, or an expression or word (`quantity` None)."""

    text: str
    quantity: Quantity | None


@dataclass(frozen=True)
class Group:
    """Several leaves: a tuple or interval by its brackets, a set `{}`, or a bare list (no brackets)."""

    brackets: str
    items: tuple[Leaf, ...]


Asked = Callable[[str, str], bool]
"""From (wanted, given) in LaTeX to whether they are equal."""


def same_values(given: Sequence[str], wanted: Sequence[str]) -> list[bool]:
    """Whether each text says what is wanted; hard cases are judged together, at most one case a processor."""
    needed: dict[tuple[str, str], bool] = {}

    def remember(left: str, right: str) -> bool:
        needed.setdefault((left, right), False)
        return False

    for one, other in zip(given, wanted, strict=True):
        _same(one, other, remember)
    verdicts = JUDGES["math"].ask([_question([pair]) for pair in needed]) if needed else []
    needed.update({pair: verdict.said == "1" for pair, verdict in zip(needed, verdicts, strict=True)})
    return [_same(one, other, lambda *pair: needed.get(pair, False)) for one, other in zip(given, wanted, strict=True)]


def same_value(given: str, wanted: str) -> bool:
    """Whether two texts say the same: literally, as numbers, as groups of such, or as expressions that SymPy finds equal."""
    return same_values([given], [wanted])[0]


def correct(completion: str, wanted: str) -> bool:
    """Whether the completion's one answer is `wanted`."""
    given = answer_of(completion)
    return given is not None and bool(wanted.strip()) and same_value(given, wanted)


def judgements(completion: str, wanted: str) -> dict[str, bool]:
    """What each judge of mathematics says alone: `grammar` without SymPy, `math_verify` in its own usual way.

    Where they differ, one of them is worth looking at; `correct` is the one that rewards follow.
    """
    given = answer_of(completion)
    if given is None or not wanted.strip():
        return {"grammar": False, "math_verify": False}
    by_grammar = _same(given, wanted, lambda *_: False)
    short = len(given) <= 1000 and len(wanted) <= 1000
    verdict = JUDGES["math"].ask([_question([(wanted, given)], alone=True)])[0] if short else Verdict()
    return {"grammar": by_grammar, "math_verify": verdict.said == "1"}


def _question(pairs: Sequence[tuple[str, str]], *, alone: bool = False) -> Question:
    return Question(json.dumps({"kind": "math", "alone": alone, "pairs": pairs}))


# --- comparing --------------------------------------------------------------


def _same(given: str, wanted: str, asked: Asked) -> bool:
    if given.strip() == wanted.strip():
        return bool(given.strip())
    left, right = tidy(given), tidy(wanted)
    if left is None or right is None:
        return False
    found, gold = _read(left), _read(right)
    if isinstance(found, Group) and isinstance(gold, Group):
        return _same_group(found, gold, asked)
    if isinstance(found, Leaf) and isinstance(gold, Leaf):
        return _same_leaf(found, gold, asked)
    return False


def _same_leaf(found: Leaf, gold: Leaf, asked: Asked) -> bool:
    if gold.quantity is not None:
        # An expression, such as 7+12, only says how to get to the number that is wanted.
        return found.quantity is not None and equal_quantities(found.quantity, gold.quantity)
    if _plain(found.text) == _plain(gold.text):
        return True
    if left_to_do(found.text) - left_to_do(gold.text):
        return False
    wanted, given = latex_of(gold.text), latex_of(found.text)
    return wanted is not None and given is not None and asked(wanted, given)


def _same_group(found: Group, gold: Group, asked: Asked) -> bool:
    if found.brackets != gold.brackets and not {found.brackets, gold.brackets} <= {"", "{}"}:
        return False
    if "{}" in (found.brackets, gold.brackets):  # what is in a set twice is in it once
        return _covers(found.items, gold.items, asked) and _covers(gold.items, found.items, asked, swapped=True)
    if len(found.items) != len(gold.items):
        return False
    if gold.brackets:
        equal = [_same_leaf(one, other, asked) for one, other in zip(found.items, gold.items, strict=True)]
        return all(equal)
    return _matches(found.items, gold.items, asked)


def _covers(these: Sequence[Leaf], those: Sequence[Leaf], asked: Asked, *, swapped: bool = False) -> bool:
    """Whether each of these is among those. Whole lists, nothing lazy: every pair has to be asked for once."""
    equal = [[_same_leaf(*((two, one) if swapped else (one, two)), asked) for two in those] for one in these]
    return all(any(row) for row in equal)


def _matches(found: Sequence[Leaf], gold: Sequence[Leaf], asked: Asked) -> bool:
    """Whether the same things are in both, in whatever order."""
    equal = [[_same_leaf(one, other, asked) for other in gold] for one in found]
    left = set(range(len(gold)))
    for row in equal:
        place = next((place for place in sorted(left) if row[place]), None)
        if place is None:
            return False
        left.remove(place)
    return True


def _plain(text: str) -> str:
    r"""For comparing letter by letter: `(B)` is B, `\pi / 2` is `\pi/2`, Yes is yes."""
    if choice := _CHOICE.fullmatch(text):
        return choice[1].lower()
    if infinite := _INFINITE.fullmatch(text):
        return "-oo" if infinite["sign"] == "-" else "oo"
    closed = re.sub(r"(?<![A-Za-z0-9.]) | (?![A-Za-z0-9.])", "", text)
    return closed.lower() if re.fullmatch(r"[A-Za-z ,.'-]+", text) else closed


# --- reading ----------------------------------------------------------------


def _read(text: str) -> Leaf | Group:
    quantity = read_quantity(text)
    if quantity is not None:
        return Leaf(text, quantity)
    return _bracketed(text) or _bare(text) or Leaf(text, None)


def _bracketed(text: str) -> Group | None:
    for (begin, end), brackets in _BRACKETS.items():
        if text.startswith(begin) and text.endswith(end) and len(text) > len(begin) + len(end):
            inside = text[len(begin) : len(text) - len(end)]
            items = _items(inside)
            whole = whole_group(text, len(begin) - 1)
            if whole and items is not None and (len(items) > 1 or begin == r"\{"):
                return Group(brackets, items)
    return None


def _bare(text: str) -> Group | None:
    """A list without brackets, such as `1, 2` or `x = 1 or x = 2`; each item of it has to be mathematics."""
    items = _items(text)
    if items is None or len(items) < 2 or any(item.quantity is None and latex_of(item.text) is None for item in items):
        return None
    return Group("", items)


def _items(text: str) -> tuple[Leaf, ...] | None:
    """The parts between the commas that stand in no brackets."""
    parts, depth, begin = [], 0, 0
    place = 0
    while place < len(text):
        depth += (text[place] in "({[") - (text[place] in ")}]")
        found = _SEPARATOR.match(text, place) if depth == 0 else None
        if found and found.end() > place:
            parts.append(text[begin:place])
            begin = place = found.end()
        else:
            place += 1
    parts = [part.strip() for part in (*parts, text[begin:])]
    if depth != 0 or not all(parts) or len(parts) > ITEMS_MAX:
        return None
    return tuple(Leaf(part, read_quantity(part)) for part in parts)
