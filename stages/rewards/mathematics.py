r"""Grade mathematical answers: numbers by a fixed grammar, expressions by SymPy in the judge's process.

The grammar decides if both answers are numbers, or lists, sets, tuples or intervals of numbers, or words; it evaluates
nothing. If one of them is an expression, the judge decides whether they are equal. An answer that is less evaluated
than the reference answer is wrong: `7+12` or `\sin 30^\circ` only repeat the question. Standard library only.
"""

import functools
import json
import re
from collections.abc import Callable, Sequence

from stages.rewards.answers import Answer, Group, Leaf, read_answer
from stages.rewards.judging.client import JUDGES, JudgeVerdict, Question
from stages.rewards.normalize import tidy
from stages.rewards.quantities import equal_quantities, read_quantity
from stages.rewards.structure import answer_of
from stages.rewards.trees import functions_of, is_one_term

_INFINITE = re.compile(r"(?P<sign>[+-]?) ?(?:\\infty|infinity|inf|oo)")
_CHOICE = re.compile(r"\(?([A-Ha-h])[).]?")
_WORDS = re.compile(r"[A-Za-z ,.'-]*[A-Za-z]{3}[A-Za-z ,.'-]*|yes|no", re.IGNORECASE)

Asked = Callable[[str, str], bool]
"""Function from (reference, given) expressions to whether they are equal."""


def same_values(given: Sequence[str], wanted: Sequence[str]) -> list[bool]:
    """Return for each answer whether it equals the reference answer. The judge runs one case per processor in parallel.

    All comparisons of one answer form one case, so that the limits of a case apply to an answer.
    """
    said, needed = [], []
    for one, other in zip(given, wanted, strict=True):
        pairs: dict[tuple[str, str], None] = {}
        said.append(_same(one, other, lambda *pair, pairs=pairs: bool(pairs.setdefault(pair))))
        needed.append(tuple(pairs))
    if not any(needed):
        return said
    rows = [row for row, pairs in enumerate(needed) if pairs]
    verdicts = JUDGES["math"].ask([_question(needed[row]) for row in rows])
    for row, verdict in zip(rows, verdicts, strict=True):
        equal = {pair for pair, said_equal in zip(needed[row], verdict.said, strict=False) if said_equal == "1"}
        said[row] = _same(given[row], wanted[row], lambda *pair, equal=equal: pair in equal)
    return said


def same_value(given: str, wanted: str) -> bool:
    """Return True if two answers are equal: literally, as numbers, as groups of values, or as expressions by SymPy."""
    return same_values([given], [wanted])[0]


def correct(completion: str, wanted: str) -> bool:
    """Return True if the completion's answer equals `wanted`."""
    given = answer_of(completion)
    return given is not None and bool(wanted.strip()) and same_value(given, wanted)


def judgements(completion: str, wanted: str) -> dict[str, bool]:
    """Return the verdicts of two graders: `exact`, used for rewards, and `math_verify` in its default mode.

    A difference between them points to an error in one of them.
    """
    given = answer_of(completion)
    if given is None or not wanted.strip():
        return {"exact": False, "math_verify": False}
    short = len(given) <= 1000 and len(wanted) <= 1000
    verdict = JUDGES["math"].ask([_question([(wanted, given)], alone=True)])[0] if short else JudgeVerdict()
    return {"exact": same_value(given, wanted), "math_verify": verdict.said == "1"}


def _question(pairs: Sequence[tuple[str, str]], *, alone: bool = False) -> Question:
    return Question(json.dumps({"kind": "math", "alone": alone, "pairs": pairs}))


# --- comparison; all questions to the judge are collected in one pass, so nothing stops at the first difference -----


def _same(given: str, wanted: str, asked: Asked) -> bool:
    if given.strip() == wanted.strip():
        return bool(given.strip())
    found, gold = _read(given), _read(wanted)
    return found is not None and gold is not None and _same_answer(found, gold, asked)


@functools.lru_cache(maxsize=4096)  # a reference answer is compared with a whole group of completions
def _read(text: str) -> Answer | None:
    tidied = tidy(text)
    return None if tidied is None else read_answer(tidied)


def _same_answer(found: Answer, gold: Answer, asked: Asked) -> bool:
    if isinstance(found, Group) and isinstance(gold, Group):
        return _same_group(found, gold, asked)
    if isinstance(found, Leaf) and isinstance(gold, Leaf):
        return _same_leaf(found, gold, asked)
    if _names_differ(found, gold):
        return False
    group, leaf = (found, gold) if isinstance(found, Group) else (gold, found)
    assert isinstance(group, Group)
    assert isinstance(leaf, Leaf)
    if group.brackets == "{}" and len(group.items) == 1:  # a set of one
        return _same_answer(*((group.items[0], gold) if group is found else (found, group.items[0])), asked)
    if group.number and leaf.quantity is not None:
        return _same_leaf(*((group.number, leaf) if group is found else (leaf, group.number)), asked)
    if union := group.union:
        return _same_leaf(*((union, leaf) if group is found else (leaf, union)), asked)
    if group.brackets == ":" and len(group.items) == 2:
        return _same_leaf(*((_share(group), leaf) if group is found else (leaf, _share(group))), asked)
    tree = leaf.tree
    is_set = tree is not None and tree[0] in ("relation", "set", "union", "intersection", "without")
    return is_set and group.brackets in ("()", "[]", "(]", "[)", "{}") and _judged_equal(found, gold, asked)


