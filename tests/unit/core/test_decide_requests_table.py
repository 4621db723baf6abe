"""How a user's request is answered: given what is known and asked · the command · why."""

from dataclasses import replace

import pytest

from orchestrator.core.commands import Append, Command
from orchestrator.core.decide import decide
from orchestrator.core.decide_request import answered
from orchestrator.pipeline.model import Pipeline, SessionLimits, Stage
from state.facts.checkpoint import CheckpointWithdrawn
from state.facts.run import PipelineChanged, PipelineKept, RunCancelled, RunParked, RunResumed, RunTakenOver
from state.facts.session import SessionResized, SessionSought
from state.model.poll_state import PollState
from state.model.snapshot import Request, Snapshot
from state.model.statuses import Phase, RunStatus
from tests.unit.core.decisions import (
    CANCELLED,
    COLLECTED,
    FINISHED,
    PARKED,
    SLUG,
    WAITING,
    fulfilled,
    lost,
)
from tests.unit.core.situations import (
    LIMITS,
    MOUNTS_OUTPUT,
    NOW,
    PIPELINE,
    RUN,
    at,
    checkpoint,
    gained,
    given,
    pipeline,
    request,
    row,
    run,
    session,
    state,
    step,
)

PAUSED = RunParked(reason="paused by you", remedy=f"relay resume {RUN}")
ABANDONED = lost("you abandoned it")
UNWATCHED = session(Phase.LOST, cause="run-cancelled")
SOUGHT = SessionSought(number=1, attempt=1)
PUBLISHED_ONCE = state(gained(1), checkpoints=(checkpoint(1, step(50)),), of=run(CANCELLED))
WITHDRAWN = CheckpointWithdrawn(
    number=1, attempt=1, reason="its dataset is gone from Kaggle", dataset=f"{RUN}-c0001-n2"
)
TIMESTAMP = int(at(-10).timestamp())
LATER = 2_000_000_000_000


CHANGED = pipeline(session=SessionLimits(limit_s=2000.0, margin_s=100.0, min_session_s=250.0))
SEEDED = pipeline(seed=1)
RENAMED = pipeline(stages=(Stage(name="z", kind="counting", steps=100), *PIPELINE.stages[1:]))
BEGUN = run(pipeline=PIPELINE.canonical())
PARKED_RUN = run(PARKED, pipeline=PIPELINE.canonical())


def edited(to: Pipeline = CHANGED, verb: str = "edit", **more: str) -> Request:
    """A request to change the pipeline."""
    return request(verb, pipeline=to.canonical(), path="new.yaml", by="ann@laptop", text="name: r", **more)


GIVEN_UP = lost("the pipeline was changed", cause="pipeline-changed")


def changed(to: Pipeline = CHANGED) -> PipelineChanged:
    return PipelineChanged(
        pipeline=to.canonical(),
        pipeline_digest=to.digest,
        pipeline_path="new.yaml",
        difference="session.limit_s: 1000.0 → 2000.0",
        by="ann@laptop",
        pipeline_text="name: r",
    )


