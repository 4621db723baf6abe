"""How a run goes on, rests, wakes and is given up: given what is known · now · the command · why."""

from dataclasses import replace
from datetime import datetime

import pytest

from orchestrator.core.commands import (
    Collect,
    Command,
    FindPush,
    Poll,
    Prune,
    Publish,
    Push,
    ReadQuota,
    Wait,
)
from orchestrator.core.decide import decide
from state.facts.run import RunParked, RunWoken
from state.model.poll_state import PollState
from state.model.snapshot import Snapshot
from state.model.statuses import CheckpointStatus, Phase
from tests.unit.core.decisions import (
    CANCELLED,
    COLLECTED,
    FINISHED,
    JUST,
    LONG_AGO,
    OTHERS,
    PARKED,
    PLANNED,
    PUBLISHING,
    QUEUED,
    SLUG,
    THIRD_NAME,
    WAITING,
    fulfilled,
    lost,
    said,
)
from tests.unit.core.situations import (
    HOUR,
    LIMITS,
    MOUNTS_OUTPUT,
    NOW,
    PIPELINE,
    RUN,
    WEEK,
    YEAR,
    at,
    checkpoint,
    gained,
    given,
    pipeline,
    quota,
    request,
    row,
    run,
    session,
    state,
    step,
)

SESSIONS = [
    row("a push without an answer is looked for", given(state(session(Phase.PUSHING))), FindPush(1, 1)),
    row("a pushed session is polled", given(state(session(Phase.PUSHED))), Poll(1, 1)),
    row("a queued session is polled", given(state(QUEUED)), Poll(1, 1)),
    row("a running session is polled", given(state(session(Phase.RUNNING, 3, 2))), Poll(3, 2)),
    row(
        "the next poll is waited for",
        given(state(QUEUED), watch=PollState(polled_at=JUST)),
        Wait(at(1), "session 1 is queued"),
    ),
    row("the next poll is due", given(state(QUEUED), watch=PollState(polled_at=LONG_AGO)), Poll(1, 1)),
    row("an ended session is collected", given(state(session(Phase.ENDED, 2, 3))), Collect(2, 3)),
    row(
        "a collected checkpoint is published",
        given(state(gained(1, Phase.COLLECTED), checkpoints=(COLLECTED,))),
        Publish(1, 1),
    ),
    row("publishing is looked at", given(state(PUBLISHING, checkpoints=(COLLECTED,))), Publish(1, 1)),
    row(
        "a look at the dataset is waited for",
        given(state(PUBLISHING, checkpoints=(COLLECTED,)), watch=PollState(dataset_polled_at=JUST)),
        Wait(at(1), f"{RUN}-c0001 is being processed"),
    ),
    row(
        "a look at the dataset is due",
        given(state(PUBLISHING, checkpoints=(COLLECTED,)), watch=PollState(dataset_polled_at=LONG_AGO)),
        Publish(1, 1),
    ),
    row(
        "a look in the future is none",
        given(state(PUBLISHING, checkpoints=(COLLECTED,)), watch=PollState(dataset_polled_at=at(1))),
        Publish(1, 1),
    ),
    row(
        "a look just now is one",
        given(state(PUBLISHING, checkpoints=(COLLECTED,)), watch=PollState(dataset_polled_at=NOW)),
        Wait(at(30), f"{RUN}-c0001 is being processed"),
    ),
    row("a paused run's session is carried on", given(state(QUEUED, of=run(PARKED))), Poll(1, 1)),
    row("a waiting run's session is carried on", given(state(QUEUED, of=run(WAITING))), Poll(1, 1)),
    row(
        "a paused run's checkpoint is published",
        given(state(PUBLISHING, checkpoints=(COLLECTED,), of=run(PARKED))),
        Publish(1, 1),
    ),
    row(
        "a third name needs the user",
        given(state(PUBLISHING, checkpoints=(THIRD_NAME,), of=run(PARKED, reason="no name left"))),
        Wait(None, "no name left"),
    ),
    row(
        "the user let a third name be tried",
        given(state(PUBLISHING, checkpoints=(THIRD_NAME,))),
        Publish(1, 1),
    ),
]


@pytest.mark.parametrize(("snapshot", "command"), SESSIONS)
def test_a_session_is_carried_on(snapshot: Snapshot, command: Command) -> None:
    assert decide(snapshot, PIPELINE, LIMITS, NOW) == command


def awaiting(until_s: float | None, **changes: object) -> Snapshot:
    until = None if until_s is None else at(until_s)
    return given(state(of=run(WAITING, waiting_until=until, reason="few hours", **changes)))


