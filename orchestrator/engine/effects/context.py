"""The context that effects run in, and their results."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from orchestrator.base.clock import Clock
from orchestrator.base.errors import RelayError
from orchestrator.core.plan import Limits
from orchestrator.engine.checkpoint_copies import CheckpointCopies, no_other_platform
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.quarantine import Quarantine
from orchestrator.platforms.port import Platform
from state.facts.base import Fact
from state.model.metrics import Metric
from state.model.poll_state import PollState
from state.model.run_state import Run, RunState, Session
from state.model.snapshot import QuotaRow

WELL = PollState()
"""Poll state without failures."""


@dataclass(frozen=True)
class EffectContext:
    """Platform, folders, clock and limits that an effect may use."""

    gateway: Platform
    home: HomeLayout
    clock: Clock
    limits: Limits
    identity: str = ""
    """Id of this home folder (see `orchestrator.engine.home_identity`); empty if the account has only one."""
    reach: Callable[[Run, int], Platform] = no_other_platform
    """Function that returns the platform with that number of any run (`Run.platform`); raises BadInput."""
    number: int | None = None
    """Number of the run's platform that `gateway` is; None if runs have only one."""

    def copies_of(self, state: RunState, session: Session) -> CheckpointCopies:
        """Return the access to all copies of a session's checkpoint."""
        assert session.checkpoint is not None, f"{session.slug} has no checkpoint"
        quarantine = Quarantine(self.home, session.run, self.clock.now())
        checkpoint = state.checkpoint(session.checkpoint)
        return CheckpointCopies(
            checkpoint, session, self.gateway, self.home, quarantine, state.run, self.identity, self.reach
        )


@dataclass(frozen=True)
class EffectResult:
    """Result of an effect: facts, and what it observed."""

    facts: tuple[Fact, ...] = ()
    watch: PollState | None = None
    metrics: tuple[Metric, ...] = ()
    quota: QuotaRow | None = None
    failure: RelayError | None = None
    """Error to be retried, if facts must be recorded all the same."""


def reset_failures(watch: PollState) -> PollState:
    """Clear the failures; keep what was observed of the session, and the run's place in the queue for a slot."""
    return replace(
        PollState(),
        polled_at=watch.polled_at,
        dataset_polled_at=watch.dataset_polled_at,
        search_s=watch.search_s,
        log_lines=watch.log_lines,
        done_at=watch.done_at,
        seconds=watch.seconds,
        sent_s=watch.sent_s,
        slot_since=watch.slot_since,
        slot_seen_at=watch.slot_seen_at,
    )
