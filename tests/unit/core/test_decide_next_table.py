"""How the next session is prepared: given what is known · the pipeline · the command · why."""

from dataclasses import replace

import pytest

from orchestrator.core.commands import (
    Append,
    Command,
    PollTwin,
    Publish,
    PublishInputs,
    Push,
    ReadQuota,
    VerifyDataset,
    Wait,
)
from orchestrator.core.decide import decide
from orchestrator.pipeline.model import Pipeline
from state.facts.run import RunFinished, RunParked, RunWaiting
from state.facts.session import SessionPlanned, SessionResized
from state.model.poll_state import PollState
from state.model.snapshot import Snapshot, Waiting
from state.model.statuses import CheckpointStatus, InputsStatus, Outcome, Phase
from tests.unit.core.decisions import (
    COLLECTED,
    JUST,
    KEY,
    LONG_AGO,
    OTHERS,
    PLANNED,
    SLUG,
    planned,
    said,
)
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
    WITH_FILES,
    at,
    checkpoint,
    failed,
    gained,
    given,
    quota,
    reached,
    row,
    run,
    state,
    step,
)

MISSING = {"cause": "parent-missing", "parent": f"{RUN}-c0001", "start": step(50), "transient": True}
CORRUPT = {**MISSING, "cause": "parent-corrupt"}
TWIN = failed(1, twin=4, twin_at=at(-99), transient=True, ended_at=at(-9 * HOUR))


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
        given(state(failed(1, ended_at=at(-9)), of=run(accepted_sessions=1))),
        PIPELINE,
        planned(1, 2),
    ),
    row(
        "failures before the user resumed make no longer wait",
        given(
            state(
                failed(1, transient=True), failed(1, 2, transient=True, ended_at=at(-60)), of=run(accepted_sessions=1)
            )
        ),
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
        given(state(of=run(inputs=InputsStatus.PUBLISHING)), watch=PollState(dataset_polled_at=JUST)),
        WITH_FILES,
        Wait(at(1), "the pipeline's files are being processed"),
    ),
    row(
        "a look at the files is due",
        given(state(of=run(inputs=InputsStatus.PUBLISHING)), watch=PollState(dataset_polled_at=LONG_AGO)),
        WITH_FILES,
        PublishInputs(),
    ),
    row("published files hold nothing up", given(state(of=run(inputs=InputsStatus.PUBLISHED))), WITH_FILES, planned(1)),
    # --- twins
    row("a twin is polled before the next push", given(state(TWIN)), PIPELINE, PollTwin(1, 1)),
    row(
        "a twin's next poll is waited for",
        given(state(TWIN), watch=PollState(polled_at=JUST)),
        PIPELINE,
        Wait(at(1), f"version 4 of {SLUG} is also running"),
    ),
    row("a twin's poll is due", given(state(TWIN), watch=PollState(polled_at=LONG_AGO)), PIPELINE, PollTwin(1, 1)),
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
                reason="4 min 9 s of this week's tpu quota are left, too little to start a session",
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
                "too little to start a session",
            )
        ),
    ),
    row(
        "without a time of renewal the quota is read every quarter of an hour",
        given(state(PLANNED), quota=quota(0.0, refreshes_at=None)),
        PIPELINE,
        said(
            RunWaiting(
                until=at(900).isoformat(), reason="0 s of this week's tpu quota are left, too little to start a session"
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
                reason="0 s of this week's tpu quota are left, too little to start a session; Kaggle has named no time of "
                "renewal that is still to come for 6 h: look at https://www.kaggle.com/settings and at this "
                "machine's clock; relay continues by itself once there are hours again",
                remedy=f"relay resume {RUN}",
                awaits="hours",
            )
        ),
    ),
]


@pytest.mark.parametrize(("snapshot", "of", "command"), NEXT)
def test_the_next_session_is_prepared(snapshot: Snapshot, of: Pipeline, command: Command) -> None:
    assert decide(snapshot, of, LIMITS, NOW) == command


def test_a_timed_out_session_widens_the_next_ones_margin() -> None:
    known = reached(step(50), gained(2, outcome=Outcome.TIMED_OUT))
    known = replace(known, checkpoints=(*known.checkpoints, checkpoint(2, step(60))))
    command = decide(given(known), PIPELINE, LIMITS, NOW)
    assert isinstance(command, Append)
    (plan,) = command.facts
    assert isinstance(plan, SessionPlanned)
    assert (plan.number, plan.budget_s, plan.limit_s) == (3, 890.0, 1000.0)
