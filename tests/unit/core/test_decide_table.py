"""The one next command of a run: given what is known · now · the command · why."""

from dataclasses import replace
from datetime import datetime

import pytest

from orchestrator.core.commands import (
    Append,
    Collect,
    Command,
    FindPush,
    Poll,
    PollTwin,
    Prune,
    Publish,
    PublishInputs,
    Push,
    ReadQuota,
    VerifyDataset,
    Wait,
)
from orchestrator.core.decide import decide
from orchestrator.pipeline.model import Pipeline
from state.facts import (
    Fact,
    RunCancelled,
    RunFinished,
    RunParked,
    RunResumed,
    RunTakenOver,
    RunWaiting,
    RunWoken,
    SessionLost,
    SessionPlanned,
    SessionResized,
)
from state.model import CheckpointStatus, InputsStatus, Outcome, Phase, PollState, RunStatus, Snapshot, Waiting
from tests.unit.core.situations import (
    DAY,
    END,
    HOUR,
    LIMITS,
    MOUNTS_OUTPUT,
    NOW,
    ON_CPU,
    PIPELINE,
    RUN,
    TWO_SLOTS,
    WEEK,
    WITH_FILES,
    YEAR,
    at,
    checkpoint,
    failed,
    gained,
    given,
    pipeline,
    quota,
    reached,
    request,
    row,
    run,
    session,
    state,
    step,
)

ACTIVE, WAITING, PARKED = RunStatus.ACTIVE, RunStatus.WAITING, RunStatus.PARKED
FINISHED, CANCELLED = RunStatus.FINISHED, RunStatus.CANCELLED
KEY = {"number": 1, "attempt": 1}


def lost(reason: str, number: int = 1, attempt: int = 1) -> SessionLost:
    return SessionLost(number=number, attempt=attempt, reason=reason)


def obeyed(*facts: Fact) -> Append:
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

PAUSED = RunParked(reason="paused by you", remedy=f"relay resume {RUN}")
ABANDONED = lost("you abandoned it")
TIMESTAMP = int(at(-10).timestamp())
LATER = 2_000_000_000_000
SLUG = f"{RUN}-s0001"

# --- the user's requests -------------------------------------------------------

