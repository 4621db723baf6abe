"""Looks, before a push, for kernels of the run that this home folder does not know: another one may work on it."""

from collections.abc import Iterator
from datetime import timedelta

from kaggle_kernels import build
from orchestrator.base.errors import NoSlot, Refused, Transient
from orchestrator.core.plan import parse_key, token_of
from orchestrator.engine.effects.context import EffectContext
from orchestrator.engine.effects.session_status import seen_of
from orchestrator.engine.ownership import Mark, overtaken_unawares, refuse_overtaken
from orchestrator.platforms.port import KernelFound, KernelListed, Platform, Worker
from stages.documents import ContractError
from state.model.run_state import RunState, Session
from state.model.snapshot import Snapshot

TRIES = 3
"""Number of attempts to list kernels before relay pushes anyway: most runs have only one home folder."""


PAGES_MAX = 5
"""Maximum pages of recent kernels that are read: the hundred newest kernels."""

APART = timedelta(days=1)
"""Maximum assumed difference between Kaggle's clock and this machine's."""


class OlderAlive(NoSlot):
    """Raised if a kernel pushed before the run was taken over is still alive: its session must end first."""


def refuse_beside_others(snapshot: Snapshot, session: Session, shell: EffectContext) -> None:
    """Raise Overtaken if another home folder has pushed a kernel of the run, OlderAlive if an older one is alive.

    An older kernel was pushed before the run was taken over. Usually takes one call, plus a few for each unknown
    kernel. Raises Transient or Refused for the first failures of Kaggle. Kernels without a mark are skipped.
    """
    if not shell.identity:
        return
    try:
        for slug in _unknown(snapshot.state, session, shell):
            _refuse_beside(slug, snapshot.state, session, shell)
    except OlderAlive:
        raise
    except (Transient, Refused):
        if snapshot.watch.failures + 1 < TRIES:
            raise


def _unknown(state: RunState, session: Session, shell: EffectContext) -> list[str]:
    """Return recent kernels with names of the run that this home folder does not know to have pushed."""
    known = {s.slug for s in state.sessions if s.pushed_at is not None or s.unclear or not s.phase.over}
    slugs = dict.fromkeys(_ran_lately(state, session, shell.gateway))  # one that starts meanwhile is on two pages
    return [s for s in slugs if s != session.slug and s not in known and parse_key(state.run.id, "s", s) is not None]


def _ran_lately(state: RunState, session: Session, gateway: Platform) -> Iterator[str]:
    """Yield the names of the account's recent kernels, newest first, page by page.

    Kernels behind one that this home folder pushed ran before it, and were checked then. Reading also stops at a kernel
    that ran long before the run began; a wrong clock can make that too early or too late, within 1 to PAGES_MAX pages.
    """
    pushed = {other.slug for other in state.sessions if other.pushed_at is not None and other.slug != session.slug}
    page: str | None = None
    for _ in range(PAGES_MAX):
        listed = gateway.recent_kernels(page)
        yield from (kernel.slug for kernel in listed.kernels)
        page = listed.following
        if page is None or any(kernel.slug in pushed or _before(state, kernel) for kernel in listed.kernels):
            return


def _before(state: RunState, kernel: KernelListed) -> bool:
    return kernel.ran_at is not None and kernel.ran_at + APART < state.run.created_at


def _refuse_beside(slug: str, state: RunState, session: Session, shell: EffectContext) -> None:
    found = shell.gateway.find_kernel(slug)
    mark = Mark("", 0) if found is None else _mark(found, slug, state)
    if found is None or not mark.home:
        return
    older = mark.generation < state.run.generation
    planned_here = any(other.slug == slug for other in state.sessions)
    if not older and not planned_here:
        refuse_overtaken(mark, f"the kernel {found.ref}", state.run, shell.identity)
        raise overtaken_unawares(f"the kernel {slug}", state.run)
    _, seen = seen_of(slug, found.version, shell.gateway)
    if seen.worker is Worker.UNKNOWN:
        raise Transient(f"{shell.gateway.label}'s answer about {slug} made no sense: {seen.message}")
    if seen.worker is Worker.NEW_SCRIPT:  # Kaggle keeps the source of a declined push
        return
    if not older:
        refuse_overtaken(mark, f"the kernel {found.ref}", state.run, shell.identity)
        raise overtaken_unawares(f"the kernel {slug}", state.run)
    if not seen.worker.terminal:
        key = parse_key(state.run.id, "s", slug)
        assert key is not None, f"{slug} is no kernel of the run's"
        which = f"{_session_name(*key)}, which was pushed before the run was taken over"
        raise OlderAlive(f"{_session_name(*session.key)} waits for {which}: its kernel {slug} is {seen.worker} still")


def _session_name(number: int, attempt: int) -> str:
    return f"session {number}" if attempt == 1 else f"session {number} attempt {attempt}"


def _mark(found: KernelFound, slug: str, state: RunState) -> Mark:
    """Return the mark in the kernel's order; an empty mark if it belongs to another run of this name."""
    key = parse_key(state.run.id, "s", slug)
    try:
        order = build.order_in(found.source)
    except ContractError:
        return Mark("", 0)
    if key is None or order is None or order.token != token_of(state, *key):
        return Mark("", 0)
    return Mark.on_order(order)
