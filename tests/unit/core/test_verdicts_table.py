"""How a session ended: what it left · the verdict · why. And that no foreign or damaged thing is believed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kaggle_kernels import build
from orchestrator.base.clock import VirtualClock
from orchestrator.core.plan import order_for, token_of
from orchestrator.engine.checkpoint_copies import CheckpointCopies
from orchestrator.engine.collecting.collect import collect_output
from orchestrator.engine.collecting.judgement import concluded
from orchestrator.engine.effects import EffectContext
from orchestrator.engine.effects.push import push
from orchestrator.platforms.port import Worker
from stages.contract import (
    MANIFEST_NAME,
    OUTPUT_DIRECTORY,
    REPORT_NAME,
    REPORT_SEAL_NAME,
    Cursor,
    Manifest,
    Progress,
    Report,
    checkpoint_folder,
    seal_of,
)
from state.facts.checkpoint import CheckpointDamaged, CheckpointInspected, CheckpointWithdrawn
from state.facts.run import RunParked
from state.facts.session import NothingCollected, OutputCollected, PushConfirmed, PushUnclear
from state.model.run_state import Session
from state.model.statuses import Phase
from tests.unit.core.situations import (
    LIMITS,
    PIPELINE,
    RUN,
    at,
    checkpoint,
    gained,
    given,
    manifest,
    row,
    run,
    session,
    state,
    step,
)
from tests.unit.core.small_kaggle import ENTRY, STATE, SmallKaggle, home_of, log, quarantine_of


def ended(worker: Worker = Worker.COMPLETE, message: str = "", **changes: Any) -> Session:
    """A session of 1,000 s that started at step 10."""
    return session(Phase.ENDED, start=step(10), worker=worker.value, worker_message=message, **changes)


def report(outcome: str = "yielded", **changes: Any) -> Report:
    """Its report."""
    usual: dict[str, Any] = {
        "run": RUN, "session": 1, "attempt": 1, "token": "t1.1", "outcome": outcome, "started": step(10),
        "reached": step(60),
    }  # fmt: skip
    return Report(**{**usual, **changes})


def event(name: str, at_s: float = 1.0, **changes: Any) -> str:
    return Progress(number=0, event=name, at_s=at_s, **changes).line()


def did(number: int, at_s: float = 1.0, stage: str = "a") -> str:
    return event("step", at_s, stage=stage, step=number)


TAKEN = manifest(step(50))
NO_LOG: tuple[str, ...] = ()
CANCELLED = Worker.CANCEL_ACKNOWLEDGED
LIMIT = "Your notebook was stopped because it exceeded the max allowed execution duration."
SECONDS = {"training_step": 100.0, "compile": 40.0}
LONG_LOG = tuple(f"line {number}" for number in range(30))

VERDICTS = [
    row("it stopped itself in time", ended(), report(), NO_LOG, TAKEN, {"outcome": "yielded"}),
    row("it finished", ended(), report("finished"), NO_LOG, TAKEN, {"outcome": "finished", "excerpt": ""}),
    row(
        "it failed and said why",
        ended(Worker.ERROR),
        report("failed", cause="bad-data", reason="it broke", transient=True, traceback="the traceback"),
        ("a line",),
        None,
        {
            "outcome": "failed",
            "cause": "bad-data",
            "reason": "it broke",
            "transient": True,
            "excerpt": "the traceback",
        },
    ),
    row(
        "without a traceback the log's end is shown",
        ended(),
        report("failed"),
        ("a line",),
        None,
        {"excerpt": "a line"},
    ),
    row("one that did not fail needs no excerpt", ended(), report(), ("a line",), TAKEN, {"excerpt": ""}),
    row(
        "a report's texts are cut",
        ended(),
        report("failed", cause="c" * 201, reason="r" * 2001, traceback="x" + "t" * 20_000),
        NO_LOG,
        None,
        {"cause": "c" * 200, "reason": "r" * 2000, "excerpt": "t" * 20_000},
    ),
    row(
        "no report: it ended without one",
        ended(),
        None,
        LONG_LOG,
        None,
        {
            "outcome": "failed",
            "cause": "no-report",
            "reason": "the session ended without a report",
            "transient": True,
            "excerpt": "\n".join(LONG_LOG[10:]),
        },
    ),
    row(
        "no report, and Kaggle says error",
        ended(Worker.ERROR),
        None,
        NO_LOG,
        None,
        {"cause": "no-report", "reason": "the session ended without notice", "transient": True},
    ),
    row(
        "Kaggle's own message comes first",
        ended(Worker.ERROR, "out of memory"),
        None,
        NO_LOG,
        None,
        {"reason": "out of memory"},
    ),
    row("progress is no excerpt", ended(), None, ("a line", did(11)), None, {"excerpt": "a line"}),
    row("a long line is cut", ended(), None, ("x" * 2001,), None, {"excerpt": "x" * 2000}),
    # --- cancelled on Kaggle
    row(
        "Kaggle says that it stopped it at its limit",
        ended(CANCELLED, LIMIT),
        None,
        NO_LOG,
        None,
        {
            "outcome": "timed_out",
            "cause": "time-limit",
            "reason": "Kaggle stopped it at its time limit",
            "transient": False,
        },
    ),
    row("its last event was near the limit", ended(CANCELLED), None, (did(11, 950.0),), None, {"outcome": "timed_out"}),
    row(
        "its last event was long before",
        ended(CANCELLED),
        None,
        (did(11, 949.0), did(12, 9.0)),
        None,
        {"outcome": "failed", "cause": "cancelled", "reason": "it was cancelled on Kaggle", "transient": True},
    ),
    row(
        "nothing tells how long it ran",
        ended(CANCELLED, "by you"),
        None,
        NO_LOG,
        None,
        {"outcome": "failed", "reason": "by you"},
    ),
    row(
        "a cancelled one's report is not its end",
        ended(CANCELLED),
        report("finished"),
        NO_LOG,
        TAKEN,
        {"outcome": "failed", "cause": "cancelled"},
    ),
    # --- how far it got
    row(
        "nothing is known: it is where it started", ended(), None, NO_LOG, None, {"furthest": step(10), "steps_lost": 0}
    ),
    row("its report says where", ended(), report(), NO_LOG, TAKEN, {"furthest": step(60), "steps_lost": 10}),
    row("its log says where", ended(), None, (did(63), did(62)), TAKEN, {"furthest": step(63), "steps_lost": 13}),
    row(
        "its checkpoint says where",
        ended(),
        report(reached=step(20)),
        NO_LOG,
        TAKEN,
        {"furthest": step(50), "steps_lost": 0},
    ),
    row("without a checkpoint all is lost", ended(), report(), NO_LOG, None, {"steps_lost": 50}),
    row(
        "the next stage is further",
        ended(),
        report(),
        (did(3, stage="b"),),
        TAKEN,
        {"furthest": step(3, "b"), "steps_lost": 53},
    ),
    row(
        "no such step",
        ended(),
        report(reached=step(101)),
        (did(99, stage="c"), did(102)),
        TAKEN,
        {"furthest": step(50)},
    ),
    row("only steps count", ended(), None, (event("stage", stage="a", step=70),), TAKEN, {"furthest": step(50)}),
    # --- where its time went
    row("the report's seconds", ended(), report(seconds=SECONDS), NO_LOG, TAKEN, {"seconds": SECONDS}),
    row(
        "or the log's newest",
        ended(),
        None,
        (event("account", seconds={"compile": 9.0}), event("account", seconds=SECONDS)),
        TAKEN,
        {"seconds": SECONDS},
    ),
    row(
        "the log never goes back",
        ended(),
        None,
        (event("account", seconds=SECONDS), event("account", seconds={"compile": 9.0})),
        TAKEN,
        {"seconds": SECONDS},
    ),
    row(
        "what makes no sense is left out",
        ended(),
        report(seconds={"training_step": -1.0, "compile": 43_201.0, "x": 1.0, "other": 43_200.0}),
        NO_LOG,
        TAKEN,
        {"seconds": {"other": 43_200.0}},
    ),
    row(
        "timings that make sense",
        ended(),
        report(timings={"save_s": 4.0, "x_s": -1.0, "y_s": 43_201.0, "z_s": 0.0}),
        NO_LOG,
        TAKEN,
        {"timings": {"save_s": 4.0, "z_s": 0.0}},
    ),
    row("no report, no timings", ended(), None, NO_LOG, TAKEN, {"timings": {}}),
    # --- what of it was kept
    row(
        "all steps are in the checkpoint",
        ended(),
        report(seconds=SECONDS, reached=step(50)),
        NO_LOG,
        TAKEN,
        {"kept_s": 100.0},
    ),
    row("no checkpoint keeps no seconds", ended(), report(seconds=SECONDS), NO_LOG, None, {"kept_s": 0.0}),
    row(
        "a share of the steps keeps its share of the seconds",
        ended(),
        report(seconds=SECONDS),
        NO_LOG,
        TAKEN,
        {"kept_s": 80.0},
    ),
    row(
        "the log tells exactly what was kept",
        ended(),
        report(seconds=SECONDS),
        (event("saved", note=TAKEN.digest, seconds={"training_step": 70.0}),),
        TAKEN,
        {"kept_s": 70.0},
    ),
    row(
        "another checkpoint's seconds are not kept",
        ended(),
        report(seconds=SECONDS),
        (event("saved", note="another", seconds={"training_step": 70.0}),),
        TAKEN,
        {"kept_s": 80.0},
    ),
    row(
        "never more than all",
        ended(),
        report(seconds=SECONDS),
        (event("saved", note=TAKEN.digest, seconds={"training_step": 170.0}),),
        TAKEN,
        {"kept_s": 100.0},
    ),
]


@pytest.mark.parametrize(("of", "said", "lines", "taken", "verdict"), VERDICTS)
def test_an_ended_session_is_judged_by_what_it_left(
    of: Session,
    said: Report | None,
    lines: tuple[str, ...],
    taken: Manifest | None,
    verdict: dict[str, Any],
    tmp_path: Path,
) -> None:
    home = home_of(tmp_path)
    if lines:
        log(home, of, *lines)
    fact = concluded(of, PIPELINE, said, home, taken)
    assert {name: getattr(fact.judgement, name) for name in verdict} == verdict
    if taken is None:
        assert fact == NothingCollected(number=1, attempt=1, judgement=fact.judgement)
    else:
        assert fact == OutputCollected(
            number=1, attempt=1, judgement=fact.judgement, checkpoint=f"{RUN}-c0001", manifest=taken
        )


# --- what is believed of a session's output ----------------------------------------


def sealed(said: Report) -> dict[str, bytes]:
    data = said.to_json().encode()
    return {f"{OUTPUT_DIRECTORY}/{REPORT_NAME}": data, f"{OUTPUT_DIRECTORY}/{REPORT_SEAL_NAME}": seal_of(data)}


def left(*cursors: Cursor, **changes: Any) -> SmallKaggle:
    kaggle = SmallKaggle(files=sealed(report()))
    for cursor in cursors:
        kaggle.leave(manifest(cursor, files=(ENTRY,), **changes))
    return kaggle


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        row("its own report", report("failed", cause="bad-data"), "bad-data"),
        row("another run's", report("failed", cause="bad-data", run="q-0001"), "no-report"),
        row("another session's", report("failed", cause="bad-data", session=2), "no-report"),
        row("another attempt's", report("failed", cause="bad-data", attempt=2), "no-report"),
        row("one of a session of the same name", report("failed", cause="bad-data", token="t9"), "no-report"),
        row("an outcome that no session has", report("lost", cause="bad-data"), "no-report"),
        row("a session does not time itself out", report("timed_out", cause="bad-data"), "no-report"),
    ],
)
def test_only_a_sessions_own_report_is_believed(said: Report, cause: str, tmp_path: Path) -> None:
    kaggle, home, of = SmallKaggle(files=sealed(said)), home_of(tmp_path), ended()
    fact = collect_output(state(of), of, PIPELINE, kaggle.gateway, quarantine_of(home))
    assert fact.judgement.cause == cause


def test_a_report_that_differs_from_its_seal_is_not_believed(tmp_path: Path) -> None:
    kaggle, home, of = left(), home_of(tmp_path), ended()
    kaggle.files[f"{OUTPUT_DIRECTORY}/{REPORT_SEAL_NAME}"] = seal_of(b"another")
    fact = collect_output(state(of), of, PIPELINE, kaggle.gateway, quarantine_of(home))
    assert fact.judgement.cause == "no-report"


@pytest.mark.parametrize(
    ("kaggle", "taken"),
    [
        row("the newest", left(step(20), step(50), step(30)), step(50)),
        row("a later stage is newer", left(step(90), step(1, "b")), step(1, "b")),
        row("a step after the start", left(step(11)), step(11)),
        row("the session's start is nothing new", left(step(10)), None),
        row("before its start is nothing new", left(step(9)), None),
        row("nothing", left(), None),
        row("another run's", left(step(50), run="q-0001"), None),
        row("another session's", left(step(50), session=2), None),
        row("another attempt's", left(step(50), attempt=2), None),
        row("one of a session of the same name", left(step(50), token="t9"), None),
        row("one with another parent", left(step(50), parent="another"), None),
        row("a step that the pipeline lacks", left(step(101)), None),
    ],
)
def test_the_newest_checkpoint_that_is_the_sessions_own_is_taken(
    kaggle: SmallKaggle, taken: Cursor | None, tmp_path: Path
) -> None:
    home, of = home_of(tmp_path), ended()
    fact = collect_output(state(of), of, PIPELINE, kaggle.gateway, quarantine_of(home))
    assert (fact.manifest.cursor if isinstance(fact, OutputCollected) else None) == taken
    here = home.checkpoint(RUN, f"{RUN}-c0001") / "state.bin"
    assert here.exists() is (taken is not None)


def test_an_older_checkpoint_is_taken_where_the_newest_is_damaged(tmp_path: Path) -> None:
    kaggle, home, of = left(step(20), step(50)), home_of(tmp_path), ended()
    kaggle.files[f"{checkpoint_folder(step(50))}/state.bin"] = b"damaged!!"
    quarantine = quarantine_of(home)
    fact = collect_output(state(of), of, PIPELINE, kaggle.gateway, quarantine)
    assert isinstance(fact, OutputCollected) and fact.manifest.cursor == step(20)
    assert [(found.file, found.place) for found in quarantine.found][:1] == [("state.bin", "output")]


# --- a damaged data set --------------------------------------------------------------

MINE = manifest(step(50), files=(ENTRY,))
NAME = f"{RUN}-c0001"
WHOLE = {MANIFEST_NAME: MINE.to_json().encode(), "state.bin": STATE}
BROKEN = {**WHOLE, "state.bin": b"damaged!!"}


@pytest.mark.parametrize(
    ("dataset", "here", "output", "fact", "deleted"),
    [
        row("whole there", WHOLE, WHOLE, False, CheckpointInspected, False),
        row("whole there, not here", WHOLE, BROKEN, False, CheckpointInspected, False),
        row("damaged there, whole here", BROKEN, WHOLE, False, CheckpointWithdrawn, True),
        row("damaged there, fetched here again", BROKEN, BROKEN, True, CheckpointWithdrawn, True),
        row("damaged there and here: the data set stays", BROKEN, BROKEN, False, CheckpointDamaged, False),
        row("damaged there and missing here: the data set stays", BROKEN, {}, False, CheckpointDamaged, False),
        row("too short there, whole here", {**WHOLE, "state.bin": b"short"}, WHOLE, False, CheckpointWithdrawn, True),
        row("missing there, whole here", {MANIFEST_NAME: WHOLE[MANIFEST_NAME]}, WHOLE, False, CheckpointWithdrawn, True),
    ],
)  # fmt: skip
def test_a_damaged_data_set_is_deleted_only_beside_a_whole_copy_here(
    dataset: dict[str, bytes], here: dict[str, bytes], output: bool, fact: type[object], deleted: bool, tmp_path: Path
) -> None:
    kaggle, home = SmallKaggle(datasets={NAME: dict(dataset)}), home_of(tmp_path)
    if output:
        kaggle.leave(MINE)
    folder = home.checkpoint(RUN, NAME)
    folder.mkdir(parents=True)
    for name, data in here.items():
        (folder / name).write_bytes(data)
    of, kept = gained(1), replace(checkpoint(1, step(50)), manifest=MINE.to_json(), digest=MINE.digest)
    copies = CheckpointCopies(kept, of, kaggle.gateway, home, quarantine_of(home), run())
    found = copies.verify_dataset(PIPELINE)
    assert type(found) is fact
    assert kaggle.deleted == ([NAME] if deleted else [])
    if deleted:
        assert (folder / "state.bin").read_bytes() == STATE


# --- what another state of this home folder did -----------------------------------------

ME, GENERATION = "me@here", 5
PLANNED = session(Phase.PUSHING, token=token_of(state(), 1, 1))


def kernel_of(home: str, generation: int) -> str:
    known = state(PLANNED, of=run(generation=generation))
    return build.script(order_for(known, PLANNED, PIPELINE, home))


def pushed(of: Session, kaggle: SmallKaggle, folder: Path, **changes: Any) -> tuple[object, ...]:
    known = state(of, of=run(generation=GENERATION, home=ME, **changes))
    shell = EffectContext(kaggle.gateway, home_of(folder), VirtualClock(at(0)), LIMITS, ME)
    return push(given(known), of, PIPELINE, shell).facts


@pytest.mark.parametrize(
    ("of", "home", "generation", "says"),
    [
        row(
            "this home never pushed it: it was restored from a backup",
            PLANNED, ME, GENERATION, "this one was brought back from a backup",
        ),
        row("a later state of this home did", PLANNED, ME, GENERATION + 1, "by a later state of this home folder"),
        row("another home of this generation did", PLANNED, "you@there", GENERATION, "by the home folder you@there"),
        row("an earlier home did: it is adopted", PLANNED, "you@there", GENERATION - 1, ""),
        row("this home may have: it is adopted", replace(PLANNED, unclear=1), ME, GENERATION, ""),
        row("Kaggle kept its declined push: it is adopted", replace(PLANNED, declined=True), ME, GENERATION, ""),
    ],
)  # fmt: skip
def test_a_kernel_that_this_home_never_pushed_is_noticed(
    of: Session, home: str, generation: int, says: str, tmp_path: Path
) -> None:
    kaggle = SmallKaggle(kernels={of.slug: kernel_of(home, generation)})
    facts = pushed(of, kaggle, tmp_path)
    assert kaggle.pushed == []
    if says:
        parked = facts[-1]
        assert isinstance(parked, RunParked) and says in parked.reason
        assert parked.remedy == f"relay resume {RUN} --take-over"
    else:
        assert facts == (PushConfirmed(number=1, attempt=1, kernel_version=1, adopted=True),)


def test_a_home_that_was_restored_searches_for_a_push_before_it_pushes(tmp_path: Path) -> None:
    kaggle = SmallKaggle()
    (fact,) = pushed(PLANNED, kaggle, tmp_path, foreign_push_possible=True)
    assert isinstance(fact, PushUnclear) and "restored from a backup" in fact.reason
    assert kaggle.pushed == []
    assert pushed(PLANNED, kaggle, tmp_path) == (PushConfirmed(number=1, attempt=1, kernel_version=1),)
    assert kaggle.pushed == [PLANNED.slug]
