"""Asks the platform for the status of a session."""

from orchestrator.base.errors import Vanished
from orchestrator.engine.effects.context import EffectContext
from orchestrator.platforms.port import Platform, SessionSeen, Worker
from state.model.run_state import Session


def seen_of(slug: str, version: int | None, gateway: Platform) -> tuple[int | None, SessionSeen]:
    """Return a kernel session's status, and the version to poll.

    The newest version, or the one named in the push response, may not be the one that runs; then relay asks without a
    version.
    """
    seen = gateway.session(slug, version)
    if seen.worker is Worker.NEW_SCRIPT and version is not None:
        return None, gateway.session(slug, None)
    return version, seen


def require(session: Session, shell: EffectContext) -> None:
    """Raise Vanished if the platform has no kernel of the session's name."""
    if shell.gateway.find_kernel(session.slug) is None:
        raise Vanished(f"{shell.gateway.label} has no kernel {session.slug} any more")
