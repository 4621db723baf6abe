"""Rules of the lease that lets one daemon at a time act on a database; the same for every store. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

LEASE_AHEAD = timedelta(hours=1)
"""Longest plausible remaining time of a lease. Leases last about a minute, so a longer one comes from a wrong clock."""


class LeaseHeld(Exception):
    """Another daemon holds the lease of this database."""


class LeaseLost(Exception):
    """Another daemon took the lease; the daemon that gets this error must stop at once."""


@dataclass(frozen=True)
class Lease:
    """Right to act on a database. `fence` is the fencing token: it grows with each holder; older ones cannot write."""

    holder: str
    fence: int
    expires_at: datetime

    def held(self, now: datetime, alive: bool | None) -> bool:
        """Return True if the lease has not expired and its holder may be running.

        `alive` is True or False if the holder's process is known to run or not, None if unknown. A lease that expires
        implausibly late (LEASE_AHEAD) counts only if its process is known to run.
        """
        return now < self.expires_at and (alive if alive is not None else self.expires_at - now <= LEASE_AHEAD)

    def until(self, now: datetime, lasts_s: float) -> Self:
        """Return the lease with its expiry `lasts_s` seconds after `now`."""
        return replace(self, expires_at=now + timedelta(seconds=lasts_s))


def taken(
    found: Lease | None, holder: str, now: datetime, lasts_s: float, alive: Callable[[str], bool | None]
) -> Lease:
    """Return the lease for the daemon `holder`. Raises LeaseHeld while another daemon's lease is valid.

    `alive` tells whether another holder's process runs, None if that is unknown. The lease of a dead process does not
    block, and neither does one that expires implausibly late and whose process is unknown.
    """
    if found is not None and found.holder != holder and found.held(now, alive(found.holder)):
        raise LeaseHeld(f"another daemon ({found.holder}) works on this database")
    return Lease(holder, 1 if found is None else found.fence + 1, now).until(now, lasts_s)


def check_fence(fence: int, newest: int | None) -> None:
    """Raise LeaseLost unless `fence` is the newest fencing token."""
    if fence != newest:
        raise LeaseLost("another daemon took this database over")
