"""Kaggle's side: whose account it is, what time it is there, and what is there that this home does not know."""

from collections.abc import Iterator
from datetime import datetime

from orchestrator.adopt.evidence import runs_on_kaggle
from orchestrator.check.account import account as signed_in
from orchestrator.check.account import credentials as found_here
from orchestrator.check.findings import Finding, note, ok, problem, warning
from orchestrator.clock import Clock
from orchestrator.doctor.patient import Patient
from orchestrator.errors import RelayError
from orchestrator.kaggle.dating import server_date
from orchestrator.kaggle.gateway import Gateway
from orchestrator.plan import key_in, slug_of
from orchestrator.times import spoken
from state.model import RunState

APART_S = 30.0
"""By which two clocks may differ: a Date has whole seconds, and an answer takes its time."""


def credentials(patient: Patient) -> Iterator[Finding]:
    """What this machine has."""
    yield from found_here(patient)


def account(patient: Patient, gateway: Gateway) -> Iterator[Finding]:
    """Whether Kaggle takes them, and whether the runs are that account's."""
    yield from signed_in(patient, gateway)
    owner = gateway.owner()
    others = sorted({state.run.owner for state in patient.states()} - {owner})
    if others:
        yield warning(
            "account",
            f"there are runs here of {', '.join(others)}, and the credentials are {owner}'s",
            "use that account's credentials for them, or cancel them",
        )


def clock(patient: Patient, own: Clock) -> Iterator[Finding]:
    """This machine's clock against the Date of an answer of Kaggle's."""
    try:
        before = own.now()
        there = server_date(patient.environ)
        after = own.now()
    except RelayError as error:
        yield warning("clock", f"could not be looked at: Kaggle does not answer ({error})", "try again in a minute")
        return
    yield compared(before, there, after)


def compared(before: datetime, there: datetime | None, after: datetime) -> Finding:
    """How far this machine's clock, read before and after, is from the time that Kaggle told in between."""
    if there is None:
        return note("clock", "Kaggle's answer does not say what time it is there")
    here = before if there < before else after if there > after else there
    apart_s = (here - there).total_seconds()
    if abs(apart_s) <= APART_S:
        return ok("clock", "this machine's clock shows Kaggle's time")
    how = f"{spoken(abs(apart_s))} {'ahead of' if apart_s > 0 else 'behind'}"
    return problem("clock", f"this machine's clock is {how} Kaggle's", "set it, or have it set by the network's time")


def strangers(patient: Patient, gateway: Gateway) -> Iterator[Finding]:
    """Kernels of relay's on the account that this database knows nothing of: a lost run, an older database, or another home."""
    known = patient.roll()
    for state in patient.states():
        yield from _sessions(state, gateway)
    if patient.run:
        return
    unknown = [one.run for one in runs_on_kaggle(gateway) if one.run not in known]
    if unknown:
        yield note(
            "homes",
            f"the account has runs that this home does not know: {', '.join(unknown)}",
            "relay adopt brings one here, unless another home on the account works on it",
        )
    else:
        yield ok("homes", "every run of relay's on the account is known here")


def _sessions(state: RunState, gateway: Gateway) -> Iterator[Finding]:
    run = state.run.id
    mine = {session.key for session in state.sessions}
    there = [key for slug in gateway.list_kernels(f"{run}-s") if (key := key_in(run, "s", slug)) is not None]
    strange = sorted(set(there) - mine)
    if strange:
        names = ", ".join(slug_of(run, *key) for key in strange[:3])
        yield warning(
            "homes",
            f"Kaggle has {names}, of which this database knows nothing: it is older than they are, or another home works on {run}",
            f"see to it that one daemon alone works on {run}: relay daemon takes up what it planned itself, and relay cancel "
            f"{run} ends it here",
        )
