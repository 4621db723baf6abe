"""Commands, facts and situations that the tables of `decide` share."""

from orchestrator.core.commands import Append
from state.facts.base import Fact
from state.facts.session import SessionLost, SessionPlanned
from state.model.statuses import CheckpointStatus, Phase, RunStatus
from tests.unit.core.situations import RUN, at, checkpoint, gained, session, step

ACTIVE, WAITING, PARKED = RunStatus.ACTIVE, RunStatus.WAITING, RunStatus.PARKED
FINISHED, CANCELLED = RunStatus.FINISHED, RunStatus.CANCELLED
KEY = {"number": 1, "attempt": 1}


def lost(reason: str, number: int = 1, attempt: int = 1, cause: str = "lost") -> SessionLost:
    return SessionLost(number=number, attempt=attempt, reason=reason, cause=cause)


def fulfilled(*facts: Fact) -> Append:
    return Append(facts, 7)


def said(*facts: Fact) -> Append:
    return Append(facts)


def planned(number: int, attempt: int = 1, **changes: object) -> Append:
    """The plan of a session that starts where the first one's checkpoint is, or at the beginning."""
    usual: dict[str, object] = {
        "number": number,
        "attempt": attempt,
        "slug": f"{RUN}-s{number:04d}" + ("" if attempt == 1 else f"-{chr(96 + attempt)}"),
        "token": TOKENS[number, attempt],
        "start": step(0),
        "parent": None,
        "budget_s": 900.0,
        "limit_s": 1000.0,
    }
    return said(SessionPlanned(**{**usual, **changes}))  # type: ignore[arg-type]


TOKENS = {
    (1, 1): "a1a654d6d384aa10ffa2699d",
    (1, 2): "99c0a69007fee38c3d1b980a",
    (2, 1): "6728aea876fdeeef09e9995f",
    (2, 2): "206d46b455795bd110d1e2c0",
}
"""The first 24 hexadecimal digits of SHA-256 of `r-0001/2030-01-09T10:00:00+00:00/NUMBER/ATTEMPT`."""

SLUG = f"{RUN}-s0001"
PLANNED = session(Phase.PLANNED)
OTHERS = "other runs' sessions take the account's slots"
JUST, LONG_AGO = at(-29), at(-30)
QUEUED = session(Phase.QUEUED, pushed_at=at(-3))
PUBLISHING = gained(1, Phase.PUBLISHING)
COLLECTED = checkpoint(1, step(50), CheckpointStatus.COLLECTED)
THIRD_NAME = checkpoint(1, step(50), CheckpointStatus.COLLECTED, dataset=f"{RUN}-c0001-n3")
