"""relay: train on Kaggle in as many sessions as it takes. The API for notebooks and scripts; see docs/python.md.

    import orchestrator

    relay = orchestrator.open()
    run = relay.start("my-pipeline.yaml")
    relay.run(run, say=print)

The import takes milliseconds: slow dependencies are loaded on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.app.api import Draft, Relay, load, open, rehearsing
    from orchestrator.base.errors import BadInput, OutOfQuota, Parked, Permanent, RelayError, Transient
    from orchestrator.pipeline.model import Pipeline
    from state.failures import StoreCorrupt, StoreUnavailable

__all__ = [
    "BadInput",
    "Draft",
    "OutOfQuota",
    "Parked",
    "Permanent",
    "Pipeline",
    "Relay",
    "RelayError",
    "StoreCorrupt",
    "StoreUnavailable",
    "Transient",
    "load",
    "open",
    "rehearsing",
]

_PLACES = {
    "orchestrator.app.api": ("Draft", "Relay", "load", "open", "rehearsing"),
    "orchestrator.base.errors": ("BadInput", "OutOfQuota", "Parked", "Permanent", "RelayError", "Transient"),
    "orchestrator.pipeline.model": ("Pipeline",),
    "state.failures": ("StoreCorrupt", "StoreUnavailable"),
}


def __getattr__(name: str) -> Any:
    for module, names in _PLACES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
