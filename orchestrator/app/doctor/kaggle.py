"""Checks against Kaggle: the account of the credentials, and the clock."""

from collections.abc import Iterator
from datetime import datetime

from orchestrator.app.doctor.subject import DoctorSubject
from orchestrator.base.clock import Clock
from orchestrator.base.errors import RelayError
from orchestrator.base.humanize import duration
from orchestrator.kaggle.gateway import Gateway
from orchestrator.kaggle.server_time import server_date
from orchestrator.platforms.names import KAGGLE
from orchestrator.preflight.check.account import account as signed_in
from orchestrator.preflight.check.account import credentials as found_here
from orchestrator.preflight.check.findings import Finding, note, ok, problem, warning

APART_S = 30.0
"""Maximum clock difference, in seconds: a Date header has whole seconds, and a response takes time."""


def credentials(patient: DoctorSubject) -> Iterator[Finding]:
    """Check the credentials on this machine."""
    if patient.on_kaggle:
        yield from found_here(patient)


def account(patient: DoctorSubject, gateway: Gateway) -> Iterator[Finding]:
    """Check that Kaggle accepts the credentials and that the runs belong to that account."""
    yield from signed_in(patient, gateway)
    owner = gateway.owner()
    others = sorted({state.run.owner for state in patient.states_on(KAGGLE)} - {owner})
    if others:
        yield warning(
            "account",
            f"there are runs here of {', '.join(others)}, and the credentials are {owner}'s",
            "use that account's credentials for them, or cancel them",
        )


def clock(patient: DoctorSubject, own: Clock) -> Iterator[Finding]:
    """Compare this machine's clock with the Date header of a response from Kaggle."""
    try:
        before = own.now()
        there = server_date(patient.environ)
        after = own.now()
    except RelayError as error:
        yield warning("clock", f"could not be checked: Kaggle does not answer ({error})", "try again in a minute")
        return
    yield compare_clocks(before, there, after)


def compare_clocks(before: datetime, there: datetime | None, after: datetime) -> Finding:
    """Compare this machine's clock, read before and after a request, with Kaggle's time in the response."""
    if there is None:
        return note("clock", "Kaggle's answer does not say what time it is there")
    here = before if there < before else after if there > after else there
    apart_s = (here - there).total_seconds()
    if abs(apart_s) <= APART_S:
        return ok("clock", "this machine's clock shows Kaggle's time")
    how = f"{duration(abs(apart_s))} {'ahead of' if apart_s > 0 else 'behind'}"
    return problem("clock", f"this machine's clock is {how} Kaggle's", "set it, or have it set by the network's time")
