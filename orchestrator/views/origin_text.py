"""The checkpoint of another run that a run begins from, in words. Pure."""

from collections.abc import Mapping
from typing import Any

from stages.contract import HISTORY, OPTIMIZER


def origin_sentence(origin: Mapping[str, Any]) -> str:
    """Return the origin of a run's document as a phrase."""
    place = f"{origin['run']} at {origin['at']}"
    waits = "" if origin["digest"] else ", once that run has the checkpoint"
    match origin["keeps"]:
        case keeps if keeps == HISTORY:
            return f"forked from {place}{waits}"
        case keeps if keeps == OPTIMIZER:
            return f"begun with the weights and optimizer state of {place}{waits}"
        case _:
            return f"begun with the weights of {place}{waits}"