HOURS_AGAIN = run(PARKED, awaits="hours", reason="no hours")
IN_LINE = run(PARKED, awaits="slot", reason="no slot")
FOUR = tuple(checkpoint(n, step(n)) for n in (1, 2, 3, 4))
TIDY = request("prune")
GONE = PollState(failures=20, failing_s=6 * HOUR, failure="503")

STATUSES = [
    row("a wait lasts", awaiting(1), NOW, Wait(at(1), "few hours")),
    row("a wait is over", awaiting(0), NOW, said(RunWoken())),
    row("a wait without an end is none", awaiting(None), NOW, said(RunWoken())),
    row("a wait of a week is one", awaiting(WEEK), NOW, Wait(at(WEEK), "few hours")),
    row("a wait of more than a week is none", awaiting(WEEK + 1), NOW, said(RunWoken())),
    row("a wait that began just now is one", awaiting(9, updated_at=NOW), NOW, Wait(at(9), "few hours")),
    row("a wait that began in the future is none", awaiting(9, updated_at=at(1)), NOW, said(RunWoken())),
    row("a parked run waits for the user", given(state(of=run(PARKED, reason="why"))), NOW, Wait(None, "why")),
    row(
        "a parked run's plan is not pushed", given(state(PLANNED, of=run(PARKED, reason="why"))), NOW, Wait(None, "why")
    ),
    row("a parked run in line for a slot is pushed", given(state(PLANNED, of=IN_LINE)), NOW, Push(1, 1)),
    row(
        "a parked run in line stays there",
        given(state(PLANNED, of=IN_LINE), others_live=1),
        NOW,
        Wait(at(30), OTHERS, wants_slot=True),
    ),
    row("a slot came after all", given(state(session(Phase.PUSHED), of=IN_LINE)), NOW, said(RunWoken())),
    row(
        "a machine came after all",
        given(state(session(Phase.RUNNING), of=run(PARKED, awaits="queue"))),
        NOW,
        said(RunWoken()),
    ),
    row("hours are read when none were", given(state(of=HOURS_AGAIN), quota=None), NOW, ReadQuota("tpu")),
    row("hours came after all", given(state(of=HOURS_AGAIN), quota=quota(250.0)), NOW, said(RunWoken())),
    row("a time of renewal is as good", given(state(of=HOURS_AGAIN), quota=quota(0.0)), NOW, said(RunWoken())),
    row(
        "hours are read every quarter of an hour",
        given(state(of=HOURS_AGAIN), quota=quota(0.0, refreshes_at=None, read_at=at(-899))),
        NOW,
        Wait(at(1), "no hours"),
    ),
    row(
        "the quarter of an hour is over",
        given(state(of=HOURS_AGAIN), quota=quota(0.0, refreshes_at=None, read_at=at(-900))),
        NOW,
        ReadQuota("tpu"),
    ),
    row(
        "hours that were read just now",
        given(state(of=HOURS_AGAIN), quota=quota(0.0, refreshes_at=None, read_at=NOW)),
        NOW,
        Wait(at(900), "no hours"),
    ),
    row(
        "hours that were read in the future",
        given(state(of=HOURS_AGAIN), quota=quota(0.0, refreshes_at=None, read_at=at(1))),
        NOW,
        ReadQuota("tpu"),
    ),
    row("a finished run rests", given(state(of=run(FINISHED))), NOW, Wait(None, "the run is finished")),
    row(
        "a finished run is pruned on request",
        given(state(checkpoints=FOUR, of=run(FINISHED)), TIDY),
        NOW,
        Prune(f"{RUN}-c0001"),
    ),
    row(
        "a finished run is pruned on request alone",
        given(state(checkpoints=FOUR, of=run(FINISHED))),
        NOW,
        Wait(None, "the run is finished"),
    ),
    row("nothing is left to prune", given(state(checkpoints=FOUR[2:], of=run(FINISHED)), TIDY), NOW, fulfilled()),
    # --- cancelled
    row("a cancelled run rests", given(state(of=run(CANCELLED))), NOW, Wait(None, "the run is cancelled")),
    row(
        "a cancelled run's plan is not pushed",
        given(state(PLANNED, of=run(CANCELLED))),
        NOW,
        Wait(None, "the run is cancelled"),
    ),
    row(
        "a cancelled run in `pushing` does not push: it looks whether Kaggle has the kernel",
        given(state(session(Phase.PUSHING), of=run(CANCELLED))),
        NOW,
        FindPush(1, 1),
    ),
    row(
        "a cancelled run's session is polled as often as another",
        given(state(QUEUED, of=run(CANCELLED)), watch=PollState(polled_at=JUST)),
        NOW,
        Wait(at(1), "session 1 is queued"),
    ),
    row("a cancelled run's session is polled to its end", given(state(QUEUED, of=run(CANCELLED))), NOW, Poll(1, 1)),
    row(
        "a cancelled run's output is not collected",
        given(state(session(Phase.ENDED), of=run(CANCELLED))),
        NOW,
        Wait(None, "the run is cancelled"),
    ),
    row(
        "a cancelled run is pruned on request",
        given(state(checkpoints=FOUR, of=run(CANCELLED)), TIDY),
        NOW,
        Prune(f"{RUN}-c0001"),
    ),
    row(
        "a cancelled run's session that never gets a machine is given up",
        given(state(QUEUED, of=run(CANCELLED)), watch=PollState(awaiting=f"queue {SLUG}", waited_s=6 * HOUR)),
        NOW,
        said(lost("the run was cancelled", cause="run-cancelled")),
    ),
    row(
        "a cancelled run's session that runs too long is polled",
        given(
            state(session(Phase.RUNNING), of=run(CANCELLED)),
            watch=PollState(awaiting=f"end {SLUG}", waited_s=9 * HOUR),
        ),
        NOW,
        Poll(1, 1),
    ),
    row(
        "a cancelled run's session is given up when Kaggle does not answer",
        given(state(session(Phase.RUNNING), of=run(CANCELLED)), watch=PollState(failures=20)),
        NOW,
        said(lost("the run was cancelled", cause="run-cancelled")),
    ),
    row(
        "nineteen failures are not enough",
        given(state(session(Phase.RUNNING), of=run(CANCELLED)), watch=PollState(failures=19)),
        NOW,
        Poll(1, 1),
    ),
    # --- calls that fail
    row(
        "a failed call is waited after",
        given(state(QUEUED), watch=PollState(not_before=at(1), failure="503")),
        NOW,
        Wait(at(1), "trying again: 503"),
    ),
    row(
        "the wait after it is over",
        given(state(QUEUED), watch=PollState(not_before=NOW, failure="503")),
        NOW,
        Poll(1, 1),
    ),
    row(
        "the longest wait after a failure is half an hour",
        given(state(QUEUED), watch=PollState(not_before=at(1800), failure="503")),
        NOW,
        Wait(at(1800), "trying again: 503"),
    ),
    row("a longer one is a wrong clock's", given(state(QUEUED), watch=PollState(not_before=at(1801))), NOW, Poll(1, 1)),
    row(
        "a run is parked when Kaggle does not answer for hours",
        given(state(), watch=GONE),
        NOW,
        said(RunParked(reason="Kaggle has not answered for long: 503", remedy=f"relay resume {RUN}")),
    ),
    row(
        "its session may be abandoned",
        given(state(QUEUED), watch=GONE),
        NOW,
        said(
            RunParked(
                reason=f"Kaggle has not answered for long: 503; relay resume {RUN} --abandon-session gives the session up",
                remedy=f"relay resume {RUN}",
            )
        ),
    ),
    row(
        "few failures over hours are not enough",
        given(state(QUEUED), watch=replace(GONE, failures=19)),
        NOW,
        Poll(1, 1),
    ),
    row(
        "many failures within hours are not enough",
        given(state(QUEUED), watch=replace(GONE, failing_s=6 * HOUR - 1)),
        NOW,
        Poll(1, 1),
    ),
    row("a parked run is not parked again", given(state(QUEUED, of=run(PARKED)), watch=GONE), NOW, Poll(1, 1)),
    row(
        "a kernel that Kaggle does not know for hours is lost",
        given(state(QUEUED), watch=replace(GONE, absences=20, failure="404")),
        NOW,
        said(lost("404, and has said so for hours")),
    ),
    row(
        "a kernel that is missing now and then is not",
        given(state(QUEUED), watch=replace(GONE, absences=19, failure="404")),
        NOW,
        said(
            RunParked(
                reason=f"Kaggle has not answered for long: 404; relay resume {RUN} --abandon-session gives the session up",
                remedy=f"relay resume {RUN}",
            )
        ),
    ),
    row(
        "a session that Kaggle need not know is not lost",
        given(state(PUBLISHING, checkpoints=(COLLECTED,)), watch=replace(GONE, absences=20, failure="404")),
        NOW,
        said(RunParked(reason="Kaggle has not answered for long: 404", remedy=f"relay resume {RUN}")),
    ),
    row(
        "a queue of six hours parks",
        given(state(QUEUED), watch=PollState(awaiting=f"queue {SLUG}", waited_s=6 * HOUR)),
        NOW,
        said(
            RunParked(
                reason="session 1 has waited 6 h for a machine: look at https://www.kaggle.com/code/me/r-0001-s0001; "
                "relay continues by itself once it runs, and relay resume r-0001 --abandon-session gives it up after you "
                "deleted it there",
                remedy=f"relay resume {RUN}",
                awaits="queue",
            )
        ),
    ),
]


