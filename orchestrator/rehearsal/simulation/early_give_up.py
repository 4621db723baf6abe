"""Watchdog of a simulated chain: it must not give up early on a push or a dataset that Kaggle may still show."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrator.base.humanize import duration
from orchestrator.core.waits import SHARE
from orchestrator.engine.tick import TickResult
from orchestrator.rehearsal.simulation.chain import Chain
from state.facts.base import Fact
from state.facts.checkpoint import DatasetDropped, DatasetOffered
from state.facts.run import InputsDropped, InputsOffered
from state.facts.session import PushUnclear, PushUnfound
from state.model.dataset_names import name_in


@dataclass
class EarlyGiveUps:
    """Start of the search for each push and dataset: simulated time, and how often the clock had been set by then."""

    since: dict[str, tuple[datetime, int]] = field(default_factory=dict)

    def after(self, chain: Chain, tick: TickResult | None) -> str:
        """Return what is wrong after a tick, or "": nothing may be given up before its deadline."""
        for fact in () if tick is None else tick.facts:
            if wrong := self._check(fact, chain):
                return wrong
        return ""

    def _check(self, fact: Fact, chain: Chain) -> str:
        made, limits = 0 if chain.settings is None else chain.settings.made, chain.limits
        match fact:
            case PushUnclear():
                self.since[f"session {fact.number}.{fact.attempt}"] = (chain.kaggle.clock.now(), made)
            case DatasetOffered() | InputsOffered():
                self.since[name_in(fact.dataset)] = (chain.kaggle.clock.now(), made)
            case PushUnfound():
                return self._check_wait(
                    f"session {fact.number}.{fact.attempt}", limits.unclear_s, limits.poll_s, chain, made
                )
            case DatasetDropped() | InputsDropped() if ", and after " in fact.reason:
                wait_s = limits.visible_s if "show it" in fact.reason else limits.processing_s
                return self._check_wait(name_in(fact.dataset), wait_s, limits.poll_s, chain, made)
            case _:
                pass
        return ""

    def _check_wait(self, name: str, wait_s: float, interval_s: float, chain: Chain, made: int) -> str:
        """Check the time since the search began, unless a crash hid the beginning.

        Each change of the clock may shorten the wait by `SHARE` poll intervals, the most that one poll counts.
        """
        if name not in self.since:
            return ""
        since, made_then = self.since.pop(name)
        lasted_s = (chain.kaggle.clock.now() - since) / timedelta(seconds=1)
        least_s = wait_s - (made - made_then) * SHARE * interval_s
        return (
            f"{name} was given up after {duration(lasted_s)} instead of {duration(wait_s)}"
            if lasted_s < least_s
            else ""
        )