def _same_leaf(found: Leaf, gold: Leaf, asked: Asked) -> bool:
    if found.quantity is not None and gold.quantity is not None:
        return equal_quantities(found.quantity, gold.quantity)
    if _names_differ(found, gold):
        return False
    if _plain(found.text) == _plain(gold.text) and not (found.unit and gold.unit and found.unit != gold.unit):
        return True
    tree, wanted = found.tree, gold.tree
    if tree is None or wanted is None or not _units_agree(found, gold):
        return False
    if gold.quantity is not None and not is_one_term(tree):
        return False
    if functions_of(tree) - functions_of(wanted):
        return False
    if "relation" in (tree[0], wanted[0]):
        return asked(gold.whole or gold.body, found.whole or found.body)
    return _judged_equal(found, gold, asked)


def _judged_equal(found: Answer, gold: Answer, asked: Asked) -> bool:
    given, wanted = (answer.body if isinstance(answer, Leaf) else answer.text for answer in (found, gold))
    return asked(wanted, given)


def _units_agree(found: Leaf, gold: Leaf) -> bool:
    """Return True if the units are compatible. A missing unit is, but 50% does not equal the square root of 2500."""
    if any(leaf.quantity is not None and leaf.quantity.percent for leaf in (found, gold)):
        return False
    one, other = (_unit(leaf) for leaf in (found, gold))
    return not (one and other) or one == other


def _unit(leaf: Leaf) -> str:
    if leaf.quantity is None:
        return leaf.unit
    angle = not leaf.quantity.unit or leaf.quantity.unit == "degrees"
    return "" if angle else f"{leaf.quantity.unit} {leaf.quantity.size}"


def _names_differ(found: Answer, gold: Answer) -> bool:
    one, other = (answer.name or _name_of(answer) for answer in (found, gold))
    return bool(one and other and one != other)


def _name_of(answer: Answer) -> str:
    return answer.quantity.name if isinstance(answer, Leaf) and answer.quantity is not None else ""


def _share(ratio: Group) -> Leaf:
    """Convert a ratio such as `3:4` to the number three quarters."""
    text = "/".join(item.text for item in ratio.items if isinstance(item, Leaf))
    return Leaf(text, read_quantity(text))


def _same_group(found: Group, gold: Group, asked: Asked) -> bool:
    if _names_differ(found, gold):
        return False
    if gold.brackets == ":":
        return _same_ratio(found, gold)
    if gold.brackets == found.brackets == "clock":
        halves = {group.items[1] for group in (found, gold)} - {Leaf("")}
        return found.items[0] == gold.items[0] and len(halves) < 2
    found, gold = _in_order(found, gold), _in_order(gold, found)
    if found.brackets != gold.brackets and not {found.brackets, gold.brackets} <= {"", "{}"}:
        return False
    if "{}" in (found.brackets, gold.brackets):  # duplicates in a set do not matter
        there = _covers(found.items, gold.items, asked)
        return _covers(gold.items, found.items, asked, swapped=True) and there
    if len(found.items) != len(gold.items):
        return False
    if gold.brackets:
        equal = [_same_answer(one, other, asked) for one, other in zip(found.items, gold.items, strict=True)]
        return all(equal)
    return _matches(found.items, gold.items, asked)


def _in_order(group: Group, other: Group) -> Group:
    """Convert `x = 3, y = 2` to the tuple (3, 2) if the other answer is a tuple."""
    names = [_name_of(item) for item in group.items]
    if group.brackets or other.brackets != "()" or not all(names) or sorted(set(names)) != names:
        return group
    return Group("()", group.items, group.text)


def _same_ratio(found: Group, gold: Group) -> bool:
    """Compare ratios: 6:8 equals 3:4. A possible time of day counts as a time only if a time is wanted."""
    if found.brackets not in (":", "clock") or len(found.text.split(":")) != len(gold.items):
        return False
    sides = [[read_quantity(part.strip()) for part in group.text.split(":")] for group in (found, gold)]
    these, those = ([side.value for side in numbers if side is not None] for numbers in sides)
    if len(these) != len(those) or not all(these) or not all(those):
        return False
    return len({one / other for one, other in zip(these, those, strict=True)}) == 1


def _covers(these: Sequence[Answer], those: Sequence[Answer], asked: Asked, *, swapped: bool = False) -> bool:
    """Return True if each of `these` is among `those`. Not lazy: every pair has to be collected for the judge."""
    equal = [[_same_answer(*((two, one) if swapped else (one, two)), asked) for two in those] for one in these]
    return all(any(row) for row in equal)


def _matches(found: Sequence[Answer], gold: Sequence[Answer], asked: Asked) -> bool:
    """Return True if both contain the same items in any order."""
    equal = [[_same_answer(one, other, asked) for other in gold] for one in found]
    left = set(range(len(gold)))
    for row in equal:
        place = next((place for place in sorted(left) if row[place]), None)
        if place is None:
            return False
        left.remove(place)
    return True


def _plain(text: str) -> str:
    r"""Normalize for literal comparison: `(B)` to B, `\pi / 2` to `\pi/2`, `12_{3}` to `12_3`, Yes to yes."""
    if choice := _CHOICE.fullmatch(text):
        return choice[1].lower()
    if infinite := _INFINITE.fullmatch(text):
        return "-oo" if infinite["sign"] == "-" else "oo"
    closed = re.sub(r"(?<![A-Za-z0-9.]) | (?![A-Za-z0-9.])", "", text)
    closed = re.sub(r"_\{([A-Za-z0-9])\}", r"_\1", closed)
    return closed.lower() if _WORDS.fullmatch(text) else closed
