"""Sanitises text and JSON from outside before relay uses it. Standard library only.

A Python string may contain lone surrogates and NUL, which files, databases and terminals reject. JSON parsers accept
infinite numbers, integers beyond 64 bits and unlimited nesting, which later code cannot store.
"""

import json
import math
import re
from typing import Any

DEPTH_MAX = 100
"""Deepest nesting of lists and objects to accept; JSON written by relay and Kaggle has fewer than ten levels."""
INTEGER_MAX = 2**63 - 1
"""Largest integer that a SQLite column holds."""
QUOTED_CHARS_MAX = 80
"""Longest quoted value in a message, in characters."""
ODD = re.compile("[\\0\ud800-\udfff]")
"""Pattern of the characters that need care: NUL and surrogates."""
REPLACEMENT = "\ufffd"


class OddJson(ValueError):
    """Raised for text that is not JSON, or JSON that relay cannot store; the message is part of a sentence."""


def whole_text(text: str) -> str:
    """Join split surrogate pairs; replace lone surrogates and NUL with U+FFFD."""
    if ODD.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\0", REPLACEMENT)


def quoted(value: Any) -> str:
    """Quote a value for use in a sentence, truncated if it is long."""
    shown = repr(value[: 2 * QUOTED_CHARS_MAX] if isinstance(value, str) else value)
    return shown if len(shown) <= QUOTED_CHARS_MAX else f"{shown[:QUOTED_CHARS_MAX]}…"


def read_json(text: str | bytes, *, left_out: bool = False) -> Any:
    """Parse JSON into a value that is safe to store. Raises OddJson; with `left_out`, non-finite
    numbers become None instead."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise OddJson("it is nested too deeply") from None
    except ValueError as error:
        raise OddJson(str(error)) from error
    return _safe(value, left_out)


def _safe(value: Any, left_out: bool) -> Any:
    """Sanitise in place, without recursion: deep nesting would exceed Python's recursion limit."""
    top = [value]
    pending: list[tuple[Any, int]] = [(top, 0)]
    while pending:
        holder, depth = pending.pop()
        if depth > DEPTH_MAX:
            raise OddJson(f"it is nested more than {DEPTH_MAX} deep")
        if isinstance(holder, dict) and any(map(ODD.search, holder)):
            items = [(whole_text(key), item) for key, item in holder.items()]
            holder.clear()
            holder.update(items)
        for place, item in list(holder.items()) if isinstance(holder, dict) else enumerate(holder):
            if isinstance(item, (dict, list)):
                pending.append((item, depth + 1))
            else:
                holder[place] = _scalar(item, left_out)
    return top[0]


def _scalar(item: Any, left_out: bool) -> Any:
    if isinstance(item, str):
        return whole_text(item)
    if isinstance(item, float) and not math.isfinite(item):
        if not left_out:
            raise OddJson(f"{item} is not a number")
        return None
    if isinstance(item, int) and abs(item) > INTEGER_MAX:
        raise OddJson("a number in it is larger than any that relay knows")
    return item
