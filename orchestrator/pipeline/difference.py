"""First difference between two pipelines, in words."""

import json
from typing import Any

VALUE_CHARS_MAX = 200
"""Length limit of a value quoted in a difference; a longer one, such as a user's module, is named only."""


def first_difference(old: Any, new: Any, key: str = "") -> str:
    """Return the first key in which two pipelines' JSON differs, with both values; empty if they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            found = first_difference(old.get(name), new.get(name), f"{key}.{name}" if key else name)
            if found:
                return found
        return ""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            found = first_difference(before, after, f"{key}[{index}]")
            if found:
                return found
        return ""
    if old == new:
        return ""
    before, after = json.dumps(old), json.dumps(new)
    whole = max(len(before), len(after)) <= VALUE_CHARS_MAX
    return f"{key} changed from {before} to {after}" if whole else f"{key} changed"
