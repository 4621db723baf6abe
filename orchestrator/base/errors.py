"""What can go wrong, named by the remedy.

RelayError
├── BadInput         the user's file, flag or credential: one sentence with the remedy, exit status 2
├── Transient        try again later; nothing is known to have changed
│   ├── RateLimited  the same, not before `retry_after_s`
│   └── Vanished     Kaggle says that it does not have what it had: believed only when it says so for long
├── DiskRefused      this machine's disk is full or closed to us: try again, for as long as it takes, and say so
├── Ambiguous        the effect may or may not have happened: look before doing it again
├── Refused          Kaggle said no and nothing happened
│   ├── NoSlot       too many sessions of this kind are alive
│   ├── NameTaken    the name belongs to something else, or to something that was deleted: choose another
│   └── NoRoom       the account has no room for so many bytes: a person has to make some
├── OutOfQuota       this week's hours are spent
├── Permanent        trying again will not help: park the run and tell a person
│   └── Overtaken    another home folder works on the run: stop, so that nothing is done twice
├── Parked           a run that a program waits for needs a person
└── Corrupt          bytes that are not what their manifest says
"""

from datetime import datetime


class RelayError(Exception):
    """Base of every error that relay raises on purpose; the message is one sentence for a person."""


class BadInput(RelayError):
    """Something the user wrote does not fit; names the file, the key and the remedy."""


class Transient(RelayError):
    """Try again later."""


class RateLimited(Transient):
    """Kaggle asks for patience; `retry_after_s` is None where it did not say how long."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Vanished(Transient):
    """Kaggle was asked for something of ours and answered, in full possession of its senses, that there is none."""


class DiskRefused(RelayError):
    """This machine's disk takes or gives nothing now; Kaggle has nothing to do with it, so a run is never given up for it."""


class Ambiguous(RelayError):
    """A call that changes something was cut off: find out whether it happened."""


class Refused(RelayError):
    """Kaggle declined; its own words are in the message and nothing was done."""


class NoSlot(Refused):
    """All session slots of the account are taken (queued sessions count)."""


class NameTaken(Refused):
    """Kaggle does not give this name away: it is something else's, or something's that was deleted."""


class NoRoom(Refused):
    """The account has no room for so many bytes; sending them again changes nothing."""


class OutOfQuota(RelayError):
    """The weekly quota is spent until `until` (None: Kaggle did not say)."""

    def __init__(self, message: str, until: datetime | None = None) -> None:
        super().__init__(message)
        self.until = until


class Permanent(RelayError):
    """A person has to do something first."""


class Overtaken(Permanent):
    """What is on Kaggle was made by another home folder than the one that asks, or by a later state of it."""

    def __init__(self, message: str, generation: int = 0) -> None:
        super().__init__(message)
        self.generation = generation
        """That of the mark on it; 0 where that is not above the run's own."""


class Parked(RelayError):
    """A run needs a person: why, and what to do about it, in the words of `relay status`."""

    def __init__(self, run: str, reason: str, remedy: str) -> None:
        super().__init__(f"{run} is parked: {reason}: {remedy}")
        self.run, self.reason, self.remedy = run, reason, remedy


class Corrupt(RelayError):
    """Size or SHA-256 differ from what the manifest promises."""
