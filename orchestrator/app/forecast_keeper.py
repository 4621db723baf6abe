"""Keeps the forecasts of all runs that go on by themselves up to date, between the rounds of the daemon."""

from collections.abc import Callable
from datetime import datetime

from orchestrator.app.workspace import Workspace
from orchestrator.engine.tick import TickResult
from orchestrator.views.moment import moment_of
from orchestrator.views.open_run_forecast import CODE, KEPT_FOR, computed_forecast
from state.failures import RunDamaged, StoreUnavailable
from state.kept_forecasts import ForecastBasis

CHECK_S = 10.0
"""Seconds after which ages are checked although no tick has done anything."""
RESTS_OF_STEPS = 100
"""How many times as long as computing a forecast took new steps alone do not make it computed again: a percent of a core."""
RESTS = 50
"""The same for everything else: two percent of a core, also where a session takes seconds, as in a rehearsal."""
FAILED_S = 60.0
"""Seconds after which a forecast that failed is tried again."""


class ForecastKeeper:
    """Computes the forecast of each run anew once its facts, its quota or its steps have changed, or it has aged.

    `monotonic` is a clock in seconds that changes of the system time do not affect. A failure to compute is reported
    once and stops no run.
    """

    def __init__(self, workspace: Workspace, notice: Callable[[str], None], monotonic: Callable[[], float]) -> None:
        self._workspace, self._notice, self._monotonic = workspace, notice, monotonic
        self._check_at_s = 0.0
        self._computed: dict[str, tuple[float, float]] = {}
        """When the forecast of a run was computed last, and how long that took, in seconds, by run."""
        self._failed: dict[str, float] = {}
        self._failure = ""

    def heard(self, run: str, tick: TickResult) -> None:
        """Have the runs checked after this round."""
        self._check_at_s = 0.0

    def renew(self) -> None:
        """Compute and store the forecasts that are missing or outdated. Raises StoreUnavailable, StoreCorrupt."""
        if self._monotonic() < self._check_at_s:
            return
        for of in self._workspace.store.forecast_bases(CODE):
            if self._workspace.stop.is_set():
                return
            if self._due(of, self._workspace.clock.now()):
                self._renew(of.run)
        self._check_at_s = self._monotonic() + CHECK_S

    def _due(self, of: ForecastBasis, now: datetime) -> bool:
        at_s, took_s = self._computed.get(of.run, (0.0, 0.0))
        rested_s = self._monotonic() - at_s
        if self._monotonic() < self._failed.get(of.run, 0.0) or rested_s < RESTS * took_s:
            return False
        if of.kept is None or of.outdated or not of.kept.computed_at <= now < of.kept.computed_at + KEPT_FOR / 2:
            return True
        return of.kept.steps != of.steps and rested_s >= RESTS_OF_STEPS * took_s

    def _renew(self, run: str) -> None:
        began_s, store = self._monotonic(), self._workspace.store
        try:
            with moment_of(store, self._workspace.clock.now) as (reader, now):
                found = reader.forecast_bases(CODE, run)
                parts = [computed_forecast(reader, reader.load(run), now, self._workspace.home.path) for _ in found]
        except (StoreUnavailable, RunDamaged):
            self._failed[run] = self._monotonic() + FAILED_S  # the run's own tick reports it
            return
        except Exception as error:  # noqa: BLE001  a bug in what is only shown must not end the daemon
            self._failed[run] = self._monotonic() + FAILED_S
            if str(error) != self._failure:
                self._failure = str(error)
                self._notice(f"the end of {run} cannot be forecast: {type(error).__name__}: {error}")
            return
        self._failed.pop(run, None)
        self._computed[run] = self._monotonic(), self._monotonic() - began_s
        for of, part in zip(found, parts, strict=True):
            store.keep_forecast(of, now, part)
