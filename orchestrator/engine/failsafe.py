"""The last catch: what relay itself fails at in one run parks that run, with the traceback, and no other run notices."""

import traceback
from datetime import datetime

from orchestrator.core.commands import Append
from orchestrator.engine.tick import Turn
from stages.safe_text import whole_text
from state.facts import RunParked
from state.failures import StoreCorrupt, StoreUnavailable
from state.leases import LeaseLost
from state.model import RunStatus
from state.store import Store

CONCERNS_ALL = (StoreUnavailable, StoreCorrupt, LeaseLost)
"""Errors of the database or of the daemon's right to it, whichever run meets them first."""

REASON_CHARS_MAX = 300
EXCERPT_CHARS_MAX = 4000
"""Of a traceback its end is kept, where the error is."""


def sentence(error: Exception) -> str:
    """What went wrong, in a sentence."""
    return f"relay itself failed at this run ({_told(error)})"


def _told(error: Exception) -> str:
    told = whole_text(" ".join(f"{type(error).__name__}: {error}".split()))
    return told if len(told) <= REASON_CHARS_MAX else f"{told[:REASON_CHARS_MAX]}…"


def _excerpt(error: Exception) -> str:
    """The innermost frames, and the error."""
    frames = whole_text("".join(traceback.format_tb(error.__traceback__)))[-EXCERPT_CHARS_MAX:]
    return f"Traceback (the newest calls last):\n{frames}{_told(error)}"


def parked(store: Store, run: str, error: Exception, now: datetime, fence: int) -> Turn | None:
    """Park the run; None where that cannot be done, or a person has been asked already."""
    try:
        if store.load(run).run.status not in (RunStatus.ACTIVE, RunStatus.WAITING):
            return None
        fact = RunParked(reason=sentence(error), remedy=f"relay retry {run}", excerpt=_excerpt(error))
        store.append(run, (fact,), now, fence=fence)
        return Turn(Append((fact,)), (fact,))
    except CONCERNS_ALL:
        raise
    except Exception:  # noqa: BLE001  what it failed at may be the run's own rows: then the run is only left alone for a while
        return None
