"""Who may act on a database: the rules of the lease, the same for every store. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

LEASE_AHEAD = timedelta(hours=1)
"""A lease that lasts longer than this was not given by a clock that was right: leases last a minute or so."""


class LeaseHeld(Exception):
    """Another daemon works on this database."""


class LeaseLost(Exception):
    """Another daemon took this database over; the one that hears this must stop at once."""


@dataclass(frozen=True)
class Lease:
    """The right to act on a database. `fence` grows with each holder; writes under an older one are refused."""

    holder: str
    fence: int
    expires_at: datetime

    def held(self, now: datetime, alive: bool | None) -> bool:
        """Whether it has not run out and its holder may be at work; `alive`: whether its process runs, None where nobody knows.

        One that lies further ahead than any clock would give counts only if its process is known to run.
        """
        return now < self.expires_at and (alive if alive is not None else self.expires_at - now <= LEASE_AHEAD)

    def until(self, now: datetime, lasts_s: float) -> Self:
        """The same, to last from now on."""
        return replace(self, expires_at=now + timedelta(seconds=lasts_s))


def taken(
    found: Lease | None, holder: str, now: datetime, lasts_s: float, alive: Callable[[str], bool | None]
) -> Lease:
    """The lease of the database's next daemon; raises LeaseHeld while another one's lasts.

    `alive` says of another holder whether its process runs, None where that cannot be known. A lease of one that has
    ended holds nobody up, and neither does one of an unknown one that lies further ahead than any clock would give.
    """
    if found is not None and found.holder != holder and found.held(now, alive(found.holder)):
        raise LeaseHeld(f"another daemon ({found.holder}) works on this database")
    return Lease(holder, 1 if found is None else found.fence + 1, now).until(now, lasts_s)


def check_fence(fence: int, newest: int | None) -> None:
    """Raise LeaseLost unless the fence is the newest that was given out."""
    if fence != newest:
        raise LeaseLost("another daemon took this database over")
