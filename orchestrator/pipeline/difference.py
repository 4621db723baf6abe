"""Differences between pipelines' JSON: the first one in words, or all of them by key."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

VALUE_CHARS_MAX = 200
"""Length limit of a value quoted in a difference; a longer one, such as a user's module, is named only."""


def differences(values: Sequence[Any], key: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Yield each key in which values of JSON types differ, with all of them; a missing one is None.

    Objects are compared by key and lists of equal length by item, others as a whole.
    """
    if all(isinstance(value, dict) for value in values):
        for name in sorted(set().union(*values)):
            yield from differences([value.get(name) for value in values], f"{key}.{name}" if key else name)
    elif all(isinstance(value, list) for value in values) and len({len(value) for value in values}) == 1:
        for index, items in enumerate(zip(*values, strict=True)):
            yield from differences(items, f"{key}[{index}]")
    elif any(value != values[0] for value in values):
        yield key, list(values)


def first_difference(old: Any, new: Any) -> str:
    """Return the first key in which two pipelines' JSON differs, with both values; empty if they are equal."""
    for key, values in differences([old, new]):
        before, after = map(json.dumps, values)
        whole = max(len(before), len(after)) <= VALUE_CHARS_MAX
        return f"{key} changed from {before} to {after}" if whole else f"{key} changed"
    return ""
