"""Leaves the mistaken parts out of a pipeline's value, so that the rest can be checked as well."""

import copy
from collections.abc import Sequence
from typing import Any

from orchestrator.base.validation import Mistakes, Place, validated
from orchestrator.pipeline.model import Pipeline

ROUNDS_MAX = 3
"""Leaving out a part may make another one invalid; after so many rounds the rest is not checked."""


def without_mistakes(value: Any, mistakes: Mistakes) -> Pipeline | None:
    """Return the pipeline without the parts that these mistakes are about; None if too little is left.

    A required key gets a value that is valid and makes no further mistake.
    """
    left, places = copy.deepcopy(value), mistakes.places
    for _ in range(ROUNDS_MAX):
        if not all(_left_out(left, place) for place in places):
            return None
        try:
            return validated(Pipeline, left)
        except Mistakes as error:
            places = error.places
    return None


def _left_out(value: Any, place: Place) -> bool:
    """Delete the key at a place, or fill it in if it is missing. Return whether that was possible."""
    *above, last = place or ("",)
    holder = value
    for part in above:
        try:
            holder = holder[part]
        except (KeyError, IndexError, TypeError):
            return False
    if not isinstance(holder, dict) or not isinstance(last, str):
        return False
    if last in holder:
        del holder[last]
        return True
    return _filled(holder, above, last)


def _filled(holder: dict[Any, Any], above: Sequence[int | str], missing: str) -> bool:
    match above, missing:
        case [], "name":
            holder["name"] = "unnamed"
        case ["stages", int(number)], "name":
            holder["name"] = f"unnamed-{number}"
        case ["stages", int()], "steps":
            holder["steps"] = 1
        case ["stages", int()], "kind":
            holder |= {"kind": "counting", "options": {}}
        case _:
            return False
    return True
