"""What a chain under watch must not do for long: go round without a rest, or wait without telling anybody."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrator.core.commands import Wait
from orchestrator.core.plan import Limits
from orchestrator.engine.tick import Turn
from orchestrator.rehearsal.simulation.chain import Chain
from orchestrator.rehearsal.simulation.stuck_answers import StuckGateway
from state.model import RunState


@dataclass
class RepeatWatchdog:
    """What was done since the last rest, while no time passed and nobody set the clock."""

    done: set[str] = field(default_factory=set)
    at: tuple[datetime, timedelta, int] | None = None
    """The world's time then, by how much this machine's clock was off, and how often it had been set."""
    moved: bool = True
    """Whether anything was written down since then: what comes again for a new reason does not go round in circles."""
    state: RunState | None = None
    """The run after the last turn: where the disk failed in the middle of one, its intent may be all that was written down."""

    def after(self, chain: Chain, turn: Turn | None) -> str:
        """What is wrong after a turn: a command that was repeated, or that only the floor has kept from it; or nothing."""
        command = None if turn is None else turn.command
        now, made = chain.kaggle.clock.now(), 0 if chain.settings is None else chain.settings.made
        at = (now, chain.clock.now() - now, made)
        if at != self.at:  # where the clock was set, what was seen before is forgotten, and looked at again
            self.moved = self.at is not None and at[1:] != self.at[1:]
        if command is None or isinstance(command, Wait) or at != self.at:
            self.done.clear()
        self.at = at
        state = chain.state
        self.moved |= turn is None or bool(turn.facts) or state != self.state
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
    """For how long something has been stuck while relay was there; failing calls have a patience of their own."""

    limits: Limits = field(default_factory=Limits)
    stuck: str = ""
    stuck_s: float = 0.0
    since: datetime | None = None
    """Up to when that is counted; None where the time until the next turn does not count."""

    def paused(self) -> None:
        """Nobody was there."""
        self.since = None

    def after(self, chain: Chain, state: RunState, turn: Turn | None) -> str:
        """What is wrong after a turn: something that nobody was told of in time; or nothing."""
        now = chain.kaggle.clock.now()
        owed = chain.gateway.owed(state, self.limits) if isinstance(chain.gateway, StuckGateway) else None
        if owed is None or owed[0] != self.stuck:
            self.stuck, self.stuck_s = "" if owed is None else owed[0], 0.0
        elif self.since is not None:
            self.stuck_s += (now - self.since).total_seconds()
        fails = turn is None or turn.failure or (isinstance(turn.command, Wait) and turn.before.failures > 0)
        self.since = None if fails else now
        if (
            owed is not None and self.stuck_s > owed[1] + 2 * chain.limits.poll_s
        ):  # it is seen at a look, not between two
            return f"{self.stuck} has been stuck for {self.stuck_s:.0f} s, and nobody was told"
        return ""