REQUESTS = [
    row("pause parks", given(state(), request("pause")), obeyed(PAUSED)),
    row("a waiting run is paused too", given(state(of=run(WAITING)), request("pause")), obeyed(PAUSED)),
    row("a parked run is not paused again", given(state(of=run(PARKED)), request("pause")), obeyed()),
    row("resume goes on", given(state(of=run(PARKED)), request("resume")), obeyed(RunResumed())),
    row("retry is the same", given(state(of=run(PARKED)), request("retry")), obeyed(RunResumed())),
    row("a wait is ended by resume", given(state(of=run(WAITING)), request("resume")), obeyed(RunResumed())),
    row("a wait is ended by retry", given(state(of=run(WAITING)), request("retry")), obeyed(RunResumed())),
    row("an active run needs no resume", given(state(), request("resume")), obeyed()),
    row("an active run needs no retry", given(state(), request("retry", take_over="h")), obeyed()),
    row("a finished run is not resumed", given(state(of=run(FINISHED)), request("resume")), obeyed()),
    row("cancel ends an active run", given(state(), request("cancel")), obeyed(RunCancelled())),
    row("cancel ends a wait", given(state(of=run(WAITING)), request("cancel")), obeyed(RunCancelled())),
    row("cancel ends a parked run", given(state(of=run(PARKED)), request("cancel")), obeyed(RunCancelled())),
    row("a finished run is not cancelled", given(state(of=run(FINISHED)), request("cancel")), obeyed()),
    row(
        "the first request comes first",
        given(state(), request("cancel"), replace(request("pause"), id=8)),
        obeyed(RunCancelled()),
    ),
    row(
        "a request to prune holds no other up",
        given(state(), replace(request("prune"), id=6), request("pause")),
        obeyed(PAUSED),
    ),
    row(
        "a request is answered while calls fail",
        given(state(), request("pause"), watch=PollState(not_before=at(60), failures=99, failing_s=9e9)),
        obeyed(PAUSED),
    ),
    row(
        "another home takes an active run over",
        given(state(), request("resume", take_over="h2")),
        obeyed(RunTakenOver(home="h2", generation=TIMESTAMP)),
    ),
    row(
        "a takeover exceeds this home's generation",
        given(state(of=run(generation=LATER)), request("resume", take_over="h2")),
        obeyed(RunTakenOver(home="h2", generation=LATER + 1)),
    ),
    row(
        "a takeover exceeds the generation that was seen elsewhere",
        given(state(of=run(PARKED, generation=5, overtaken_by=LATER)), request("retry", take_over="h2")),
        obeyed(RunTakenOver(home="h2", generation=LATER + 1), RunResumed()),
    ),
    row(
        "a takeover may abandon the session at once",
        given(state(session(Phase.RUNNING)), request("resume", take_over="h2", abandon_session=SLUG)),
        obeyed(RunTakenOver(home="h2", generation=TIMESTAMP), ABANDONED),
    ),
    *(
        row(
            f"an active run's session that is {phase} is abandoned by {verb}",
            given(state(session(phase)), request(verb, abandon_session=SLUG)),
            obeyed(ABANDONED),
        )
        for phase in (Phase.PUSHED, Phase.QUEUED, Phase.RUNNING, Phase.ENDED)
        for verb in ("resume", "retry")
    ),
    *(
        row(
            f"a session that is {phase} cannot be abandoned",
            given(state(session(phase)), request("resume", abandon_session=SLUG)),
            obeyed(),
        )
        for phase in (Phase.PLANNED, Phase.PUSHING, Phase.COLLECTED, Phase.PUBLISHED, Phase.LOST)
    ),
    row(
        "only the session that the user saw is abandoned",
        given(state(session(Phase.RUNNING)), request("resume", abandon_session=f"{RUN}-s0002")),
        obeyed(),
    ),
    row("without a session none is abandoned", given(state(), request("resume", abandon_session=SLUG)), obeyed()),
    row(
        "resume of a parked run abandons the session",
        given(state(session(Phase.QUEUED), of=run(PARKED)), request("resume", abandon_session=SLUG)),
        obeyed(ABANDONED, RunResumed()),
    ),
    row(
        "resume of a parked run keeps the session",
        given(state(session(Phase.QUEUED), of=run(PARKED)), request("resume")),
        obeyed(RunResumed()),
    ),
    row(
        "a planned session has nothing to abandon",
        given(state(session(Phase.PLANNED), of=run(PARKED)), request("resume", abandon_session=SLUG)),
        obeyed(RunResumed()),
    ),
    row(
        "an older checkpoint replaces the planned session",
        given(state(session(Phase.PLANNED), of=run(PARKED)), request("resume", checkpoint="c")),
        obeyed(lost("you chose an older checkpoint to go on from"), RunResumed(checkpoint="c")),
    ),
    row(
        "the planned session stays without one",
        given(state(session(Phase.PLANNED), of=run(PARKED)), request("resume")),
        obeyed(RunResumed()),
    ),
    *(
        row(
            f"no older checkpoint while a session is {phase}",
            given(state(session(phase), of=run(PARKED)), request("resume", checkpoint="c")),
            obeyed(),
        )
        for phase in (Phase.PUSHING, Phase.PUSHED, Phase.QUEUED, Phase.RUNNING, Phase.ENDED)
    ),
    row(
        "an older checkpoint once the session is over",
        given(state(gained(1), of=run(PARKED)), request("resume", checkpoint="c")),
        obeyed(RunResumed(checkpoint="c")),
    ),
    row(
        "an older checkpoint before any session",
        given(state(of=run(PARKED)), request("resume", checkpoint="c")),
        obeyed(RunResumed(checkpoint="c")),
    ),
]


@pytest.mark.parametrize(("snapshot", "command"), REQUESTS)
def test_a_request_is_answered_first(snapshot: Snapshot, command: Command) -> None:
    assert decide(snapshot, PIPELINE, LIMITS, NOW) == command


# --- a session's way -------------------------------------------------------------

