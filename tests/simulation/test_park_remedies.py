"""Every park reason of docs/parked.md: the command that the screen shows is typed, and the run goes on from where it was."""

import functools
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.app import requests
from orchestrator.pipeline.model import Pipeline
from orchestrator.rehearsal.local_kaggle.faults import DatasetAction
from orchestrator.rehearsal.simulation.chain import RUN, fast_folder, final_digest
from state.facts.run import PipelineChanged
from state.model.run_state import RunState
from state.model.statuses import RunStatus
from tests.simulation import parked_runs
from tests.simulation.parked_runs import ParkedRun
from tests.simulation.pipelines import expected_digest
from tests.simulation.test_taken_back import Wired
from tests.simulation.typed import shown_command, told

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

RETRY, RESUME = f"relay retry {RUN}", f"relay resume {RUN}"
CHANGE = f"{RETRY} --pipeline sim.yaml"
TAKE_OVER = f"{RESUME} --take-over"
Make = Callable[[Path], ParkedRun]

CASES: list[tuple[str, Make, str]] = [
    ("paused by you", parked_runs.paused, RESUME),
    ("session N was stopped at its time limit", parked_runs.stopped_at_the_limit, RESUME),
    ("session N failed twice at the same step", parked_runs.own_stage_broken, CHANGE),
    ("session N failed twice at the same step", parked_runs.failed_for_another_cause, RETRY),
    ("session N failed: the loss", parked_runs.diverged, f"{CHANGE} --from-step one:84"),
    ("session N failed: … is not finite after STAGE step N", parked_runs.update_not_finite, f"{CHANGE} --from-step one:84"),
    ("session N failed: … of the checkpoint STAGE step N", parked_runs.checkpoint_not_finite, f"{RESUME} --from-step one:84"),
    ("session N failed: … in the model's files", parked_runs.model_not_finite, CHANGE),
    ("session N failed: STAGE ran out of memory", parked_runs.out_of_memory, CHANGE),
    ("session N failed: … lower learning_rate", parked_runs.guarded, f"{CHANGE} --from-step one:84"),
    ("session N failed: this session would not compute", parked_runs.compiler_changed, CHANGE),
    ("session N failed: this session would not compute", parked_runs.compiler_pinned, CHANGE),
    ("session N failed twice at the same step: data: … is no longer", parked_runs.rows_changed, RETRY),
    ("3 attempts made no progress; the last: data: … of the pipeline's inputs", parked_runs.rows_missing, RETRY),
    ("two sessions gained no step", parked_runs.step_too_large, CHANGE),
    ("3 attempts made no progress", parked_runs.nothing_gained, RETRY),
    ("Kaggle has not answered for long", parked_runs.unanswered, RESUME),
    ("Kaggle has not answered for long", parked_runs.unanswered_and_abandoned, RESUME),
    ("session N failed twice at the same step: the checkpoint … arrived damaged", parked_runs.arrived_damaged, RETRY),
    ("session N has waited 6 h for a machine", parked_runs.no_machine, RESUME),
    ("session N has waited 6 h for a machine", parked_runs.no_machine_and_deleted, RESUME),
    ("session N has waited 13 h for a slot", parked_runs.no_slot, RESUME),
    ("Kaggle has named no time of renewal", parked_runs.no_hours, RESUME),
    ("Kaggle has a kernel … that is not this run's", parked_runs.name_taken, RETRY),
    ("this home folder is a copy", parked_runs.copied_home, TAKE_OVER),
    ("… was made by the home folder …", functools.partial(parked_runs.beside_another, same=False), TAKE_OVER),
    ("… is on Kaggle already", functools.partial(parked_runs.beside_another, same=True), TAKE_OVER),
    (
        "Kaggle took the dataset …",
        functools.partial(parked_runs.with_datasets, action=DatasetAction.VANISH, times=2),
        RETRY,
    ),
    (
        "Kaggle declined to create the dataset …: no room",
        functools.partial(parked_runs.with_datasets, action=DatasetAction.NO_ROOM, times=1),
        RETRY,
    ),
    ("relay itself failed at this run", parked_runs.relay_failed, RETRY),
    ("Kaggle does not accept these sources", parked_runs.source_misspelt, RETRY),
    ("Kaggle does not accept these sources", parked_runs.source_missing, RETRY),
    ("Kaggle does not accept these sources", parked_runs.checkpoint_deleted, RETRY),
]  # fmt: skip
"""Row of the page, by the beginning of its reason · the run parked for it · the command that the screen shows."""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with fast_folder() as found:
        monkeypatch.chdir(found)  # where the pipeline file lies
        yield found


