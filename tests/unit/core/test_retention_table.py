"""Checkpoints: what is known of a run · which may go, must be verified, published or resumed from · why."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.retention import (
    caused_by_parent,
    last_good_checkpoint,
    needs_verification,
    prunable,
    unpublished_parent,
)
from orchestrator.pipeline.model import Stage
from state.model.run_state import Checkpoint, RunState, Session
from state.model.snapshot import Request
from state.model.statuses import CheckpointStatus, Outcome, Phase
from tests.unit.core.situations import (
    RUN,
    at,
    checkpoint,
    failed,
    gained,
    pipeline,
    request,
    row,
    session,
    state,
    step,
)

PUBLISHED, COLLECTED = CheckpointStatus.PUBLISHED, CheckpointStatus.COLLECTED
ABANDONED, DAMAGED, PRUNED = CheckpointStatus.ABANDONED, CheckpointStatus.DAMAGED, CheckpointStatus.PRUNED


def each(*statuses: CheckpointStatus) -> tuple[Checkpoint, ...]:
    return tuple(checkpoint(n, step(n), status) for n, status in enumerate(statuses, start=1))


def names(found: tuple[Checkpoint, ...]) -> list[int]:
    return [each.session for each in found]


FIVE = each(*[PUBLISHED] * 5)


@pytest.mark.parametrize(
    ("known", "keep", "requests", "gone"),
    [
        row("the newest are kept", state(checkpoints=FIVE), 3, (), [1, 2]),
        row("more are kept", state(checkpoints=FIVE), 4, (), [1]),
        row("all are kept", state(checkpoints=FIVE), 5, (), []),
        row("two at least are kept", state(checkpoints=FIVE), 0, (), [1, 2, 3]),
        row(
            "what is not on Kaggle cannot go",
            state(checkpoints=each(PRUNED, COLLECTED, PUBLISHED, PUBLISHED, PUBLISHED)),
            2,
            (),
            [3],
        ),
        row(
            "two that verified are kept beside newer ones",
            state(checkpoints=each(PUBLISHED, PUBLISHED, ABANDONED, DAMAGED)),
            2,
            (),
            [],
        ),
        row(
            "one collected, one published",
            state(checkpoints=each(PUBLISHED, PUBLISHED, PUBLISHED, COLLECTED)),
            2,
            (),
            [1],
        ),
        row(
            "what a live session mounts is kept",
            state(session(Phase.RUNNING, 6, parent=f"{RUN}-c0001"), checkpoints=FIVE),
            2,
            (),
            [2, 3],
        ),
        row(
            "what a planned session mounts is kept",
            state(session(Phase.PLANNED, 6, parent=f"{RUN}-c0001"), checkpoints=FIVE),
            2,
            (),
            [2, 3],
        ),
        row(
            "what a past session mounted may go",
            state(gained(2, parent=f"{RUN}-c0001"), checkpoints=FIVE),
            2,
            (),
            [1, 2, 3],
        ),
        row(
            "what the user asked to resume from is kept",
            state(checkpoints=FIVE),
            2,
            (request("resume", checkpoint=f"{RUN}-c0002"),),
            [1, 3],
        ),
        row("or to retry from", state(checkpoints=FIVE), 2, (request("retry", checkpoint=f"{RUN}-c0002"),), [1, 3]),
        row(
            "another request keeps nothing",
            state(checkpoints=FIVE),
            2,
            (request("cancel", checkpoint=f"{RUN}-c0002"),),
            [1, 2, 3],
        ),
    ],
)
def test_only_what_nobody_needs_may_be_pruned(
    known: RunState, keep: int, requests: tuple[Request, ...], gone: list[int]
) -> None:
    assert names(prunable(known, keep, requests)) == gone


def orphan(number: int = 2, attempt: int = 1, cause: str = "parent-missing", **changes: Any) -> Session:
    """A session that failed since it did not get the first session's checkpoint."""
    return failed(number, attempt, **{"cause": cause, "parent": f"{RUN}-c0001", "ended_at": at(-60), **changes})


