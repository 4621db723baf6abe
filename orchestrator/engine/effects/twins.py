"""Finds and polls a twin: an unwanted second session of a session's kernel."""

from dataclasses import replace

from orchestrator.base.errors import Transient
from orchestrator.engine.effects.context import WELL, EffectContext, EffectResult
from orchestrator.platforms.port import KernelFound, SessionSeen, Worker
from state.facts.base import Fact
from state.facts.session import TwinEnded, TwinSeen
from state.model.run_state import Session

VERSIONS_MAX = 5
"""Maximum number of a kernel's newest versions that are searched for twin sessions."""


def twins(session: Session, shell: EffectContext) -> tuple[Fact, ...]:
    """Find a session of another version of the session's kernel: a late unclear push, or a push from elsewhere.

    Kaggle is asked only if that is possible: the push was unclear, or the kernel had earlier versions.
    """
    if session.twin_lives or (not session.unclear and session.kernel_version == 1):
        return ()
    found = shell.gateway.find_kernel(session.slug)
    ran = {} if found is None else _sessions_of(found, session, shell)
    own = session.kernel_version if session.kernel_version in ran else max(ran, default=None)
    others = [version for version in sorted(ran) if version not in (own, session.twin)]
    if not others:
        return ()
    version, worker = others[-1], ran[others[-1]].worker
    number, attempt = session.key
    seen = TwinSeen(number=number, attempt=attempt, version=version, worker=worker.value)
    return (seen, TwinEnded(number=number, attempt=attempt, version=version)) if worker.terminal else (seen,)


def _sessions_of(found: KernelFound, session: Session, shell: EffectContext) -> dict[int, SessionSeen]:
    """Return the kernel's versions that have a session.

    A queued version is polled twice, since an empty response also parses as QUEUED.
    """
    ran: dict[int, SessionSeen] = {}
    newest = found.version or 0
    for version in range(newest, max(0, newest - VERSIONS_MAX), -1):
        seen = shell.gateway.session(session.slug, version)
        if seen.worker is Worker.QUEUED:
            seen = shell.gateway.session(session.slug, version)
        if seen.worker not in (Worker.NEW_SCRIPT, Worker.UNKNOWN):
            ran[version] = seen
    return ran


def poll_twin(session: Session, shell: EffectContext) -> EffectResult:
    """Poll the twin session of a session's kernel; it counts as ended if its kernel was deleted."""
    assert session.twin is not None, f"{session.slug} has no second session"
    watch = replace(WELL, polled_at=shell.clock.now())
    seen = shell.gateway.session(session.slug, session.twin)
    gone = seen.worker is Worker.NEW_SCRIPT
    if seen.worker is Worker.UNKNOWN and not (gone := shell.gateway.find_kernel(session.slug) is None):
        raise Transient(
            f"{shell.gateway.label}'s answer about version {session.twin} of {session.slug} made no sense: {seen.message}"
        )
    if not gone and not seen.worker.terminal:
        return EffectResult(watch=watch)
    return EffectResult((TwinEnded(number=session.number, attempt=session.attempt, version=session.twin),), watch)
