"""When the user must act before another session starts: past sessions · the pipeline · the fact · why."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.parking import park_reason
from orchestrator.pipeline.model import Pipeline, SessionLimits
from orchestrator.pipeline.sections import Stage
from state.facts.run import RunParked
from state.model.run_state import RunState, Session
from state.model.statuses import CheckpointStatus, Outcome, Phase
from tests.unit.core.situations import (
    PIPELINE,
    RUN,
    at,
    checkpoint,
    failed,
    gained,
    pipeline,
    row,
    run,
    session,
    state,
    step,
)

PARKS_ON_TIMEOUT = pipeline(on_timeout="park")
FIVE_ATTEMPTS = pipeline(session=SessionLimits(limit_s=1000.0, attempts=5))


def ended(outcome: Outcome, number: int = 1, attempt: int = 1, **changes: Any) -> Session:
    """A session that left nothing."""
    usual = {"outcome": outcome, "reason": f"it {outcome}", "transient": True, "cause": str(outcome), "excerpt": "log"}
    return session(Phase.NO_CHECKPOINT, number, attempt, **{**usual, **changes})


def stopped(**changes: Any) -> Session:
    return gained(1, outcome=Outcome.TIMED_OUT, excerpt="log", **changes)


def parked(reason: str, verb: str = "retry", excerpt: str = "log") -> RunParked:
    return RunParked(reason=reason, remedy=f"relay {verb} {RUN}", excerpt=excerpt)


def parked_to_change(reason: str, excerpt: str = "log") -> RunParked:
    """Parked for a change of the pipeline."""
    return RunParked(reason=reason, remedy=f"relay retry {RUN} --pipeline r.yaml", excerpt=excerpt)


TWICE = parked("session 1 failed twice at the same step: it broke", excerpt="the traceback")
NO_STEP = (
    "two sessions gained no step: a step and a save do not fit into a session: raise session.limit_s, or make a step "
    "smaller"
)
THREE = parked("3 attempts made no progress; the last: it failed")
CORRUPT = {"cause": "parent-corrupt", "parent": f"{RUN}-c0001", "ended_at": at(-9)}
DAMAGED = checkpoint(1, step(50), CheckpointStatus.DAMAGED)
LATER = failed(1, 2)
FAILED, YIELDED, TIMED_OUT, LOST = Outcome.FAILED, Outcome.YIELDED, Outcome.TIMED_OUT, Outcome.LOST


@pytest.mark.parametrize(
    ("known", "of", "fact"),
    [
        row("no session", state(), PIPELINE, None),
        row("all went well", state(gained(1, outcome=YIELDED)), PIPELINE, None),
        # --- time limits
        row("a time limit is gone on from", state(stopped(reached=step(50))), PIPELINE, None),
        row(
            "the pipeline parks at a time limit",
            state(stopped(reached=step(50))),
            PARKS_ON_TIMEOUT,
            parked("session 1 was stopped at its time limit; a step 50 is safe", "resume"),
        ),
        row(
            "nothing was reached",
            state(stopped()),
            PARKS_ON_TIMEOUT,
            parked("session 1 was stopped at its time limit; the beginning is safe", "resume"),
        ),
        row("a stop in time is no time limit", state(gained(1, outcome=YIELDED)), PARKS_ON_TIMEOUT, None),
        row("a failure is no time limit", state(failed(1)), PARKS_ON_TIMEOUT, None),
        # --- failures that repeat
        row("a first failure is tried again", state(failed(1)), PIPELINE, None),
        row("the same failure at the same step", state(failed(1), LATER), PIPELINE, TWICE),
        row("the same failure a step later", state(failed(1), replace(LATER, furthest=step(8))), PIPELINE, None),
        row("another failure at the same step", state(failed(1), replace(LATER, cause="other")), PIPELINE, None),
        row(
            "other sessions in between do not hide it",
            state(failed(1), ended(LOST, 1, 2), failed(1, 3)),
            pipeline(session=SessionLimits(attempts=9)),
            TWICE,
        ),
        row(
            "the newest earlier failure counts",
            state(failed(1), failed(1, 2, cause="other"), failed(1, 3)),
            FIVE_ATTEMPTS,
            None,
        ),
        row("a transient failure may repeat", state(failed(1), replace(LATER, transient=True)), PIPELINE, None),
        row(
            "what the user accepted does not count",
            state(failed(1), LATER, of=run(accepted_sessions=1)),
            PIPELINE,
            None,
        ),
        row("nor all of it", state(failed(1), LATER, of=run(accepted_sessions=2)), PIPELINE, None),
        # --- training that goes wrong
        *(
            row(
                f"{cause} parks at once",
                state(failed(1, cause=cause)),
                PIPELINE,
                parked_to_change(
                    "session 1 failed: it broke; there is no checkpoint from before", excerpt="the traceback"
                ),
            )
            for cause in (
                "not-a-number",
                "loss-spike",
                "reward-collapse",
                "no-progress",
                "lora-still-zero",
                "base-moved",
                "checkpoint-not-finite",
                "model-not-finite",
            )
        ),
        *(
            row(
                f"{cause} parks at once, and the pipeline has to change",
                state(failed(1, cause=cause)),
                PIPELINE,
                parked_to_change("session 1 failed: it broke", excerpt="the traceback"),
            )
            for cause in ("out-of-memory", "numerics-changed")
        ),
        row(
            "the last good checkpoint is offered",
            state(
                gained(1),
                failed(2, cause="not-a-number", furthest=step(60)),
                checkpoints=(checkpoint(1, step(50)), checkpoint(9, step(60))),
            ),
            PIPELINE,
            RunParked(
                reason="session 2 failed: it broke; the last good checkpoint is r-0001-c0001, a step 50",
                remedy="relay retry r-0001 --pipeline r.yaml --from-step a:50",
                excerpt="the traceback",
            ),
        ),
        row(
            "it failed so twice",
            state(failed(1, cause="not-a-number"), failed(1, 2, cause="not-a-number")),
            PIPELINE,
            parked_to_change(
                "session 1 failed twice at the same step: it broke; there is no checkpoint from before",
                excerpt="the traceback",
            ),
        ),
        row(
            "a checkpoint that is broken itself is passed over, and the pipeline stays",
            state(
                gained(1),
                gained(2),
                failed(3, cause="checkpoint-not-finite", furthest=None, start=step(60), parent="r-0001-c0002"),
                checkpoints=(checkpoint(1, step(50)), checkpoint(2, step(60))),
            ),
            PIPELINE,
            RunParked(
                reason="session 3 failed: it broke; the last good checkpoint is r-0001-c0001, a step 50",
                remedy="relay resume r-0001 --from-step a:50",
                excerpt="the traceback",
            ),
        ),
        row(
            "the user's own stage is mended",
            state(failed(1), LATER),
            pipeline(stages=(Stage(name="a", kind="own:train", steps=9),)),
            parked_to_change("session 1 failed twice at the same step: it broke", excerpt="the traceback"),
        ),
        row(
            "and so is the user's own reward",
            state(failed(1), LATER),
            pipeline(stages=(Stage(name="a", kind="grpo", steps=9, options={"rewards": {"own:judge": 1.0}}),)),
            parked_to_change("session 1 failed twice at the same step: it broke", excerpt="the traceback"),
        ),
        row("a transient one is tried again", state(failed(1, cause="not-a-number", transient=True)), PIPELINE, None),
        # --- nothing gained
        row(
            "two that ended in time without a step",
            state(ended(YIELDED), ended(YIELDED, 1, 2)),
            PIPELINE,
            parked_to_change(NO_STEP),
        ),
        row(
            "two that were stopped without a step",
            state(ended(TIMED_OUT), ended(TIMED_OUT, 1, 2)),
            PIPELINE,
            parked_to_change(NO_STEP),
        ),
        row("one of each", state(ended(TIMED_OUT), ended(YIELDED, 1, 2)), PIPELINE, parked_to_change(NO_STEP)),
        row("one alone", state(ended(YIELDED)), PIPELINE, None),
        row("one after a session that gained", state(gained(1, outcome=YIELDED), ended(YIELDED, 2)), PIPELINE, None),
        row("one of them failed", state(ended(FAILED), ended(YIELDED, 1, 2)), PIPELINE, None),
        row(
            "only the last two count",
            state(ended(FAILED), ended(YIELDED, 1, 2), ended(YIELDED, 1, 3)),
            FIVE_ATTEMPTS,
            parked_to_change(NO_STEP),
        ),
        row("three attempts", state(ended(FAILED), ended(FAILED, 1, 2), ended(FAILED, 1, 3)), PIPELINE, THREE),
        row(
            "three that ended well and left nothing that can be used",
            state(*(ended(Outcome.FINISHED, 1, number, reason="") for number in (1, 2, 3))),
            PIPELINE,
            parked("3 attempts made no progress; the last: what it left has no checkpoint that verifies"),
        ),
        row(
            "three of five attempts",
            state(ended(FAILED), ended(FAILED, 1, 2), ended(FAILED, 1, 3)),
            FIVE_ATTEMPTS,
            None,
        ),
        row("two attempts", state(ended(FAILED), ended(FAILED, 1, 2)), PIPELINE, None),
        row(
            "what was gained in between counts",
            state(ended(FAILED), gained(1, outcome=YIELDED), ended(FAILED, 2), ended(FAILED, 2, 2)),
            PIPELINE,
            None,
        ),
        # --- failures of a parent
        row(
            "a parent that was given up excuses",
            state(
                ended(FAILED),
                ended(FAILED, 1, 2),
                ended(FAILED, 2, **CORRUPT),
                checkpoints=(DAMAGED,),
            ),
            PIPELINE,
            None,
        ),
        row(
            "all sessions are excused",
            state(ended(FAILED, **CORRUPT), checkpoints=(DAMAGED,)),
            pipeline(session=SessionLimits(attempts=1)),
            None,
        ),
    ],
)
def test_sessions_that_a_retry_would_only_repeat_park_the_run(
    known: RunState, of: Pipeline, fact: RunParked | None
) -> None:
    assert park_reason(known, of) == fact


def test_sessions_that_a_changed_pipeline_gave_up_are_no_attempts() -> None:
    tries = [session(Phase.LOST, 1, n, outcome=Outcome.LOST, reason="gone", transient=True) for n in range(1, 4)]
    assert park_reason(state(*tries), PIPELINE) is not None
    changed = [replace(each, cause="pipeline-changed") for each in tries]
    assert park_reason(state(*changed), PIPELINE) is None
