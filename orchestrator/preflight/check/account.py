"""Checks of the Kaggle account: its credentials, their acceptance by Kaggle, quota, slots and names."""

from collections.abc import Iterator

from orchestrator.base.errors import BadInput
from orchestrator.base.humanize import duration, machine_time, when
from orchestrator.kaggle.credentials import find_credentials
from orchestrator.kaggle.endpoint import server_url
from orchestrator.kaggle.gateway import Gateway
from orchestrator.platforms.port import KernelListed, Platform, Quota, Worker
from orchestrator.preflight.check.findings import SETTINGS, CheckSubject, Finding, Person, note, ok, problem, warning

ALIVE = (Worker.QUEUED, Worker.RUNNING, Worker.CANCEL_REQUESTED)

LOOKED_AT = 10
"""Number of most recently run kernels to check for live sessions: far more than there are slots."""

NAMED_MAX = 3
"""Maximum number of names in one sentence; the others are counted."""


def credentials(subject: Person) -> Iterator[Finding]:
    """Report the credentials on this machine: their location, never their content."""
    try:
        found = find_credentials(subject.environ, subject.user_home)
        url = server_url(subject.environ)
    except BadInput as error:
        yield _finding_of("credentials", error)
        return
    first, *others = found
    text = f"{_kind(first.method)} from {first.source}"
    if others:
        text += (
            f", and if Kaggle does not accept that, {' or '.join(f'{one.method} from {one.source}' for one in others)}"
        )
    yield ok("credentials", text)
    for sentence in dict.fromkeys(each for one in found for each in one.warnings):
        said, _, remedy = sentence.rstrip(".").partition(": ")
        yield warning("credentials", said, remedy)
    if url is not None:
        yield note("credentials", f"RELAY_KAGGLE_URL is set: calls go to {url} instead of Kaggle")


def _kind(method: str) -> str:
    return f"an {method}" if method[0] in "aeio" else f"a {method}"


def _finding_of(key: str, error: BadInput) -> Finding:
    said, _, remedy = str(error).rstrip(".").rpartition(": ")
    return problem(key, said or remedy, remedy if said else "", SETTINGS if SETTINGS in remedy else "")


def account(subject: Person, gateway: Gateway) -> Iterator[Finding]:
    """Check that Kaggle accepts the credentials."""
    try:
        owner = gateway.owner()
    except BadInput as error:
        yield _finding_of("account", error)
    else:
        yield ok("account", f"Kaggle accepts the credentials: the account is {owner}")


def phone(subject: CheckSubject, gateway: Gateway) -> Iterator[Finding]:
    """Look for evidence of a verified phone number.

    Without one, a session silently gets no accelerator and no internet.
    """
    slot = subject.pipeline.slot
    quotas = {kind: gateway.quota(kind) for kind in ("tpu", "gpu")}
    ran = [kind.upper() for kind, quota in quotas.items() if quota is not None and quota.ever_run]
    if ran:
        yield ok("phone", f"this account has run {' and '.join(ran)} sessions before, so its phone number was verified")
    elif slot != "cpu" or subject.pipeline.internet:
        yield note(
            "phone",
            "relay cannot see whether the account's phone number is verified; if it is not, sessions silently run with "
            "neither accelerator nor internet",
            "look at Phone verification in the settings",
            SETTINGS,
        )


def quota(subject: CheckSubject, gateway: Gateway) -> Iterator[Finding]:
    """Check the weekly quota."""
    pipeline = subject.pipeline
    if not pipeline.hardware.quota:
        yield ok("quota", "a CPU session uses no weekly hours")
        return
    found = gateway.quota(pipeline.slot)
    if found is None or found.left_s is None:
        yield note(
            "quota",
            f"Kaggle does not say how many {pipeline.slot.upper()} hours are left; relay assumes "
            f"{pipeline.hours_per_week:g} a week",
            "look it up there, and set account.hours_per_week if the number differs",
            SETTINGS,
        )
    else:
        yield _hours_left(found, found.left_s, subject)


def _hours_left(found: Quota, left_s: float, subject: CheckSubject) -> Finding:
    pipeline = subject.pipeline
    renewed = f"; renewed {when(found.refreshes_at, subject.now)}" if found.refreshes_at else ""
    text = f"{machine_time(left_s)} of {machine_time(found.total_s or 0.0)} of {pipeline.slot.upper()} are left this week{renewed}"
    if found.reserved_s:
        text += f"; live sessions have reserved {machine_time(found.reserved_s)} of them"
    if left_s < max(pipeline.min_session_s, 1.0):
        worth = duration(pipeline.min_session_s)
        return warning(
            "quota",
            f"{text}: less than the {worth} that a session is worth starting with",
            "wait: a run that is started now begins by itself when they are renewed",
            SETTINGS,
        )
    return ok("quota", text)


def slots(subject: CheckSubject, gateway: Gateway) -> Iterator[Finding]:
    """Report live sessions of the account, as far as its newest kernels show."""
    pipeline = subject.pipeline
    newest = gateway.recent_kernels().kernels[:LOOKED_AT]
    recent = [kernel for kernel in newest if _slot(kernel) in (pipeline.slot, "")]
    alive = [kernel for kernel in recent if gateway.session(kernel.slug, None).worker in ALIVE]
    surely = [kernel.slug for kernel in alive if _slot(kernel)]
    kind, there = (
        pipeline.slot.upper(),
        f"{pipeline.slots} {pipeline.slot.upper()} session{'s' if pipeline.slots > 1 else ''}",
    )
    if len(surely) >= pipeline.slots:
        yield warning(
            "slots",
            f"{_listed(surely)} {'is' if len(surely) == 1 else 'are'} alive, and the account may have {there} at once",
            "wait: a run that is started now begins by itself when the slot is free",
            f"https://www.kaggle.com/code/{gateway.owner()}/{surely[0]}",
        )
    elif alive:
        unclear = f"{_listed([kernel.slug for kernel in alive])} {'is' if len(alive) == 1 else 'are'} alive"
        unsure = "" if surely else ", on an accelerator that Kaggle's list does not name"
        yield note("slots", f"{unclear}{unsure}; the account may have {there} at once")
    else:
        yield ok("slots", f"no {kind} session seems to be alive; the account may have {there} at once")


def _slot(kernel: KernelListed) -> str:
    """Return the kind of slot that a kernel's sessions occupy; empty if the list does not say."""
    shape = kernel.machine_shape.lower()
    return (
        "tpu" if shape.startswith("tpu") else "gpu" if shape.startswith("nvidia") else "cpu" if shape == "cpu" else ""
    )


def taken(subject: CheckSubject, gateway: Platform) -> Iterator[Finding]:
    """Report kernels and datasets that already exist under the run's name."""
    prefix = f"{subject.pipeline.name}-"
    kernels, datasets = gateway.list_kernels(prefix), gateway.list_datasets(prefix)
    if kernels or datasets:
        yield note(
            "names",
            f"the account has {_count(len(kernels), 'kernel')} and {_count(len(datasets), 'dataset')} under this name "
            f"({_listed([*kernels, *datasets])}); a new run has an id of its own and touches none of them",
            "relay adopt lists the runs that they belong to",
        )
    else:
        yield ok("names", f"nothing in the account begins with {prefix}")


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
