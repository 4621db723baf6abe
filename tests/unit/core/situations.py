"""Builders of situations for the tables of the core. All defaults are small; a row names only what matters to it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.core.plan import Limits
from orchestrator.pipeline.model import AccountOptions, Inputs, Pipeline, SessionLimits, Stage
from stages.contract import Cursor, FileEntry, Manifest
from state.model.poll_state import PollState
from state.model.run_state import Checkpoint, Run, RunState, Session
from state.model.snapshot import QuotaRow, Request, Snapshot
from state.model.statuses import CheckpointStatus, Outcome, Phase, RunStatus

NOW = datetime(2030, 1, 9, 12, tzinfo=UTC)
RUN = "r-0001"
LIMITS = Limits()
HOUR, DAY, WEEK, YEAR = 3600.0, 86_400.0, 7 * 86_400.0, 365 * 86_400.0


def at(seconds: float) -> datetime:
    """So many seconds after (or, if negative, before) the time at which a row is decided."""
    return NOW + timedelta(seconds=seconds)


def row(why: str, *values: object) -> Any:
    """One row of a table; `why` is its name in pytest's output."""
    return pytest.param(*values, id=why)


# --- the pipeline ------------------------------------------------------------


def pipeline(**changes: Any) -> Pipeline:
    """Two stages of 100 and 120 steps on a TPU, in sessions of 1,000 s of which 900 are used."""
    usual: dict[str, Any] = {
        "name": "r",
        "session": SessionLimits(limit_s=1000.0, margin_s=100.0, min_session_s=250.0),
        "stages": (Stage(name="a", kind="counting", steps=100), Stage(name="b", kind="counting", steps=120)),
        "keep_checkpoints": 2,
    }
    return Pipeline(**{**usual, **changes})


PIPELINE = pipeline()
ON_CPU = pipeline(accelerator="cpu")
MOUNTS_OUTPUT = pipeline(handoff="kernel-output")
WITH_FILES = pipeline(inputs=Inputs(files=("mine.jsonl",)))
TWO_SLOTS = pipeline(account=AccountOptions(slots=2))


def step(number: int, stage: str = "a") -> Cursor:
    """A place in the pipeline."""
    return Cursor(stage=stage, step=number)


END = step(120, "b")


# --- what is known of a run --------------------------------------------------


def run(status: RunStatus = RunStatus.ACTIVE, **changes: Any) -> Run:
    """A run that began two hours ago."""
    usual: dict[str, Any] = {
        "id": RUN,
        "name": "r",
        "owner": "me",
        "accelerator": "tpu",
        "status": status,
        "pipeline": "{}",
        "pipeline_path": "r.yaml",
        "pipeline_digest": "d",
        "created_at": at(-2 * HOUR),
        "updated_at": at(-60),
    }
    return Run(**{**usual, **changes})


def session(phase: Phase, number: int = 1, attempt: int = 1, **changes: Any) -> Session:
    """A session that starts at the pipeline's beginning, planned twenty minutes ago."""
    suffix = "" if attempt == 1 else f"-{chr(96 + attempt)}"
    usual: dict[str, Any] = {
        "run": RUN,
        "number": number,
        "attempt": attempt,
        "slug": f"{RUN}-s{number:04d}{suffix}",
        "token": f"t{number}.{attempt}",
        "phase": phase,
        "start": step(0),
        "parent": None,
        "budget_s": 900.0,
        "limit_s": 1000.0,
        "planned_at": at(-1200),
    }
    return Session(**{**usual, **changes})


def checkpoint(
    number: int, cursor: Cursor, status: CheckpointStatus = CheckpointStatus.PUBLISHED, **changes: Any
) -> Checkpoint:
    """The checkpoint of a session's first attempt, verified and published ten minutes ago."""
    usual: dict[str, Any] = {
        "run": RUN,
        "name": f"{RUN}-c{number:04d}",
        "session": number,
        "attempt": 1,
        "digest": f"digest {number}",
        "parent": None,
        "cursor": cursor,
        "size_bytes": 1,
        "manifest": "{}",
        "status": status,
        "verified_at": at(-600),
        "published_at": at(-600) if status is not CheckpointStatus.COLLECTED else None,
    }
    return Checkpoint(**{**usual, **changes})


def gained(number: int, phase: Phase = Phase.PUBLISHED, **changes: Any) -> Session:
    """A session that ended ten minutes ago and left a checkpoint (see `checkpoint`)."""
    return session(phase, number, **{"checkpoint": f"{RUN}-c{number:04d}", "ended_at": at(-600), **changes})


def failed(number: int = 1, attempt: int = 1, **changes: Any) -> Session:
    """A session that failed for good an hour ago and left nothing."""
    usual: dict[str, Any] = {
        "outcome": Outcome.FAILED,
        "cause": "bad-data",
        "reason": "it broke",
        "excerpt": "the traceback",
        "furthest": step(7),
        "ended_at": at(-HOUR),
    }
    return session(Phase.NO_CHECKPOINT, number, attempt, **{**usual, **changes})


def state(*sessions: Session, checkpoints: tuple[Checkpoint, ...] = (), of: Run | None = None) -> RunState:
    """A run with its sessions and checkpoints, oldest first."""
    return RunState(of or run(), sessions, checkpoints)


def reached(cursor: Cursor, *more: Session, of: Run | None = None) -> RunState:
    """A run whose first session has published its checkpoint there, and what came after it."""
    return state(gained(1), *more, checkpoints=(checkpoint(1, cursor),), of=of)


def given(known: RunState, *requests: Request, watch: PollState | None = None, **changes: Any) -> Snapshot:
    """What `decide` is given: by default with plenty of quota, read a minute ago."""
    return Snapshot(state=known, requests=requests, watch=watch or PollState(), **{"quota": quota(), **changes})


def quota(left_s: float = 50_000.0, **changes: Any) -> QuotaRow:
    """A quota of 20 hours of which so many seconds are left; it is renewed in a day."""
    usual: dict[str, Any] = {
        "owner": "me",
        "accelerator": "tpu",
        "used_s": 72_000.0 - left_s,
        "reserved_s": 0.0,
        "total_s": 72_000.0,
        "refreshes_at": at(DAY),
        "read_at": at(-60),
    }
    return QuotaRow(**{**usual, **changes})


def request(verb: str, **arguments: str) -> Request:
    """The user's request with the id 7, made ten seconds ago."""
    return Request(id=7, run=RUN, verb=verb, arguments=arguments, made_at=at(-10))


def manifest(cursor: Cursor, number: int = 1, **changes: Any) -> Manifest:
    """The manifest of a session's checkpoint of three bytes."""
    usual: dict[str, Any] = {
        "run": RUN,
        "session": number,
        "attempt": 1,
        "token": f"t{number}.1",
        "cursor": cursor,
        "parent": None,
        "files": (FileEntry(path="state.bin", size_bytes=3, sha256="0" * 64),),
    }
    return Manifest(**{**usual, **changes})
