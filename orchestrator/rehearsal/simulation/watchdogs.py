"""Watchdogs of a simulated chain: it must not loop without a rest, nor wait for long without telling a person."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrator.base.humanize import duration
from orchestrator.core.commands import Wait
from orchestrator.core.plan import Limits
from orchestrator.engine.tick import TickResult
from orchestrator.rehearsal.simulation.chain import Chain
from orchestrator.rehearsal.simulation.stuck_answers import StuckGateway
from state.facts.run import RunResumed
from state.model.run_state import RunState
from state.model.statuses import RunStatus


@dataclass
class RepeatWatchdog:
    """Commands since the last rest, during which no time passed and nothing set the clock."""

    done: set[str] = field(default_factory=set)
    at: tuple[datetime, timedelta, int] | None = None
    """Simulated time at the last tick, the offset of this machine's clock, and how often that clock had been set."""
    moved: bool = True
    """True if anything was recorded since then: a command repeated for a new reason is not a loop."""
    state: RunState | None = None
    """State of the run after the last tick. If the disk failed in mid-tick, maybe only the intent was recorded."""
    resumed_at: datetime | None = None
    """Simulated time at which a person resumed the run last: relay then looks again at once."""

    def after(self, chain: Chain, tick: TickResult | None) -> str:
        """Return what is wrong after a tick, or "".

        It is wrong to repeat a command, or to avoid the repetition only through the minimum wait.
        """
        command = None if tick is None else tick.command
        now, made = chain.kaggle.clock.now(), 0 if chain.settings is None else chain.settings.made
        at = (now, chain.clock.now() - now, made)
        if at != self.at:  # after the clock was set, relay forgets earlier observations and polls again
            just_resumed = self.resumed_at is not None and now - self.resumed_at < timedelta(
                seconds=chain.limits.floor_s
            )
            self.moved = just_resumed or (self.at is not None and at[1:] != self.at[1:])
        if command is None or isinstance(command, Wait) or at != self.at:
            self.done.clear()
        self.at = at
        state = chain.state
        self.moved |= tick is None or bool(tick.facts) or state != self.state
        if tick is not None and any(isinstance(fact, RunResumed) for fact in tick.facts):
            self.resumed_at = now
        self.state = state
        if command is None or isinstance(command, Wait):
            return command.why if isinstance(command, Wait) and command.held and not self.moved else ""
        again = repr(command)
        if again in self.done:
            return f"{again} was carried out twice in a row"
        self.done.add(again)
        return ""


@dataclass
class OverdueWatchdog:
    """Measures how long an answer has been stuck while relay ran. Turns in which calls fail do not count."""

    limits: Limits = field(default_factory=Limits)
    stuck: str = ""
    stuck_s: float = 0.0
    since: datetime | None = None
    """Time up to which the wait is counted; None if the time until the next tick does not count."""

    def paused(self) -> None:
        """Exclude the time until the next tick: no daemon runs."""
        self.since = None

    def after(self, chain: Chain, state: RunState, tick: TickResult | None) -> str:
        """Return what is wrong after a tick, or "": a stuck answer must lead to action or to a message in time."""
        now = chain.kaggle.clock.now()
        owed = chain.gateway.owed(state, self.limits) if isinstance(chain.gateway, StuckGateway) else None
        if state.run.status is RunStatus.CANCELLED:  # nobody is told about a run that nobody wants
            owed = None
        if owed is None or owed[0] != self.stuck:
            self.stuck, self.stuck_s = "" if owed is None else owed[0], 0.0
        elif self.since is not None:
            self.stuck_s += (now - self.since).total_seconds()
        fails = tick is None or tick.failure or (isinstance(tick.command, Wait) and tick.before.failures > 0)
        self.since = None if fails else now
        if owed is not None and self.stuck_s > owed[1] + 2 * chain.limits.poll_s:  # relay notices only when it polls
            return f"{self.stuck} has been stuck for {duration(self.stuck_s)}, and relay told no person"
        return ""