def rows() -> list[str]:
    """The reasons in the table of the page, without their markup."""
    page = (ROOT / "docs" / "parked.md").read_text(encoding="utf-8")
    table = page.split("| reason |")[1].split("\n\n")[0].splitlines()[2:]
    return [re.sub(r"[`*]", "", line.split(" | ")[0].removeprefix("| ")) for line in table]


def row_of(reason: str) -> str:
    """The row that a case acts out: the one with the longest beginning in common."""
    found = [row for row in rows() if row.startswith(reason)]
    assert found, f"docs/parked.md has no row {reason!r}"
    return min(found, key=len)


def test_every_row_of_the_page_is_acted_out() -> None:
    assert {row_of(reason) for reason, _, _ in CASES} == set(rows())


def fragments(row: str) -> list[str]:
    """The words of a row that the run's own reason has to hold."""
    return [
        part.strip() for part in re.split(r"…| N |failed: |: no room|6 h|13 h|STAGE step N|STAGE", row) if part.strip()
    ]


@pytest.mark.parametrize(("row", "make", "command"), CASES, ids=[str(index) for index in range(len(CASES))])
def test_the_command_on_the_screen_makes_the_run_go_on_from_where_it_was(
    folder: Path, row: str, make: Make, command: str
) -> None:
    found = make(folder)
    chain, before = found.chain, found.chain.state
    assert before.run.status is RunStatus.PARKED
    assert [part for part in fragments(row) if part not in before.run.reason] == [], before.run.reason
    words = shown_command(chain)
    assert " ".join(["relay", *words]) == command

    found.mend()
    chain.kaggle.clock.sleep(parked_runs.SOON.total_seconds())
    if make is parked_runs.checkpoint_deleted:  # which asks Kaggle
        requests.retry(Wired(chain), words[1])
    else:
        told(chain, *words, *found.more, *(["--yes"] if "--pipeline" in (*words, *found.more) else []))
    state = chain.drive()

    assert state.run.status is RunStatus.FINISHED, state.run.reason
    assert final_digest(state) == expected_digest(Pipeline.from_canonical(state.run.pipeline))
    place = dict(itertools.pairwise(words)).get("--from-step")
    heads = (
        [place] if place else [f"{before.head.cursor.stage}:{before.head.cursor.step}"] if before.head else ["one:0"]
    )
    later = state.sessions[len(before.sessions) :]
    starts = [f"{session.start.stage}:{session.start.step}" for session in later]
    assert not starts or starts[0] in (*heads, *reached_since(before, state)), (starts, heads)
    assert not set(starts) & {"one:0"} - {*heads}, "nothing is trained again from the beginning"
    changes = [fact for _, fact in chain.store.facts(RUN) if isinstance(fact, PipelineChanged)]
    assert len(changes) == ("--pipeline" in (*words, *found.more))


def reached_since(before: RunState, state: RunState) -> list[str]:
    """Where the sessions ended that were known when the run was parked, one of which may have been under way."""
    known = state.sessions[: len(before.sessions)]
    return [f"{session.reached.stage}:{session.reached.step}" for session in known if session.reached is not None]


def test_a_lower_learning_rate_holds_from_the_last_good_checkpoint_on(folder: Path) -> None:
    found = parked_runs.diverged(folder)
    words = shown_command(found.chain)
    found.mend()
    said = told(found.chain, *words, "--yes")
    assert "stage one: learning_rate: 0.003 → 0.001 after 84 steps" in said
    found.chain.drive()
    orders = [trained.order for trained in found.chain.kaggle.trained]
    assert [order.stages[0].options for order in orders[:2]] == [{"learning_rate": 0.003}] * 2
    assert orders[-1].stages[0].options == {"learning_rate": 0.003, "learning_rate_after": {"84": 0.001}}


def test_a_mended_stage_is_what_the_next_session_gets(folder: Path) -> None:
    found = parked_runs.own_stage_broken(folder)
    words = shown_command(found.chain)
    found.mend()
    told(found.chain, *words, "--yes")
    found.chain.drive()
    orders = [trained.order for trained in found.chain.kaggle.trained]
    assert orders[0].sources == {"own.py": parked_runs.BROKEN}
    assert orders[-1].sources == {"own.py": parked_runs.MENDED}


def test_a_checkpoint_that_was_deleted_is_published_under_its_next_name(folder: Path) -> None:
    chain = parked_runs.checkpoint_deleted(folder).chain
    requests.retry(Wired(chain), RUN)
    state = chain.drive()
    assert state.checkpoints[0].place == f"{RUN}-c0001-n2"
    assert state.run.status is RunStatus.FINISHED
