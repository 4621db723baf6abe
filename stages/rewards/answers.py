"""Parse a normalized answer: a single value, or a tuple, interval, set, ratio or list. Standard library only."""

import re
from dataclasses import dataclass, replace

from stages.rewards.expressions import read_expression
from stages.rewards.normalize import whole_group
from stages.rewards.quantities import KINDS, Quantity, read_quantity, unit_of
from stages.rewards.trees import Node, has_variables

ITEMS_MAX = 12
LEVELS_MAX = 3
"""Maximum nesting depth, enough for lists of tuples of sets."""
_SEPARATOR = re.compile(r"\s*(?:,\s*(?:and|or)\b|[,;]|\b(?:and|or)\b)\s*")
_BRACKETS = {
    ("(", ")"): "()",
    ("[", "]"): "[]",
    ("(", "]"): "(]",
    ("[", ")"): "[)",
    (r"\{", r"\}"): "{}",
    ("{", "}"): "{}",
}
_LETTER = r"(?:[A-Za-z]|\\[a-z]{2,7})(?:_\{?[A-Za-z0-9]{1,3}\}?)?'*"
_NAMED = re.compile(
    rf"(?P<name>{_LETTER}(?:\s*\(\s*[a-z]\s*\))?|\(\s*{_LETTER}(?:\s*,\s*{_LETTER})+\s*\))\s*(?:=|\\in(?![A-Za-z]))\s*"
)
_RATIO = re.compile(r"[0-9]+(?:\s*:\s*[0-9]+)+")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-5][0-9])(?: ?([ap])\.? ?m\.?)?", re.IGNORECASE)
_INEQUALITY = re.compile(r"(?P<name>[a-z])\s*(?P<sign>[<>]=?|\\[lg]e(?![A-Za-z]))\s*(?P<value>[^<>=]+)")
_INTERVALS = {
    "<": r"(-\infty,VALUE)",
    ">": r"(VALUE,\infty)",
    **dict.fromkeys(["<=", r"\le"], r"(-\infty,VALUE]"),
    **dict.fromkeys([">=", r"\ge"], r"[VALUE,\infty)"),
}
_OR = re.compile(r"\s*\bor\b\s*")
_UNIT = re.compile(r"(?: |(?<=[0-9})]))(?=[A-Za-z])")
_GROUPED = re.compile(r"\{([1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?)\}")


@dataclass(frozen=True)
class Leaf:
    """A single value: a quantity, or an expression or word (`quantity` is None)."""

    text: str
    quantity: Quantity | None = None
    name: str = ""
    """Name on the left side, such as `f(x)` in `f(x) = 2x`."""
    unit: str = ""
    """Kind and size of the unit of an expression."""
    whole: str = ""
    """The text including its name."""

    @property
    def body(self) -> str:
        """Text without name, unit or currency, for the judge."""
        if self.quantity is None:
            return self.text
        sign = r"^\circ" if self.quantity.unit == "degrees" else ""
        return f"{self.quantity.share}{sign}"

    @property
    def tree(self) -> Node | None:
        """Expression tree of the body; None if it cannot be parsed."""
        return read_expression(self.body)


@dataclass(frozen=True)
class Group:
    """Several values: a tuple or interval by its brackets, a set `{}`, a ratio `:`, or a list without brackets."""

    brackets: str
    items: tuple["Leaf | Group", ...]
    text: str = ""
    name: str = ""

    @property
    def number(self) -> Leaf | None:
        """The number that a text such as `{40,000}` means if no set is wanted; None if it is not one."""
        grouped = _GROUPED.fullmatch(self.text)
        return Leaf(grouped[1], read_quantity(grouped[1])) if grouped else None

    @property
    def union(self) -> Leaf | None:
        r"""The union of intervals that a text such as `x < 1 or x \ge 3` denotes; None for any other."""
        found = [_INEQUALITY.fullmatch(item.text) for item in self.items if isinstance(item, Leaf)]
        read = [one for one in found if one]
        if _OR.split(self.text) != [item.text for item in self.items] or len(read) < len(self.items):
            return None
        if len({one["name"] for one in read}) > 1:
            return None
        return Leaf(r"\cup".join(_INTERVALS[one["sign"]].replace("VALUE", one["value"]) for one in read))


Answer = Leaf | Group


