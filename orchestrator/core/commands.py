"""Commands that the pure core returns for the shell to perform: one frozen class for each kind of effect."""

from dataclasses import dataclass
from datetime import datetime

from state.facts.base import Fact


@dataclass(frozen=True)
class Append:
    """Record facts that need no call to Kaggle. `fulfilled` is the id of the request that they answer."""

    facts: tuple[Fact, ...]
    fulfilled: int | None = None


@dataclass(frozen=True)
class ReadQuota:
    """Read from Kaggle how many hours of the weekly quota are left."""

    accelerator: str


@dataclass(frozen=True)
class PublishInputs:
    """Create or find the dataset of the pipeline's own files, and check whether it is ready."""


@dataclass(frozen=True)
class Push:
    """Start a session's kernel, or adopt it if it already exists."""

    number: int
    attempt: int


@dataclass(frozen=True)
class FindPush:
    """Find out whether Kaggle accepted a push whose response was ambiguous."""

    number: int
    attempt: int


@dataclass(frozen=True)
class PollTwin:
    """Poll a session's twin: an unwanted second session of the same kernel."""

    number: int
    attempt: int


@dataclass(frozen=True)
class Poll:
    """Poll a session's status and read its log."""

    number: int
    attempt: int


@dataclass(frozen=True)
class Collect:
    """Fetch a session's report and its newest checkpoint that verifies."""

    number: int
    attempt: int


@dataclass(frozen=True)
class Publish:
    """Create or find the checkpoint's dataset, and check whether it is ready."""

    number: int
    attempt: int


@dataclass(frozen=True)
class VerifyDataset:
    """Compare the dataset of a session's checkpoint with its manifest, byte by byte."""

    number: int
    attempt: int


@dataclass(frozen=True)
class CarryOrigin:
    """Publish the other run's checkpoint that this run begins from on this run's platform, and check whether it is ready."""


@dataclass(frozen=True)
class Prune:
    """Delete an old checkpoint's dataset and its local files."""

    checkpoint: str


@dataclass(frozen=True)
class Wait:
    """Do nothing before `until` (None: not before the user makes a request)."""

    until: datetime | None
    why: str
    wants_slot: bool = False
    """True if the run waits for a session slot. The wait is recorded, so that runs get slots in turn."""
    held: bool = False
    """True if the rate limit replaced another command with this wait (see `orchestrator.core.rate_limit`)."""


Command = (
    Append
    | ReadQuota
    | PublishInputs
    | CarryOrigin
    | Push
    | FindPush
    | Poll
    | PollTwin
    | Collect
    | Publish
    | VerifyDataset
    | Prune
    | Wait
)