HEAD = checkpoint(1, step(50))
CORRUPT = orphan(cause="parent-corrupt")


@pytest.mark.parametrize(
    ("sessions", "head", "verified"),
    [
        row("it arrived damaged", (CORRUPT,), HEAD, True),
        row("it was missing once", (orphan(),), HEAD, False),
        row("it was missing twice", (orphan(), orphan(2, 2)), HEAD, True),
        row("it did not match twice", (orphan(), orphan(2, 2, "parent-mismatch")), HEAD, True),
        row("another failure came in between", (orphan(), failed(2, 2), orphan(2, 3)), HEAD, False),
        row("the other failure was over another parent", (orphan(parent=f"{RUN}-c0009"), orphan(2, 2)), HEAD, False),
        row("two over another parent", (CORRUPT, replace(CORRUPT, attempt=2, parent=f"{RUN}-c0009")), HEAD, False),
        row("the session failed for another reason", (failed(2, parent=f"{RUN}-c0001"),), HEAD, False),
        row("the session was lost", (replace(CORRUPT, outcome=Outcome.LOST),), HEAD, False),
        row("it is not published yet", (CORRUPT,), checkpoint(1, step(50), COLLECTED), False),
        row("it was verified since", (CORRUPT,), replace(HEAD, verified_at=at(-59)), False),
        row("it was verified at that moment", (CORRUPT,), replace(HEAD, verified_at=at(-60)), False),
        row("it was verified just before", (CORRUPT,), replace(HEAD, verified_at=at(-61)), True),
        row("it was published since", (CORRUPT,), replace(HEAD, published_at=at(-59)), False),
        row("it was never published", (CORRUPT,), replace(HEAD, published_at=None), True),
        row("the session's end is unknown", (replace(CORRUPT, ended_at=None),), HEAD, False),
    ],
)
def test_a_dataset_is_verified_when_a_session_did_not_get_it(
    sessions: tuple[Session, ...], head: Checkpoint, verified: bool
) -> None:
    known = state(gained(1), *sessions, checkpoints=(head,))
    assert needs_verification(known) == (head if verified else None)


def test_nothing_is_verified_without_a_session_or_a_checkpoint() -> None:
    assert needs_verification(state(checkpoints=(HEAD,))) is None
    assert needs_verification(state(CORRUPT)) is None
    assert needs_verification(state(failed(1, cause="parent-corrupt", parent=None), checkpoints=(HEAD,))) is None


@pytest.mark.parametrize(
    ("phase", "then", "mounts_output", "published"),
    [
        row("collected", Phase.COLLECTED, (), False, True),
        row("being published", Phase.PUBLISHING, (), False, True),
        row("published", Phase.PUBLISHED, (), False, False),
        row("the kernel's output is mounted instead", Phase.COLLECTED, (), True, False),
        row("the kernel's output was missing", Phase.COLLECTED, (orphan(),), True, True),
        row("a session failed otherwise", Phase.COLLECTED, (failed(2),), True, False),
    ],
)
def test_a_parent_is_published_before_it_is_mounted(
    phase: Phase, then: tuple[Session, ...], mounts_output: bool, published: bool
) -> None:
    first = gained(1, phase)
    known = state(first, *then, checkpoints=(checkpoint(1, step(50), COLLECTED),))
    assert unpublished_parent(known, mounts_output=mounts_output) == (first if published else None)


def test_without_a_checkpoint_there_is_no_parent_to_publish() -> None:
    assert unpublished_parent(state(session(Phase.COLLECTED)), mounts_output=False) is None


AGAIN = replace(HEAD, published_at=at(-59))
REPUBLISHED = tuple(orphan(2, n) for n in range(1, 6))