JUST, LONG_AGO = at(-29), at(-30)
QUEUED = session(Phase.QUEUED, pushed_at=at(-3))
PUBLISHING = gained(1, Phase.PUBLISHING)
COLLECTED = checkpoint(1, step(50), CheckpointStatus.COLLECTED)
THIRD_NAME = checkpoint(1, step(50), CheckpointStatus.COLLECTED, dataset=f"{RUN}-c0001-n3")

SESSIONS = [
    row("a push without an answer is looked for", given(state(session(Phase.PUSHING))), FindPush(1, 1)),
    row("a pushed session is polled", given(state(session(Phase.PUSHED))), Poll(1, 1)),
    row("a queued session is polled", given(state(QUEUED)), Poll(1, 1)),
    row("a running session is polled", given(state(session(Phase.RUNNING, 3, 2))), Poll(3, 2)),
    row(
        "the next poll is waited for",
        given(state(QUEUED), watch=PollState(looked_at=JUST)),
        Wait(at(1), "session 1 is queued"),
    ),
    row("the next poll is due", given(state(QUEUED), watch=PollState(looked_at=LONG_AGO)), Poll(1, 1)),
    row("an ended session is collected", given(state(session(Phase.ENDED, 2, 3))), Collect(2, 3)),
    row(
        "a collected checkpoint is published",
        given(state(gained(1, Phase.COLLECTED), checkpoints=(COLLECTED,))),
        Publish(1, 1),
    ),
    row("publishing is looked at", given(state(PUBLISHING, checkpoints=(COLLECTED,))), Publish(1, 1)),
    row(
        "a look at the dataset is waited for",
        given(state(PUBLISHING, checkpoints=(COLLECTED,)), watch=PollState(dataset_looked_at=JUST)),
        Wait(at(1), f"{RUN}-c0001 is being processed"),
    ),
    row(
        "a look at the dataset is due",
        given(state(PUBLISHING, checkpoints=(COLLECTED,)), watch=PollState(dataset_looked_at=LONG_AGO)),
        Publish(1, 1),
    ),
    row(
        "a look in the future is none",
        given(state(PUBLISHING, checkpoints=(COLLECTED,)), watch=PollState(dataset_looked_at=at(1))),
        Publish(1, 1),
    ),
    row(
        "a look just now is one",
        given(state(PUBLISHING, checkpoints=(COLLECTED,)), watch=PollState(dataset_looked_at=NOW)),
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


# --- the next session ------------------------------------------------------------

PLANNED = session(Phase.PLANNED)
MISSING = {"cause": "parent-missing", "parent": f"{RUN}-c0001", "start": step(50), "transient": True}
CORRUPT = {**MISSING, "cause": "parent-corrupt"}
TWIN = failed(1, twin=4, twin_at=at(-99), transient=True, ended_at=at(-9 * HOUR))
OTHERS = "other runs' sessions take the account's slots"


def other(since_s: float, seen_s: float, name: str = "z-0001") -> Waiting:
    return Waiting(run=name, since=at(since_s), seen_at=at(seen_s))


NEXT = [
    row("a run begins with a plan", given(state()), PIPELINE, planned(1)),
    row(
        "the next session starts where the last one got",
        given(reached(step(50))),
        PIPELINE,
        planned(2, start=step(50), parent=f"{RUN}-c0001"),
    ),
    row("a plan is pushed", given(state(PLANNED)), PIPELINE, Push(1, 1)),
    row(
        "a plan is fitted to the quota left",
        given(state(PLANNED), quota=quota(700.0)),
        PIPELINE,
        said(SessionResized(**KEY, budget_s=600.0, limit_s=700.0)),
    ),
    row("the last step finishes the run", given(reached(END)), PIPELINE, said(RunFinished())),
    row(
        "one step before the end another session is planned",
        given(reached(step(119, "b"))),
        PIPELINE,
        planned(2, start=step(119, "b"), parent=f"{RUN}-c0001"),
    ),
    row(
        "the run finishes only once all is published",
        given(state(gained(1, Phase.PUBLISHING), gained(2), checkpoints=(COLLECTED, checkpoint(2, END)))),
        MOUNTS_OUTPUT,
        Publish(1, 1),
    ),
    row(
        "the last checkpoint is published before the run finishes",
        given(state(gained(1, Phase.COLLECTED), checkpoints=(checkpoint(1, END, CheckpointStatus.COLLECTED),))),
        MOUNTS_OUTPUT,
        Publish(1, 1),
    ),
    row(
        "a kernel's output is mounted before it is published",
        given(state(gained(1, Phase.COLLECTED), checkpoints=(COLLECTED,))),
        MOUNTS_OUTPUT,
        planned(2, start=step(50), parent=f"{RUN}-c0001"),
    ),
    row(
        "a kernel's output that is missing is published",
        given(state(gained(1, Phase.COLLECTED), failed(2, **MISSING), checkpoints=(COLLECTED,))),
        MOUNTS_OUTPUT,
        Publish(1, 1),
    ),
    row(
        "the parent's dataset is verified after it arrived damaged",
        given(reached(step(50), failed(2, **{**CORRUPT, "ended_at": at(-99)}))),
        PIPELINE,
        VerifyDataset(1, 1),
    ),
    row(
        "a second failure at one step parks",
        given(state(failed(1), failed(1, 2))),
        PIPELINE,
        said(
            RunParked(
                reason="session 1 failed twice at the same step: it broke",
                remedy=f"relay retry {RUN}",
                excerpt="the traceback",
            )
        ),
    ),
    row("a failure is tried again", given(state(failed(1))), PIPELINE, planned(1, 2)),
    row(
        "a failure is tried again after a minute",
        given(state(failed(1, ended_at=at(-59)))),
        PIPELINE,
        Wait(at(1), "trying again after: it broke"),
    ),
    row("the minute is over", given(state(failed(1, ended_at=at(-60)))), PIPELINE, planned(1, 2)),
    row(
        "a second failure is waited after for longer",
        given(state(failed(1, transient=True), failed(1, 2, transient=True, ended_at=at(-119)))),
        PIPELINE,
        Wait(at(1), "trying again after: it broke"),
    ),
    row(
        "failures of other sessions do not count",
        given(reached(step(50), failed(2, transient=True, ended_at=at(-60), start=step(50)))),
        PIPELINE,
        planned(2, 2, start=step(50), parent=f"{RUN}-c0001"),
    ),
    row("an end in the future is not waited after", given(state(failed(1, ended_at=at(1)))), PIPELINE, planned(1, 2)),
    row(
        "an end just now is waited after",
        given(state(failed(1, ended_at=NOW))),
        PIPELINE,
        Wait(at(60), "trying again after: it broke"),
    ),
    row("no known end is not waited after", given(state(failed(1, ended_at=None))), PIPELINE, planned(1, 2)),
    row(
        "what the user accepted is not waited after",
        given(state(failed(1, ended_at=at(-9)), of=run(judged=1))),
        PIPELINE,
        planned(1, 2),
    ),
    row(
        "failures before the user resumed make no longer wait",
        given(state(failed(1, transient=True), failed(1, 2, transient=True, ended_at=at(-60)), of=run(judged=1))),
        PIPELINE,
        said(
            SessionPlanned(
                number=1,
                attempt=3,
                slug=f"{RUN}-s0001-c",
                token="fb0869fdd080bb3cc84f78d4",
                start=step(0),
                parent=None,
                budget_s=900.0,
                limit_s=1000.0,
            )
        ),
    ),
    row("files are published first", given(state()), WITH_FILES, PublishInputs()),
    row(
        "a look at the files is waited for",
        given(state(of=run(inputs=InputsStatus.PUBLISHING)), watch=PollState(dataset_looked_at=JUST)),
        WITH_FILES,
        Wait(at(1), "the pipeline's files are being processed"),
    ),
    row(
        "a look at the files is due",
        given(state(of=run(inputs=InputsStatus.PUBLISHING)), watch=PollState(dataset_looked_at=LONG_AGO)),
        WITH_FILES,
        PublishInputs(),
    ),
    row("published files hold nothing up", given(state(of=run(inputs=InputsStatus.PUBLISHED))), WITH_FILES, planned(1)),
    # --- twins
    row("a twin is polled before the next push", given(state(TWIN)), PIPELINE, PollTwin(1, 1)),
    row(
        "a twin's next poll is waited for",
        given(state(TWIN), watch=PollState(looked_at=JUST)),
        PIPELINE,
        Wait(at(1), f"version 4 of {SLUG} runs besides"),
    ),
    row("a twin's poll is due", given(state(TWIN), watch=PollState(looked_at=LONG_AGO)), PIPELINE, PollTwin(1, 1)),
    row(
        "a twin that ended holds nothing up", given(state(replace(TWIN, twin_ended_at=at(-9)))), PIPELINE, planned(1, 2)
    ),
    # --- slots
    row(
        "another run's session takes the slot",
        given(state(PLANNED), others_live=1),
        PIPELINE,
        Wait(at(30), OTHERS, wants_slot=True),
    ),
    row("no session is planned without a slot", given(state(), others_live=1), PIPELINE, Wait(at(30), OTHERS, True)),
    row("one of two slots is free", given(state(PLANNED), others_live=1), TWO_SLOTS, Push(1, 1)),
    row("both slots are taken", given(state(PLANNED), others_live=2), TWO_SLOTS, Wait(at(30), OTHERS, True)),
    row(
        "a run that waited longer is served first",
        given(state(PLANNED), waiting=(other(-9, -9),)),
        PIPELINE,
        Wait(at(30), OTHERS, wants_slot=True),
    ),
    row("one that waits as long goes by its name", given(state(PLANNED), waiting=(other(0, 0),)), PIPELINE, Push(1, 1)),
    row(
        "an earlier name goes first",
        given(state(PLANNED), waiting=(other(0, 0, "a-0001"),)),
        PIPELINE,
        Wait(at(30), OTHERS, wants_slot=True),
    ),
    row(
        "this run has waited longer",
        given(state(PLANNED), watch=PollState(slot_since=at(-10)), waiting=(other(-9, -9),)),
        PIPELINE,
        Push(1, 1),
    ),
    row(
        "a claim ends when it is not renewed",
        given(state(PLANNED), waiting=(other(-9999, -900),)),
        PIPELINE,
        Push(1, 1),
    ),
    row(
        "a claim holds until then",
        given(state(PLANNED), waiting=(other(-9999, -899),)),
        PIPELINE,
        Wait(at(30), OTHERS, wants_slot=True),
    ),
    row("a claim from the future is none", given(state(PLANNED), waiting=(other(-9999, 1),)), PIPELINE, Push(1, 1)),
    row(
        "a claim and a session take two slots",
        given(state(PLANNED), others_live=1, waiting=(other(-9, -9),)),
        TWO_SLOTS,
        Wait(at(30), OTHERS, wants_slot=True),
    ),
    row("a claim takes one slot of two", given(state(PLANNED), waiting=(other(-9, -9),)), TWO_SLOTS, Push(1, 1)),
    # --- quota
    row("a CPU has no quota", given(state(PLANNED), quota=None), ON_CPU, Push(1, 1)),
    row("a CPU's sessions are not cut to a TPU's quota", given(state(), quota=quota(300.0)), ON_CPU, planned(1)),
    row("an unknown quota is read", given(state(PLANNED), quota=None), PIPELINE, ReadQuota("tpu")),
    row(
        "an old quota is read again",
        given(state(PLANNED), quota=quota(read_at=at(-600))),
        PIPELINE,
        ReadQuota("tpu"),
    ),
    row(
        "a quota is believed for ten minutes",
        given(state(PLANNED), quota=quota(read_at=at(-599))),
        PIPELINE,
        Push(1, 1),
    ),
    row("a quota read just now is believed", given(state(PLANNED), quota=quota(read_at=NOW)), PIPELINE, Push(1, 1)),
    row(
        "a quota read in the future is read again",
        given(state(PLANNED), quota=quota(read_at=at(1))),
        PIPELINE,
        ReadQuota("tpu"),
    ),
    row(
        "a quota read before the last session ended is not believed",
        given(state(PLANNED), quota=quota(outdated=True)),
        PIPELINE,
        ReadQuota("tpu"),
    ),
    row(
        "a plan is cut to the quota",
        given(state(), quota=quota(300.0)),
        PIPELINE,
        planned(1, budget_s=200.0, limit_s=300.0),
    ),
    row(
        "just enough quota is enough",
        given(state(), quota=quota(250.0)),
        PIPELINE,
        planned(1, budget_s=150.0, limit_s=250.0),
    ),
    row(
        "too little quota is waited for",
        given(state(PLANNED), quota=quota(249.0)),
        PIPELINE,
        said(
            RunWaiting(
                until=at(DAY).isoformat(),
                reason="249 s of this week's tpu quota are left, too few to start a session",
            )
        ),
    ),
    row(
        "relay's own count says so",
        given(state(PLANNED), quota=quota(0.0, assumed=True)),
        PIPELINE,
        said(
            RunWaiting(
                until=at(DAY).isoformat(),
                reason="0 s of this week's tpu quota are left by relay's own count, since Kaggle does not say, "
                "too few to start a session",
            )
        ),
    ),
    row(
        "without a time of renewal the quota is read every quarter of an hour",
        given(state(PLANNED), quota=quota(0.0, refreshes_at=None)),
        PIPELINE,
        said(
            RunWaiting(
                until=at(900).isoformat(), reason="0 s of this week's tpu quota are left, too few to start a session"
            )
        ),
    ),
    row(
        "a quota that is not renewed for six hours parks",
        given(
            state(PLANNED), quota=quota(0.0, refreshes_at=None), watch=PollState(awaiting="hours", waited_s=6 * HOUR)
        ),
        PIPELINE,
        said(
            RunParked(
                reason="0 s of this week's tpu quota are left, too few to start a session; Kaggle has named no time of "
                "renewal that is still to come for 6 h 0 min: look at https://www.kaggle.com/settings and at this "
                "machine's clock; relay goes on by itself once there are hours again",
                remedy=f"relay resume {RUN}",
                awaits="hours",
            )
        ),
    ),
]


@pytest.mark.parametrize(("snapshot", "of", "command"), NEXT)
def test_the_next_session_is_prepared(snapshot: Snapshot, of: Pipeline, command: Command) -> None:
    assert decide(snapshot, of, LIMITS, NOW) == command


# --- waiting, parked, finished, cancelled ------------------------------------------


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
    row("nothing is left to prune", given(state(checkpoints=FOUR[2:], of=run(FINISHED)), TIDY), NOW, obeyed()),
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
        given(state(QUEUED, of=run(CANCELLED)), watch=PollState(looked_at=JUST)),
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
        said(lost("the run was cancelled")),
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
        said(lost("the run was cancelled")),
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
                reason="session 1 has waited 6 h 0 min for a machine: look at https://www.kaggle.com/code/me/r-0001-s0001; "
                "relay goes on by itself once it runs, and relay resume r-0001 --abandon-session gives it up after you "
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


# --- work beside a wait ----------------------------------------------------------

LOOKED = PollState(looked_at=JUST)
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
        given(state(PUBLISHING, BEHIND, checkpoints=(COLLECTED,)), watch=replace(LOOKED, dataset_looked_at=JUST)),
        POLLED_SOON,
    ),
    row(
        "its next look is due",
        given(state(PUBLISHING, BEHIND, checkpoints=(COLLECTED,)), watch=replace(LOOKED, dataset_looked_at=LONG_AGO)),
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
    row("a request to prune is done", given(state(LIVE, checkpoints=FOUR[2:]), TIDY, watch=LOOKED), obeyed()),
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


def test_a_timed_out_session_widens_the_next_ones_margin() -> None:
    known = reached(step(50), gained(2, outcome=Outcome.TIMED_OUT))
    known = replace(known, checkpoints=(*known.checkpoints, checkpoint(2, step(60))))
    command = decide(given(known), PIPELINE, LIMITS, NOW)
    assert isinstance(command, Append)
    (plan,) = command.facts
    assert isinstance(plan, SessionPlanned)
    assert (plan.number, plan.budget_s, plan.limit_s) == (3, 890.0, 1000.0)
