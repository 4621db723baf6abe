"""Last-resort error handling: a bug in relay parks the affected run, with the traceback, and other runs go on."""

import traceback
from datetime import datetime

from orchestrator.core.commands import Append
from orchestrator.engine.tick import TickResult
from stages.safe_text import whole_text
from state.facts.run import RunParked
from state.failures import StoreCorrupt, StoreUnavailable
from state.leases import LeaseLost
from state.model.statuses import RunStatus
from state.store import Store

CONCERNS_ALL = (StoreUnavailable, StoreCorrupt, LeaseLost)
"""Errors of the database or of the daemon's lease, which concern all runs."""

REASON_CHARS_MAX = 300
EXCERPT_CHARS_MAX = 4000
"""Maximum length of a traceback, in characters; its end, which holds the error, is kept."""


def sentence(error: Exception) -> str:
    """Describe an unexpected error in a sentence."""
    return f"relay itself failed at this run ({_summary(error)})"


def _summary(error: Exception) -> str:
    told = whole_text(" ".join(f"{type(error).__name__}: {error}".split()))
    return told if len(told) <= REASON_CHARS_MAX else f"{told[:REASON_CHARS_MAX]}…"


def _excerpt(error: Exception) -> str:
    """Return the innermost frames, and the error."""
    frames = whole_text("".join(traceback.format_tb(error.__traceback__)))[-EXCERPT_CHARS_MAX:]
    return f"Traceback (the newest calls last):\n{frames}{_summary(error)}"


def parked(store: Store, run: str, error: Exception, now: datetime, fence: int) -> TickResult | None:
    """Park the run; return None if that fails, or if the run already waits for the user."""
    try:
        if store.load(run).run.status not in (RunStatus.ACTIVE, RunStatus.WAITING):
            return None
        fact = RunParked(reason=sentence(error), remedy=f"relay retry {run}", excerpt=_excerpt(error))
        store.append(run, (fact,), now, fence=fence)
        return TickResult(Append((fact,)), (fact,))
    except CONCERNS_ALL:
        raise
    except Exception:  # noqa: BLE001  the run's own rows may be the cause: then the run is only left alone for a while
        return None
