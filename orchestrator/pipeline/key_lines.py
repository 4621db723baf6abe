"""Finds the line of a pipeline file that a mistake is about, from the key at the beginning of the mistake's sentence."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

_KEY = re.compile(r"[A-Za-z_][\w-]*(?:\[\d+\]|\.[\w-]+)*")


def lines_of(path: Path) -> dict[str, int]:
    """Return the line, from 1, of each key of a YAML file by its dotted name, such as `stages[0].options.batch`.

    Empty if the file cannot be parsed.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        return {}
    return {} if node is None else dict(_lines(node, "", set()))


def line_of(sentence: str, lines: Mapping[str, int]) -> int | None:
    """Return the line of the key with which a sentence begins; of the part that should hold it, if the key is missing."""
    found = _KEY.match(sentence)
    key = found[0] if found else ""
    while key:
        if key in lines:
            return lines[key]
        key = re.sub(r"(?:\[\d+\]|\.?[\w-]+)$", "", key)
    return None


def _lines(node: yaml.Node, name: str, above: set[int]) -> Iterator[tuple[str, int]]:
    """Yield the names and lines of all keys below a node. An alias that stands for itself is not followed."""
    if id(node) in above:
        return
    inside = above | {id(node)}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                below = f"{name}.{key.value}" if name else str(key.value)
                yield below, key.start_mark.line + 1
                yield from _lines(value, below, inside)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            below = f"{name}[{number}]"
            yield below, value.start_mark.line + 1
            yield from _lines(value, below, inside)
