"""Source of the list of runs: rows and kept forecasts at once, other forecasts as a thread computes them."""

import threading
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from orchestrator.app.workspace import Workspace
from orchestrator.base.errors import RelayError
from orchestrator.views.moment import moment_of, moment_of_any
from orchestrator.views.open_run_forecast import kept_forecasts, open_run_forecast
from orchestrator.views.run_list import list_document
from state.failures import StoreCorrupt, StoreGone, StoreUnavailable
from state.reader import Reader

FIRST_WAIT_S = 0.3
"""Seconds that a document waits for forecasts; one run's is usually there by then."""
AWAITED_MAX = 3
"""Maximum number of forecasts that a document waits for."""
STALE = timedelta(minutes=2)
"""Age at which the forecast of a run is computed again although nothing happened."""


@dataclass(frozen=True)
class KnownForecast:
    """Forecast of one run, with what it was computed from."""

    newest_fact: int
    at: datetime
    found: str | StoreCorrupt
    """When the run will be done (ISO 8601, empty if unknown), or the damage that was found."""


@dataclass
class ListSource:
    """Documents of the list of runs of one home folder. Thread-safe."""

    relay: Workspace
    generation: int = 0
    """Grows with every forecast that changed, so that documents are made again."""
    _known: dict[str, KnownForecast] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _worker: threading.Thread | None = None

    def document(self, store: Reader | None) -> dict[str, Any]:
        """Return the document of the list. Forecasts that are still being computed are absent from it."""
        kept: dict[str, str] = {} if store is None else self._kept(store)
        late: dict[str, int] = {} if store is None else self._late(store, kept)
        if store is not None and 0 < len(late) <= AWAITED_MAX:
            self._begun(store, late).join(FIRST_WAIT_S)
        known = {run: forecast.found for run, forecast in list(self._known.items())} | kept
        with moment_of_any(store, self.relay.clock.now) as (reader, now):
            document = list_document(reader, self.relay.home.path, now, self.relay.warnings(), known)
        if store is not None and len(late) > AWAITED_MAX:  # begun now, since both would share the processor
            self._begun(store, late)
        return document

    def _kept(self, store: Reader) -> dict[str, str]:
        """Return when runs will be done whose forecast is kept and still holds; empty where it is unknown."""
        parts = kept_forecasts(store, self.relay.clock.now())
        return {run: _finish_at(part) for run, part in parts.items()}

    def _late(self, store: Reader, kept: Container[str]) -> dict[str, int]:
        """Return the open runs whose forecast is neither kept nor known, older than its run, or stale, with their newest
        facts.
        """
        found, now = {}, self.relay.clock.now()
        for run, (newest_fact, _) in store.change_tokens().items():
            if run in kept:
                continue
            known = self._known.get(run)
            if known is None or known.newest_fact != newest_fact or not timedelta() <= now - known.at < STALE:
                found[run] = newest_fact
        return found

    def _begun(self, store: Reader, late: dict[str, int]) -> threading.Thread:
        with self._lock:
            if self._worker is None or not self._worker.is_alive():
                arguments = (store, late)
                self._worker = threading.Thread(target=self._compute, args=arguments, name="forecasts", daemon=True)
                self._worker.start()
            return self._worker

    def _compute(self, store: Reader, late: dict[str, int]) -> None:
        for run, newest_fact in late.items():
            try:
                with moment_of(store, self.relay.clock.now) as (reader, now):
                    found = self._forecast(reader, run, now)
            except (StoreUnavailable, StoreGone, KeyError):  # the next document tries again, and says what is wrong
                return
            before = self._known.get(run)
            self._known[run] = KnownForecast(newest_fact, now, found)
            self.generation += before is None or before.found != found

    def _forecast(self, store: Reader, run: str, now: datetime) -> str | StoreCorrupt:
        try:
            state = store.load(run)
            part = open_run_forecast(store, state, now, self.relay.home.path)
        except StoreGone:
            raise
        except StoreCorrupt as error:
            return error
        except RelayError:  # such as evidence that cannot be read: the run's page says so
            return ""
        return _finish_at(part)


def _finish_at(part: Mapping[str, Any]) -> str:
    forecast = part.get("forecast")
    return str(forecast["finish_at"]) if forecast else ""
