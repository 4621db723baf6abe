"""Odd text and JSON from outside, made safe where it comes in. Standard library only.

Half a surrogate pair and NUL are characters of a Python string which no file, database or terminal takes; a number that is
infinite, or larger than 64 bits, and nesting without end are valid for a parser and for nothing behind it.
"""

import json
import math
import re
from typing import Any

DEPTH_MAX = 100
"""Lists and objects inside each other; what relay and Kaggle write has fewer than ten."""
INTEGER_MAX = 2**63 - 1
"""What a column of SQLite holds."""
QUOTED_CHARS_MAX = 80
ODD = re.compile("[\\0\ud800-\udfff]")
REPLACEMENT = "\ufffd"


class OddJson(ValueError):
    """Text that is not JSON, or JSON that nothing can be done with; the message is a part of a sentence."""


def whole_text(text: str) -> str:
    """The text with halves of a surrogate pair put together, and what has no other half, and NUL, replaced."""
    if ODD.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\0", REPLACEMENT)


def quoted(value: Any) -> str:
    """A value in quotes for a sentence, cut where it is long."""
    shown = repr(value[: 2 * QUOTED_CHARS_MAX] if isinstance(value, str) else value)
    return shown if len(shown) <= QUOTED_CHARS_MAX else f"{shown[:QUOTED_CHARS_MAX]}…"


def read_json(text: str | bytes, *, left_out: bool = False) -> Any:
    """The value, safe to write anywhere. Raises OddJson; `left_out`: a number that is none becomes None instead."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise OddJson("it is nested too deeply") from None
    except ValueError as error:
        raise OddJson(str(error)) from error
    return _safe(value, left_out)


def safe_value(value: Any) -> Any:
    """The same for what another reader made of JSON."""
    return _safe(value, left_out=True)


def _safe(value: Any, left_out: bool) -> Any:
    """In place, and without recursion, of which Python has only so much."""
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
