"""Values and times that sessions report step by step."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Value reported by a session. `number` is that of its progress event and identifies replayed events."""

    run: str
    session: int
    attempt: int
    number: int
    stage: str
    step: int
    name: str
    value: float
    at_s: float


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """Mean, minimum and maximum of one metric over a few consecutive steps. `step` is the last of them."""

    stage: str
    name: str
    step: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class StepEdges:
    """Times of the first and the last step in a session's log, in seconds on the session's clock."""

    session: int
    attempt: int
    first_at_s: float
    last_at_s: float


@dataclass(frozen=True, kw_only=True)
class StepSeen:
    """A step reported by a session; `at_s` is its completion time in seconds on the session's clock."""

    session: int
    attempt: int
    stage: str
    step: int
    at_s: float