@pytest.mark.parametrize(
    ("one", "others", "parent", "excuse"),
    [
        row("published again since", orphan(), (), AGAIN, True),
        row("published again at that moment", orphan(), (), replace(HEAD, published_at=at(-60)), True),
        row("published before", orphan(), (), HEAD, False),
        row("not published again yet", orphan(), (), replace(HEAD, published_at=None), False),
        row("given up", orphan(), (), checkpoint(1, step(50), DAMAGED), True),
        row("unknown", orphan(parent=f"{RUN}-c0009"), (), HEAD, True),
        row("the session failed otherwise", failed(2, parent=f"{RUN}-c0001", ended_at=at(-60)), (), AGAIN, False),
        row("the session's end is unknown", orphan(ended_at=None), (), AGAIN, False),
        row("four failures over it", REPUBLISHED[0], REPUBLISHED[1:4], AGAIN, True),
        row("five failures over it", REPUBLISHED[0], REPUBLISHED[1:], AGAIN, False),
        row(
            "failures over others do not count",
            orphan(),
            tuple(replace(s, parent=f"{RUN}-c0009") for s in REPUBLISHED),
            AGAIN,
            True,
        ),
    ],
)
def test_a_failure_over_a_parent_is_excused_once_that_is_mended(
    one: Session, others: tuple[Session, ...], parent: Checkpoint, excuse: bool
) -> None:
    assert caused_by_parent(state(gained(1), one, *others, checkpoints=(parent,)), one) is excuse


# --- checkpoints to resume from ---------------------------------------------------

TRAINED = pipeline(
    stages=(
        Stage(name="a", kind="grpo", steps=999, options={"guard_steps": 20}),
        Stage(name="b", kind="counting", steps=99),
        Stage(name="own", kind="mine:train", steps=9),
    )
)
TENS = tuple(checkpoint(n, step(10 * n)) for n in range(1, 7))


@pytest.mark.parametrize(
    ("cause", "furthest", "good"),
    [
        row("NaN after step 61: step 60 was last_good_checkpoint", "not-a-number", step(61), 6),
        row("NaN at step 60: that step is in doubt", "not-a-number", step(60), 5),
        row("NaN in the next stage: the last one was last_good_checkpoint", "not-a-number", step(0, "b"), 6),
        row("a spike lasted five steps", "loss-spike", step(65), 6),
        row("one step fewer after the checkpoint", "loss-spike", step(64), 5),
        row("a collapse is seen over twenty steps", "reward-collapse", step(80), 6),
        row("one step fewer before it", "reward-collapse", step(79), 5),
        row("no progress is seen over as many", "no-progress", step(80), 6),
        row("no progress over fewer", "no-progress", step(79), 5),
        row("no guard over steps in a stage that counts", "no-progress", step(0, "b"), 6),
        row("none in a stage of the user's own", "no-progress", step(0, "own"), 6),
        row("the base moved within three steps", "base-moved", step(63), 6),
        row("one step fewer before that", "base-moved", step(62), 5),
        row("an adapter that stays zero", "lora-still-zero", step(62), 5),
        row("the parent could not be read", "checkpoint-not-finite", step(60), 5),
        row("the model could not be read", "model-not-finite", step(60), 5),
        row("another cause casts no doubt", "bad-data", step(60), 6),
        row("nothing is old enough", "not-a-number", step(10), None),
        row("as old as possible", "not-a-number", step(11), 1),
        row("the session's start counts without a log", "not-a-number", None, 3),
    ],
)
def test_what_is_offered_is_from_before_the_trouble(cause: str, furthest: Any, good: int | None) -> None:
    ended = failed(9, cause=cause, furthest=furthest, parent=f"{RUN}-c0006", start=step(31))
    found = last_good_checkpoint(state(ended, checkpoints=TENS), ended, TRAINED)
    assert (found.session if found else None) == good


@pytest.mark.parametrize("status", [ABANDONED, DAMAGED, PRUNED])
def test_what_cannot_be_resumed_from_is_not_offered(status: CheckpointStatus) -> None:
    ended = failed(9, cause="not-a-number", furthest=step(30))
    known = state(ended, checkpoints=(checkpoint(1, step(10)), checkpoint(2, step(20), status)))
    found = last_good_checkpoint(known, ended, TRAINED)
    assert found is not None and found.session == 1
