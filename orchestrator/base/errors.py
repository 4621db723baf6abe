"""Errors that relay raises, named by their remedy.

RelayError
├── BadInput         the user's file, flag or credential: one sentence with the remedy, exit status 2
├── Transient        try again later; nothing is known to have changed
│   ├── RateLimited  try again, not before `retry_after_s`
│   └── Vanished     Kaggle reports a resource as missing that existed: accepted only once it has said so for long
├── DiskRefused      this machine's disk is full or unreadable: report it, and retry for as long as it takes
├── Ambiguous        the effect may or may not have happened: check before repeating it
├── Refused          Kaggle said no and nothing happened
│   ├── NoSlot       too many sessions of this kind are alive
│   ├── NameTaken    the name belongs to something else, or to something that was deleted: choose another
│   └── NoRoom       the account's storage is full: the user has to free some
├── OutOfQuota       this week's hours are spent
├── Permanent        retrying does not help: park the run until the user acts
│   └── Overtaken    another home folder works on the run: stop, so that nothing is done twice
├── Parked           a run that a program waits for needs the user
└── Corrupt          bytes that are not what their manifest says
"""

from datetime import datetime


class RelayError(Exception):
    """Base of every error that relay raises on purpose; the message is one sentence for the user."""


class BadInput(RelayError):
    """Invalid user input; the message names the file, the key and the remedy."""


class Transient(RelayError):
    """A temporary failure: try again later."""


class Unreachable(Transient):
    """Kaggle could not be reached: nothing was sent to it."""


class RateLimited(Transient):
    """Kaggle limits the request rate; `retry_after_s` is None if it gave no delay."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Vanished(Transient):
    """Kaggle returned a well-formed 404 for a resource that relay created."""


class DiskRefused(RelayError):
    """This machine's disk cannot be read or written now. Kaggle is not involved, so a run is never given up for it."""


class Ambiguous(RelayError):
    """A call with side effects was cut off: find out whether it took effect."""


class Refused(RelayError):
    """Kaggle declined a request, and nothing changed; its own words are in the message."""


class NoSlot(Refused):
    """All session slots of the account are taken (queued sessions count)."""


class NameTaken(Refused):
    """The name is in use on Kaggle, or belonged to something that was deleted."""


class NoRoom(Refused):
    """The account's storage is too small for these bytes; sending them again does not help."""


class OutOfQuota(RelayError):
    """The weekly quota is spent until `until` (None: Kaggle did not say)."""

    def __init__(self, message: str, until: datetime | None = None) -> None:
        super().__init__(message)
        self.until = until


class Permanent(RelayError):
    """A failure that retrying does not fix: the user must act first."""


class Overtaken(Permanent):
    """A resource on Kaggle was made by another home folder, or by a later state of this one."""

    def __init__(self, message: str, generation: int = 0) -> None:
        super().__init__(message)
        self.generation = generation
        """Generation in the resource's mark; 0 if it is not above the run's own."""


class Parked(RelayError):
    """A run is parked until the user acts: the reason and the remedy, in the words of `relay status`."""

    def __init__(self, run: str, reason: str, remedy: str) -> None:
        super().__init__(f"{run} is parked: {reason}: {remedy}")
        self.run, self.reason, self.remedy = run, reason, remedy


class Corrupt(RelayError):
    """Size or SHA-256 differ from the manifest."""