def read_answer(text: str, level: int = 0) -> Answer:
    """Parse a normalized text. A text that cannot be parsed further becomes a `Leaf` of its characters."""
    quantity = read_quantity(text)
    if quantity is not None:
        return Leaf(text, quantity)
    if ratio := _ratio(text):
        return ratio
    name, body = _without_name(text)
    read: Answer | None = None
    if level < LEVELS_MAX:
        read = _bare(text, level) or _bracketed(body, level) or _either_sign(body, level)
    read = read or _expression(body)
    if not name or read.name:
        return read
    return replace(read, name=name, whole=text) if isinstance(read, Leaf) else replace(read, name=name)


def _without_name(text: str) -> tuple[str, str]:
    r"""Split `f(x) = 2x` into `f(x)` and `2x`, unless the right side contains another relation."""
    found = _NAMED.match(text)
    if not found or re.search(r"[=<>]|\\(?:le|ge|ne|lt|gt|in)(?![A-Za-z])", text[found.end() :]):
        return "", text
    return re.sub(r"[\s{}]", "", found["name"]), text[found.end() :]


def _expression(text: str) -> Leaf:
    for found in _UNIT.finditer(text):
        unit, before = unit_of(text[found.end() :].strip()), text[: found.start()].rstrip()
        tree = read_expression(before) if unit else None
        # `2x m` is a product. After a value without variables m is a metre, but `\sqrt{2}m` is again a product.
        touches, letters = not found[0], len(text) - found.end()
        if touches and (
            letters < 2 or not unit or unit[0].partition("^")[0] not in KINDS or (tree and has_variables(tree))
        ):
            continue
        if unit and tree and (not has_variables(tree) or (unit[0] in KINDS and letters > 2)):
            return Leaf(before, unit=f"{unit[0]} {unit[1]}")
    return Leaf(text)


def _ratio(text: str) -> Group | None:
    if clock := _CLOCK.fullmatch(text):
        hour, minute, half = clock.groups()
        return Group("clock", (Leaf(f"{int(hour)}:{minute}"), Leaf((half or "").lower())), text)
    if not _RATIO.fullmatch(text):
        return None
    return Group(":", tuple(Leaf(part.strip(), read_quantity(part.strip())) for part in text.split(":")), text)


def _either_sign(text: str, level: int) -> Group | None:
    r"""Expand `1 \pm 2` to the list `1 + 2, 1 - 2`. Several such signs are ambiguous and not expanded."""
    if len(re.findall(r"\\pm(?![A-Za-z])", text)) != 1:
        return None
    both = []
    for upper, lower in ("+-", "-+"):
        one = re.sub(r"\\pm(?![A-Za-z])", upper, text)
        both.append(read_answer(re.sub(r"\\mp(?![A-Za-z])", lower, one), level + 1))
    return Group("", tuple(both), text)


def _bracketed(text: str, level: int) -> Group | None:
    for (begin, end), brackets in _BRACKETS.items():
        if text.startswith(begin) and text.endswith(end) and len(text) > len(begin) + len(end):
            parts = _parts(text[len(begin) : len(text) - len(end)])
            if not parts or not whole_group(text, len(begin) - 1) or (brackets != "{}" and r"\pm" in text):
                continue
            if len(parts) > 1 or begin == r"\{":
                return Group(brackets, _read_all(parts, level), text)
    return None


def _bare(text: str, level: int) -> Group | None:
    """Parse a list without brackets, such as `1, 2` or `x = 1 or x = 2`; each item has to be mathematics."""
    parts = _parts(text)
    items = _read_all(parts, level) if len(parts) > 1 else ()
    return Group("", items, text) if items and all(map(_is_mathematics, items)) else None


def _is_mathematics(item: Answer) -> bool:
    return isinstance(item, Group) or item.quantity is not None or item.tree is not None


def _read_all(parts: list[str], level: int) -> tuple[Answer, ...]:
    r"""Parse all items; nested lists without brackets, as in `\pm 1, 3`, are flattened."""
    read = [read_answer(part, level + 1) for part in parts]
    return tuple(
        item for one in read for item in (one.items if isinstance(one, Group) and not one.brackets else (one,))
    )


def _parts(text: str) -> list[str]:
    """Split at commas outside brackets. Return nothing if a part is empty or a bracket is not closed."""
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
    return parts if depth == 0 and all(parts) and len(parts) <= ITEMS_MAX else []