@pytest.mark.parametrize(("snapshot", "now", "command"), STATUSES)
def test_a_run_rests_wakes_and_is_given_up(snapshot: Snapshot, now: datetime, command: Command) -> None:
    assert decide(snapshot, PIPELINE, LIMITS, now) == command


LOOKED = PollState(polled_at=JUST)
BEHIND = session(Phase.QUEUED, 2, pushed_at=at(-3), start=step(50), parent=f"{RUN}-c0001")
POLLED_SOON = Wait(at(1), "session 2 is queued")
LIVE = session(Phase.QUEUED, 5, pushed_at=at(-3), parent=f"{RUN}-c0004")

BESIDE = [
    row(
        "a collected checkpoint is published meanwhile",
        given(state(gained(1, Phase.COLLECTED), BEHIND, checkpoints=(COLLECTED,)), watch=LOOKED),
        Publish(1, 1),
    ),
    row(
        "its dataset is looked at meanwhile",
        given(state(PUBLISHING, BEHIND, checkpoints=(COLLECTED,)), watch=LOOKED),
        Publish(1, 1),
    ),
    row(
        "its next look is not due",
        given(state(PUBLISHING, BEHIND, checkpoints=(COLLECTED,)), watch=replace(LOOKED, dataset_polled_at=JUST)),
        POLLED_SOON,
    ),
    row(
        "its next look is due",
        given(state(PUBLISHING, BEHIND, checkpoints=(COLLECTED,)), watch=replace(LOOKED, dataset_polled_at=LONG_AGO)),
        Publish(1, 1),
    ),
    row(
        "a third name needs the user, and others are published",
        given(
            state(
                PUBLISHING,
                gained(2, Phase.COLLECTED),
                checkpoints=(THIRD_NAME, checkpoint(2, step(60), CheckpointStatus.COLLECTED)),
                of=run(PARKED, reason="no name left"),
            )
        ),
        Publish(2, 1),
    ),
    row(
        "old checkpoints are pruned meanwhile",
        given(state(LIVE, checkpoints=FOUR), watch=LOOKED),
        Prune(f"{RUN}-c0001"),
    ),
    row(
        "what a live session mounts is not pruned",
        given(state(replace(LIVE, parent=f"{RUN}-c0001"), checkpoints=FOUR), watch=LOOKED),
        Prune(f"{RUN}-c0002"),
    ),
    row(
        "nothing to prune",
        given(state(LIVE, checkpoints=FOUR[2:]), watch=LOOKED),
        Wait(at(1), "session 5 is queued"),
    ),
    row("a request to prune is done", given(state(LIVE, checkpoints=FOUR[2:]), TIDY, watch=LOOKED), fulfilled()),
    row("a due poll comes before pruning", given(state(LIVE, checkpoints=FOUR)), Poll(5, 1)),
]


@pytest.mark.parametrize(("snapshot", "command"), BESIDE)
def test_other_work_is_done_during_a_wait(snapshot: Snapshot, command: Command) -> None:
    assert decide(snapshot, MOUNTS_OUTPUT, LIMITS, NOW) == command


def test_a_checkpoint_to_keep_is_the_pipelines_choice() -> None:
    snapshot = given(state(LIVE, checkpoints=FOUR), watch=LOOKED)
    assert decide(snapshot, pipeline(keep_checkpoints=4), LIMITS, NOW) == Wait(at(1), "session 5 is queued")
    assert decide(snapshot, pipeline(keep_checkpoints=3), LIMITS, NOW) == Prune(f"{RUN}-c0001")


def test_a_clock_that_is_a_year_ahead_or_behind_ends_every_wait() -> None:
    snapshot = awaiting(9)
    assert decide(snapshot, PIPELINE, LIMITS, at(YEAR)) == said(RunWoken())
    assert decide(snapshot, PIPELINE, LIMITS, at(-YEAR)) == said(RunWoken())
