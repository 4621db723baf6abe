"""The checkpoint of another run that a run begins from, as a document and in words. Pure."""

from collections.abc import Mapping
from typing import Any

from stages.contract import HISTORY, OPTIMIZER
from state.model.run_origin import RunOrigin


def origin_document(origin: RunOrigin | None) -> dict[str, Any] | None:
    """Describe the checkpoint of another run that a run begins from."""
    if origin is None:
        return None
    return {
        "run": origin.run,
        "at": origin.place,
        "keeps": origin.keeps,
        "checkpoint": origin.checkpoint or None,
        "digest": origin.digest or None,
    }


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
