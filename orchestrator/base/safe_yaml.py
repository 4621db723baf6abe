"""Reads hand-written YAML as plain values; rejects what JSON cannot express and what grows without bound."""

import math
from collections.abc import Mapping
from typing import Any

import yaml

from stages.safe_text import DEPTH_MAX, INTEGER_MAX, ODD, quoted

CHARACTERS_MAX = 2_000_000
NODES_MAX = 100_000
"""Maximum number of values in a file, with aliases expanded: ten lines of aliases can exceed any memory."""

PLAIN = (str, bool, int, float, type(None))


class OddYaml(ValueError):
    """Text that is not YAML, or not YAML that relay accepts.

    The message is a part of a sentence, and may repeat some of the text.
    """

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.line = line
        """Line number, from 1; None if the problem is in no particular line."""

    @property
    def place(self) -> str:
        """Line of the problem, to be put behind a file's name; empty if unknown."""
        return f", line {self.line}" if self.line else ""


class UniqueKeys(yaml.SafeLoader):
    """SafeLoader that rejects duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{quoted(key)} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(text: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """Parse a text and return its value. Raises OddYaml."""
    if len(text) > CHARACTERS_MAX:
        raise OddYaml(f"it has more than {CHARACTERS_MAX:,} characters")
    try:
        reading = loader(text)
        node = reading.get_single_node()
        if node is None:
            return None
        _check_size(node)
        value = reading.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise OddYaml(problem, mark.line + 1 if mark else None) from error
    except RecursionError:
        raise OddYaml(f"it is nested more than {DEPTH_MAX} deep") from None
    except OddYaml:
        raise
    except (ArithmeticError, TypeError, ValueError) as error:  # an impossible date, a list as a key
        raise OddYaml(f"it has a value that cannot be read ({error})") from error
    check_values(value)
    return value


def _check_size(top: yaml.Node) -> None:
    """Raise OddYaml if the file expands to too many values, or is nested too deeply."""
    sizes: dict[int, int] = {}
    open_: set[int] = set()

    def size_of(node: yaml.Node, depth: int) -> int:
        known = sizes.get(id(node))
        if known is not None:
            return known
        line = node.start_mark.line + 1
        if id(node) in open_:
            raise OddYaml("it has an alias that stands for itself", line)
        if depth > DEPTH_MAX:
            raise OddYaml(f"it is nested more than {DEPTH_MAX} deep", line)
        open_.add(id(node))
        size = 1 + sum(size_of(inner, depth + 1) for inner in _inner(node))
        open_.discard(id(node))
        if size > NODES_MAX:
            raise OddYaml(f"its aliases stand for more than {NODES_MAX:,} values", line)
        sizes[id(node)] = size
        return size

    size_of(top, 0)


def _inner(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def check_values(value: Any) -> None:
    """Raise OddYaml for the first value that does not survive a JSON round trip."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, Mapping):
            pending += [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple)):
            pending += item
        elif problem := _problem(item):
            raise OddYaml(problem)


def _problem(item: Any) -> str:
    if not isinstance(item, PLAIN):
        return f"{quoted(str(item))} is a {type(item).__name__} in YAML: put it in quotes"
    if isinstance(item, str) and ODD.search(item):
        return f"the text {quoted(item)} has a character that cannot be written"
    if isinstance(item, int) and abs(item) > INTEGER_MAX:
        return "it has a number of more than 64 bits"
    if isinstance(item, float) and not math.isfinite(item):
        return f"{item} is not a number that can be used"
    return ""
