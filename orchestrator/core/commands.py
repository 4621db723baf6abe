"""What the core can ask the shell to do: one frozen class for each kind of effect."""

from dataclasses import dataclass
from datetime import datetime

from state.facts import Fact


@dataclass(frozen=True)
class Append:
    """Write facts that need no look at the world. `obeyed` is the request that they answer."""

    facts: tuple[Fact, ...]
    obeyed: int | None = None


@dataclass(frozen=True)
class ReadQuota:
    """Ask Kaggle how many hours are left."""

    accelerator: str


@dataclass(frozen=True)
class PublishInputs:
    """Make the dataset of the pipeline's own files, or find it, and see whether it is ready."""


@dataclass(frozen=True)
class Push:
    """Start a session's kernel, or adopt the one that is there."""

    number: int
    attempt: int


@dataclass(frozen=True)
class FindPush:
    """Find out whether Kaggle took a push that had no clear answer."""

    number: int
    attempt: int


@dataclass(frozen=True)
class PollTwin:
    """Ask how the second session of a session's kernel is, which nobody wanted."""

    number: int
    attempt: int


@dataclass(frozen=True)
class Poll:
    """Ask how a session is, and take in its log."""

    number: int
    attempt: int


@dataclass(frozen=True)
class Collect:
    """Fetch the report and the newest checkpoint that verifies."""

    number: int
    attempt: int


@dataclass(frozen=True)
class Publish:
    """Make the checkpoint's dataset, or find it, and see whether it is ready."""

    number: int
    attempt: int


@dataclass(frozen=True)
class VerifyDataset:
    """Compare the dataset of a session's checkpoint with its manifest, byte for byte."""

    number: int
    attempt: int


@dataclass(frozen=True)
class Prune:
    """Remove an old checkpoint's dataset and files."""

    checkpoint: str


@dataclass(frozen=True)
class Wait:
    """Nothing to do before `until` (None: not before a person asks)."""

    until: datetime | None
    why: str
    wants_slot: bool = False
    """It is a slot that is waited for: to be remembered, so that runs get theirs in turn."""
    held: bool = False
    """Something else was to be done and came too soon (`orchestrator.core.rate_limit`)."""


Command = (
    Append
    | ReadQuota
    | PublishInputs
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
