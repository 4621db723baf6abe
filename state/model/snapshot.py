"""Input of the core's decision about one run: its state, its requests, and what it shares with other runs."""

from dataclasses import dataclass, field
from datetime import datetime

from state.model.poll_state import PollState
from state.model.run_origin import RunOrigin
from state.model.run_state import RunState


@dataclass(frozen=True, kw_only=True)
class Request:
    """A user's request, carried out by the next tick: `pause`, `resume`, `cancel`, `retry` or `prune`."""

    id: int
    run: str
    verb: str
    arguments: dict[str, str] = field(default_factory=dict)
    made_at: datetime


@dataclass(frozen=True, kw_only=True)
class QuotaRow:
    """Weekly quota of one account as last read, in seconds. `total_s` is None if unknown."""

    owner: str
    accelerator: str
    used_s: float
    reserved_s: float
    total_s: float | None
    refreshes_at: datetime | None
    read_at: datetime
    assumed: bool = False
    """True if Kaggle reported none: `total_s` is then the pipeline's setting, `used_s` the time of relay's sessions."""
    outdated: bool = False
    """True if a session of the account has ended since the quota was read. Set with the fact, independent of clocks."""

    @property
    def left_s(self) -> float | None:
        """Seconds that a new session may use, or None if unknown."""
        return None if self.total_s is None else max(0.0, self.total_s - self.used_s - self.reserved_s)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Another run that waits for a slot of the same account and accelerator."""

    run: str
    since: datetime
    seen_at: datetime


@dataclass(frozen=True, kw_only=True)
class CallsMade:
    """Number of calls to Kaggle for a run within one minute from `since`."""

    since: datetime
    calls: int


@dataclass(frozen=True, kw_only=True)
class MachineTime:
    """Time for which one session occupied its machine; `ended_at` is None while it still does."""

    began_at: datetime
    ended_at: datetime | None
    limit_s: float


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Input of the core's decision: one run, and what it shares with other runs of its account."""

    state: RunState
    requests: tuple[Request, ...] = ()
    watch: PollState = field(default_factory=PollState)
    quota: QuotaRow | None = None
    others_live: int = 0
    """Number of slots of the same account and accelerator taken by other runs; duplicate sessions take two."""
    waiting: tuple[Waiting, ...] = ()
    """Other runs that wait for such a slot."""
    others_calls: tuple[CallsMade, ...] = ()
    """Recent calls to Kaggle by other runs of the account."""
    origin: RunState | None = None
    """The run that this run begins from, by its rows; None if that run is not in the database, or this run has a
    usable checkpoint of its own."""
    needed: tuple[RunOrigin, ...] = ()
    """Checkpoints of this run that other runs still need, since they begin from them."""
