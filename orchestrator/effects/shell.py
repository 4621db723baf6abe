"""What an effect may use, and what may come of it."""

from dataclasses import dataclass

from orchestrator.clock import Clock
from orchestrator.files import Home
from orchestrator.kaggle.gateway import Gateway
from orchestrator.plan import Limits
from state.facts import (
    Fact,
)
from state.model import Metric, QuotaRow, Watch


@dataclass(frozen=True)
class Shell:
    """What an effect may use."""

    gateway: Gateway
    home: Home
    clock: Clock
    limits: Limits


@dataclass(frozen=True)
class Result:
    """What came of an effect: facts, and what was observed on the way."""

    facts: tuple[Fact, ...] = ()
    watch: Watch | None = None
    metrics: tuple[Metric, ...] = ()
    quota: QuotaRow | None = None
