"""What an effect may use, and what may come of it."""

from dataclasses import dataclass, replace

from orchestrator.base.clock import Clock
from orchestrator.base.errors import RelayError
from orchestrator.core.plan import Limits
from orchestrator.engine.home import HomeLayout
from orchestrator.kaggle.gateway import Gateway
from state.facts import (
    Fact,
)
from state.model import Metric, PollState, QuotaRow


@dataclass(frozen=True)
class EffectContext:
    """What an effect may use."""

    gateway: Gateway
    home: HomeLayout
    clock: Clock
    limits: Limits
    identity: str = ""
    """Id of the home folder (`orchestrator.engine.home_identity`); empty where no other home folder can work on the account's runs."""


@dataclass(frozen=True)
class EffectResult:
    """What came of an effect: facts, and what was observed on the way."""

    facts: tuple[Fact, ...] = ()
    watch: PollState | None = None
    metrics: tuple[Metric, ...] = ()
    quota: QuotaRow | None = None
    failure: RelayError | None = None
    """What has to be tried again, where facts are to be recorded all the same."""


def reset_failures(watch: PollState) -> PollState:
    """Nothing fails any more; what was seen of the session, and the place in the line for a slot, stay."""
    return replace(
        PollState(),
        looked_at=watch.looked_at,
        dataset_looked_at=watch.dataset_looked_at,
        sought_s=watch.sought_s,
        log_lines=watch.log_lines,
        done_at=watch.done_at,
        seconds=watch.seconds,
        sent_s=watch.sent_s,
        slot_since=watch.slot_since,
        slot_seen_at=watch.slot_seen_at,
    )