REQUESTS = [
    row("pause parks", given(state(), request("pause")), fulfilled(PAUSED)),
    row("a waiting run is paused too", given(state(of=run(WAITING)), request("pause")), fulfilled(PAUSED)),
    row("a parked run is not paused again", given(state(of=run(PARKED)), request("pause")), fulfilled()),
    row("resume goes on", given(state(of=run(PARKED)), request("resume")), fulfilled(RunResumed())),
    row("retry is the same", given(state(of=run(PARKED)), request("retry")), fulfilled(RunResumed())),
    row("a wait is ended by resume", given(state(of=run(WAITING)), request("resume")), fulfilled(RunResumed())),
    row("a wait is ended by retry", given(state(of=run(WAITING)), request("retry")), fulfilled(RunResumed())),
    row("an active run needs no resume", given(state(), request("resume")), fulfilled()),
    row("an active run needs no retry", given(state(), request("retry", take_over="h")), fulfilled()),
    row("a finished run is not resumed", given(state(of=run(FINISHED)), request("resume")), fulfilled()),
    row("cancel ends an active run", given(state(), request("cancel")), fulfilled(RunCancelled())),
    row("cancel ends a wait", given(state(of=run(WAITING)), request("cancel")), fulfilled(RunCancelled())),
    row("cancel ends a parked run", given(state(of=run(PARKED)), request("cancel")), fulfilled(RunCancelled())),
    row("a finished run is not cancelled", given(state(of=run(FINISHED)), request("cancel")), fulfilled()),
    row("a cancelled run is not cancelled again", given(state(of=run(CANCELLED)), request("cancel")), fulfilled()),
    row(
        "a cancel is taken back by resume", given(state(of=run(CANCELLED)), request("resume")), fulfilled(RunResumed())
    ),
    row("a cancel is not taken back by retry", given(state(of=run(CANCELLED)), request("retry")), fulfilled()),
    *(
        row(
            f"a cancel is taken back while its session is {phase}, which stays",
            given(state(session(phase), of=run(CANCELLED)), request("resume")),
            fulfilled(RunResumed()),
        )
        for phase in (Phase.PLANNED, Phase.PUSHING, Phase.PUSHED, Phase.QUEUED, Phase.RUNNING, Phase.ENDED, Phase.LOST)
    ),
    row(
        "a session that was given up with its run is looked for again",
        given(state(UNWATCHED, of=run(CANCELLED)), request("resume")),
        fulfilled(RunResumed(), SOUGHT),
    ),
    row(
        "a session that was given up with its run may still run: no older checkpoint",
        given(state(UNWATCHED, of=run(CANCELLED)), request("resume", checkpoint="c")),
        fulfilled(),
    ),
    row(
        "a session that was given up with its run is abandoned for good",
        given(state(UNWATCHED, of=run(CANCELLED)), request("resume", checkpoint="c", abandon_session=SLUG)),
        fulfilled(RunResumed(checkpoint="c"), SOUGHT, ABANDONED),
    ),
    row(
        "another session that the user saw is not abandoned",
        given(state(UNWATCHED, of=run(CANCELLED)), request("resume", abandon_session=f"{RUN}-s0002")),
        fulfilled(RunResumed(), SOUGHT),
    ),
    row(
        "a cancel is taken back from an older checkpoint",
        given(state(gained(1), of=run(CANCELLED)), request("resume", checkpoint="c")),
        fulfilled(RunResumed(checkpoint="c")),
    ),
    row(
        "a checkpoint whose dataset was deleted is published again under another name",
        given(PUBLISHED_ONCE, request("resume", republish=f"{RUN}-c0001")),
        fulfilled(RunResumed(), WITHDRAWN),
    ),
    row(
        "a planned session would mount that dataset, and is planned anew",
        given(
            replace(PUBLISHED_ONCE, sessions=(*PUBLISHED_ONCE.sessions, session(Phase.PLANNED, number=2))),
            request("resume", republish=f"{RUN}-c0001"),
        ),
        fulfilled(RunResumed(), lost("its dataset is gone from Kaggle", number=2), WITHDRAWN),
    ),
    row(
        "what is not published is not withdrawn",
        given(
            state(gained(1, Phase.COLLECTED), checkpoints=(COLLECTED,), of=run(CANCELLED)),
            request("resume", republish=f"{RUN}-c0001"),
        ),
        fulfilled(RunResumed()),
    ),
    row(
        "nothing is withdrawn for a request that no longer applies",
        given(
            replace(PUBLISHED_ONCE, sessions=(*PUBLISHED_ONCE.sessions, session(Phase.RUNNING, number=2))),
            request("resume", checkpoint=f"{RUN}-c0001", republish=f"{RUN}-c0001"),
        ),
        fulfilled(),
    ),
    row(
        "a cancel is taken back by another home",
        given(state(of=run(CANCELLED)), request("resume", take_over="h2")),
        fulfilled(RunTakenOver(home="h2", generation=TIMESTAMP), RunResumed()),
    ),
    row(
        "a published checkpoint of a parked run is published again too",
        given(replace(PUBLISHED_ONCE, run=run(PARKED)), request("retry", republish=f"{RUN}-c0001")),
        fulfilled(RunResumed(), WITHDRAWN),
    ),
    # --- changes of the pipeline
    row("an active run's pipeline changes", given(state(of=BEGUN), edited()), fulfilled(changed())),
    row("a parked run's too, and it stays parked", given(state(of=PARKED_RUN), edited()), fulfilled(changed())),
    row("a change that changes nothing", given(state(of=BEGUN), edited(PIPELINE)), fulfilled()),
    row(
        "a cancelled run's pipeline stays",
        given(state(of=run(CANCELLED, pipeline=PIPELINE.canonical())), edited()),
        fulfilled(PipelineKept(reason="the run was cancelled before that")),
    ),
    *(
        row(
            f"a change does not wait for a session that is {phase}",
            given(state(gained(1, phase), checkpoints=(checkpoint(1, step(50)),), of=BEGUN), edited()),
            fulfilled(changed()),
        )
        for phase in (Phase.COLLECTED, Phase.PUBLISHING, Phase.PUBLISHED)
    ),
    *(
        row(
            f"a change waits for the end of a session that is {phase}, and holds no other request up",
            given(state(session(phase), of=BEGUN), edited(), replace(request("cancel"), id=8)),
            Append((RunCancelled(),), 8),
        )
        for phase in (Phase.PUSHING, Phase.PUSHED, Phase.QUEUED, Phase.RUNNING, Phase.ENDED)
    ),
    row(
        "a planned session gets the new limit",
        given(state(session(Phase.PLANNED), of=BEGUN), edited()),
        fulfilled(changed(), SessionResized(number=1, attempt=1, budget_s=1900.0, limit_s=2000.0)),
    ),
    row(
        "a planned session whose push was unclear may have the old order, and is given up",
        given(state(session(Phase.PLANNED, unclear=1), of=BEGUN), edited()),
        fulfilled(changed(), GIVEN_UP),
    ),
    row(
        "a planned session that would start elsewhere is given up",
        given(state(session(Phase.PLANNED), of=BEGUN), edited(RENAMED)),
        fulfilled(
            replace(
                changed(RENAMED),
                difference="stage a: removed\nstage z: added, counting, 100 steps",
            ),
            GIVEN_UP,
        ),
    ),
    row(
        "one that would mount its parent's output too",
        given(state(session(Phase.PLANNED), of=BEGUN), edited(MOUNTS_OUTPUT)),
        fulfilled(replace(changed(MOUNTS_OUTPUT), difference='handoff: "dataset" → "kernel-output"'), GIVEN_UP),
    ),
    row(
        "a planned session may run already, by a push before the run was taken over: the change waits, and others do not",
        given(
            state(session(Phase.PLANNED), of=replace(BEGUN, foreign_push_possible=True)),
            edited(),
            replace(request("cancel"), id=8),
        ),
        Append((RunCancelled(),), 8),
    ),
    row(
        "a change that has become impossible is refused, and the run goes on",
        given(state(gained(1), checkpoints=(checkpoint(1, step(50)),), of=BEGUN), edited(SEEDED)),
        fulfilled(
            PipelineKept(
                reason="seed cannot change from 0 to 1, since it orders the examples and draws the samples: undo that "
                f"change, or begin another run from a checkpoint of this one with relay fork {RUN}"
            )
        ),
    ),
    row(
        "a retry with a changed pipeline resumes the run",
        given(state(of=PARKED_RUN), edited(verb="retry")),
        fulfilled(RunResumed(), changed()),
    ),
    row(
        "a retry with a pipeline that cannot be resumes nothing",
        given(
            state(gained(1), checkpoints=(checkpoint(1, step(50)),), of=PARKED_RUN),
            edited(SEEDED, verb="retry"),
        ),
        fulfilled(
            PipelineKept(
                reason="seed cannot change from 0 to 1, since it orders the examples and draws the samples: undo that "
                f"change, or begin another run from a checkpoint of this one with relay fork {RUN}"
            )
        ),
    ),
    row(
        "a retry with a changed pipeline leaves a session alone that follows the old one",
        given(state(session(Phase.QUEUED), of=PARKED_RUN), edited(verb="retry")),
        fulfilled(PipelineKept(reason="session 1 follows the pipeline as it is and has not ended")),
    ),
    row(
        "unless that session is abandoned",
        given(state(session(Phase.QUEUED), of=PARKED_RUN), edited(verb="retry", abandon_session=SLUG)),
        fulfilled(ABANDONED, RunResumed(), changed()),
    ),
    row(
        "a change that waits would undo the retry's, and is refused before that",
        given(
            state(session(Phase.QUEUED), of=PARKED_RUN),
            edited(RENAMED),
            replace(edited(verb="retry", abandon_session=SLUG), id=8),
        ),
        fulfilled(PipelineKept(reason="a later relay retry --pipeline takes its place")),
    ),
    row(
        "from an older checkpoint the seed may not change, and the limit may",
        given(
            state(gained(1), gained(2), checkpoints=(checkpoint(1, step(50)), checkpoint(2, step(80))), of=PARKED_RUN),
            edited(verb="retry", checkpoint=f"{RUN}-c0001"),
        ),
        fulfilled(RunResumed(checkpoint=f"{RUN}-c0001"), changed()),
    ),
    row(
        "the first request comes first",
        given(state(), request("cancel"), replace(request("pause"), id=8)),
        fulfilled(RunCancelled()),
    ),
    row(
        "a request to prune holds no other up",
        given(state(), replace(request("prune"), id=6), request("pause")),
        fulfilled(PAUSED),
    ),
    row(
        "a request is answered while calls fail",
        given(state(), request("pause"), watch=PollState(not_before=at(60), failures=99, failing_s=9e9)),
        fulfilled(PAUSED),
    ),
    row(
        "another home takes an active run over",
        given(state(), request("resume", take_over="h2")),
        fulfilled(RunTakenOver(home="h2", generation=TIMESTAMP)),
    ),
    row(
        "a takeover exceeds this home's generation",
        given(state(of=run(generation=LATER)), request("resume", take_over="h2")),
        fulfilled(RunTakenOver(home="h2", generation=LATER + 1)),
    ),
    row(
        "a takeover exceeds the generation that was seen elsewhere",
        given(state(of=run(PARKED, generation=5, overtaken_by=LATER)), request("retry", take_over="h2")),
        fulfilled(RunTakenOver(home="h2", generation=LATER + 1), RunResumed()),
    ),
    row(
        "a takeover may abandon the session at once",
        given(state(session(Phase.RUNNING)), request("resume", take_over="h2", abandon_session=SLUG)),
        fulfilled(RunTakenOver(home="h2", generation=TIMESTAMP), ABANDONED),
    ),
    *(
        row(
            f"an active run's session that is {phase} is abandoned by {verb}",
            given(state(session(phase)), request(verb, abandon_session=SLUG)),
            fulfilled(ABANDONED),
        )
        for phase in (Phase.PUSHED, Phase.QUEUED, Phase.RUNNING, Phase.ENDED)
        for verb in ("resume", "retry")
    ),
    *(
        row(
            f"a session that is {phase} cannot be abandoned",
            given(state(session(phase)), request("resume", abandon_session=SLUG)),
            fulfilled(),
        )
        for phase in (Phase.PLANNED, Phase.PUSHING, Phase.COLLECTED, Phase.PUBLISHED, Phase.LOST)
    ),
    row(
        "only the session that the user saw is abandoned",
        given(state(session(Phase.RUNNING)), request("resume", abandon_session=f"{RUN}-s0002")),
        fulfilled(),
    ),
    row("without a session none is abandoned", given(state(), request("resume", abandon_session=SLUG)), fulfilled()),
    row(
        "resume of a parked run abandons the session",
        given(state(session(Phase.QUEUED), of=run(PARKED)), request("resume", abandon_session=SLUG)),
        fulfilled(ABANDONED, RunResumed()),
    ),
    row(
        "resume of a parked run keeps the session",
        given(state(session(Phase.QUEUED), of=run(PARKED)), request("resume")),
        fulfilled(RunResumed()),
    ),
    row(
        "a planned session has nothing to abandon",
        given(state(session(Phase.PLANNED), of=run(PARKED)), request("resume", abandon_session=SLUG)),
        fulfilled(RunResumed()),
    ),
    row(
        "an older checkpoint replaces the planned session",
        given(state(session(Phase.PLANNED), of=run(PARKED)), request("resume", checkpoint="c")),
        fulfilled(lost("you chose an older checkpoint to continue from"), RunResumed(checkpoint="c")),
    ),
    row(
        "the planned session stays without one",
        given(state(session(Phase.PLANNED), of=run(PARKED)), request("resume")),
        fulfilled(RunResumed()),
    ),
    *(
        row(
            f"no older checkpoint while a session is {phase}",
            given(state(session(phase), of=run(PARKED)), request("resume", checkpoint="c")),
            fulfilled(),
        )
        for phase in (Phase.PUSHING, Phase.PUSHED, Phase.QUEUED, Phase.RUNNING, Phase.ENDED)
    ),
    row(
        "an older checkpoint once the session is over",
        given(state(gained(1), of=run(PARKED)), request("resume", checkpoint="c")),
        fulfilled(RunResumed(checkpoint="c")),
    ),
    row(
        "an older checkpoint before any session",
        given(state(of=run(PARKED)), request("resume", checkpoint="c")),
        fulfilled(RunResumed(checkpoint="c")),
    ),
]


@pytest.mark.parametrize(("snapshot", "command"), REQUESTS)
def test_a_request_is_answered_first(snapshot: Snapshot, command: Command) -> None:
    assert decide(snapshot, PIPELINE, LIMITS, NOW) == command


def test_a_change_that_waits_counts_as_made_for_the_next_one() -> None:
    known = state(session(Phase.RUNNING), of=BEGUN)
    more = replace(edited(RENAMED), id=8)
    assert answered(known, (edited(), more), NOW).run.pipeline == RENAMED.canonical()
    assert answered(known, (edited(),), NOW).run.pipeline == CHANGED.canonical()
    parked, retried = replace(known, run=PARKED_RUN), edited(verb="retry", abandon_session=SLUG)
    found = answered(parked, (edited(RENAMED), replace(retried, id=8)), NOW).run
    assert (found.pipeline, found.status) == (CHANGED.canonical(), RunStatus.ACTIVE), "the later change holds"
    cancel = replace(request("cancel"), id=8)
    assert answered(known, (edited(), cancel), NOW).run.pipeline == PIPELINE.canonical(), "a cancel forgets it"
