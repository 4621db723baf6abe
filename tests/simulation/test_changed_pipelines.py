"""A run whose pipeline is changed midway goes on with it from the next session on, and ends as if it had always been so."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import orchestrator
from orchestrator.app.app import App
from orchestrator.app.pipeline_edits import read_text
from orchestrator.app.settings import Settings
from orchestrator.pipeline.loader import parse
from orchestrator.pipeline.model import Pipeline, canonical_in
from orchestrator.rehearsal.simulation.chain import RUN, Chain, SimulatedKaggle, fast_folder, final_digest
from orchestrator.rehearsal.simulation.crash_injection import Crash, CrashPoint
from stages.session.package_lock import TITLE
from state.facts.run import PipelineChanged, PipelineKept
from state.model.statuses import RunStatus
from state.store import Store
from tests.simulation.pipelines import PIPELINE, expected_digest
from tests.simulation.test_adopt import moved
from tests.simulation.test_taken_back import until
from tests.simulation.typed import relay, told, write_pipeline

LONGER = PIPELINE.replace("limit_s: 1000", "limit_s: 2000")
MORE = LONGER.replace("steps: 120", "steps: 150") + "  - {name: three, kind: counting, steps: 9}\n"


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


@pytest.fixture
def chain(folder: Path) -> Chain:
    return Chain(SimulatedKaggle(parse(PIPELINE, "sim.yaml")), folder, store=Store.at(folder))


def changes(chain: Chain) -> list[PipelineChanged]:
    return [fact for _, fact in chain.store.facts(RUN) if isinstance(fact, PipelineChanged)]


def orders_digests(chain: Chain) -> list[str]:
    return [trained.order.pipeline_digest for trained in chain.kaggle.trained]


@pytest.mark.slow
def test_a_session_keeps_its_order_and_the_next_one_follows_the_changed_pipeline(chain: Chain, folder: Path) -> None:
    until(chain, "seen_running", times=2)
    said = told(chain, "edit", RUN, "--pipeline", write_pipeline(folder / "sim.yaml", MORE), "--yes")
    assert said.splitlines() == [
        "sim-0001: the pipeline changes",
        "  session.limit_s: 1000.0 → 2000.0",
        "  stage two: steps: 120 → 150",
        "  stage three: added, counting, 9 steps",
        "Session 2 is not affected; once it has ended, the next one follows the changed pipeline. Steps are then counted "
        "from its last checkpoint.",
        "sim-0001: edit requested; the daemon acts on it once session 2 has ended; no daemon is running here, so type: relay daemon",
    ]
    until(chain, "output_collected")
    assert changes(chain) == []
    state = chain.drive()
    old, new = parse(PIPELINE, "p"), parse(MORE, "p")
    assert final_digest(state) == expected_digest(new)
    assert orders_digests(chain) == [old.digest, old.digest, new.digest]
    assert [session.limit_s for session in state.sessions] == [1000.0, 1000.0, 2000.0]
    assert (state.run.pipeline, state.run.pipeline_digest) == (new.canonical(), new.digest)
    assert [session.slug for session in state.sessions] == [f"{RUN}-s000{number}" for number in (1, 2, 3)]
    (changed,) = changes(chain)
    assert "@" in changed.by
    assert changed.pipeline_text == MORE


def test_a_change_of_a_run_that_waits_for_its_next_session_resizes_the_planned_one(chain: Chain, folder: Path) -> None:
    until(chain, "session_planned")
    told(chain, "edit", RUN, "--pipeline", write_pipeline(folder / "sim.yaml", LONGER), "--yes")
    state = chain.drive()
    assert final_digest(state) == expected_digest(parse(LONGER, "p"))
    assert [session.limit_s for session in state.sessions] == [2000.0, 2000.0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (PIPELINE, PIPELINE.replace("name: one", "name: uno")),
        (PIPELINE, PIPELINE.replace("stages:\n", "stages:\n  - {name: zero, kind: counting, steps: 5}\n")),
        (PIPELINE + "handoff: kernel-output\n", PIPELINE),
    ],
)
def test_a_planned_session_that_would_start_or_mount_otherwise_is_planned_anew(
    folder: Path, old: str, new: str
) -> None:
    chain = Chain(SimulatedKaggle(parse(old, "sim.yaml")), folder, store=Store.at(folder))
    until(chain, "session_planned", times=2 if "handoff" in old else 1)
    told(chain, "edit", RUN, "--pipeline", write_pipeline(folder / "sim.yaml", new), "--yes")
    state = chain.drive()
    assert state.run.status is RunStatus.FINISHED
    assert final_digest(state) == expected_digest(parse(new, "p"))
    assert set(chain.kaggle.started.values()) == {1}
    assert set(orders_digests(chain)) <= {parse(old, "p").digest, parse(new, "p").digest}
    told(chain, "report", RUN, "--output", str(folder / "report.html"))


def test_a_change_that_waits_when_its_run_is_cancelled_is_refused_in_words(chain: Chain, folder: Path) -> None:
    until(chain, "seen_running")
    told(chain, "edit", RUN, "--pipeline", write_pipeline(folder / "sim.yaml", LONGER), "--yes")
    told(chain, "cancel", RUN, "--yes")
    until(chain, "run_cancelled")
    until(chain, "pipeline_kept")
    told(chain, "resume", RUN)
    state = chain.drive()
    (kept,) = [fact for _, fact in chain.store.facts(RUN) if isinstance(fact, PipelineKept)]
    assert kept.reason == "the run was cancelled before that"
    assert final_digest(state) == expected_digest(parse(PIPELINE, "p"))


def test_from_an_older_checkpoint_an_unchanged_file_names_the_command_that_goes_there(
    chain: Chain, folder: Path
) -> None:
    until(chain, "checkpoint_published", times=2)
    told(chain, "pause", RUN)
    chain.drive()
    path = write_pipeline(folder / "sim.yaml", PIPELINE)
    place = f"one:{chain.state.checkpoints[0].cursor.step}"
    result = relay(chain, "retry", RUN, "--pipeline", path, "--from-step", place, "--yes")
    assert result.exit_code == 2
    assert f"or type relay resume {RUN} --from-step {place} to try it unchanged" in result.output


@pytest.mark.slow
def test_status_and_report_show_the_change_with_the_session_before_it(chain: Chain, folder: Path) -> None:
    until(chain, "checkpoint_published")
    told(chain, "edit", RUN, "--pipeline", write_pipeline(folder / "sim.yaml", LONGER), "--yes")
    chain.drive()
    assert "session.limit_s: 1000.0 → 2000.0" in told(chain, "status", RUN)
    told(chain, "report", RUN, "--output", str(folder / "report.html"))
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Changes of the pipeline" in page
    assert re.search(r"<td[^>]*>session 1</td>", page)


def test_a_change_that_its_session_made_impossible_is_refused_with_the_reason_and_the_run_goes_on(
    chain: Chain, folder: Path
) -> None:
    until(chain, "seen_running")
    fewer = write_pipeline(folder / "sim.yaml", PIPELINE.replace("steps: 100", "steps: 50"))
    told(chain, "edit", RUN, "--pipeline", fewer, "--yes")
    state = chain.drive()
    (kept,) = [fact for _, fact in chain.store.facts(RUN) if isinstance(fact, PipelineKept)]
    assert kept.reason.startswith("steps of stage one cannot change from 100 to 50, since 8")
    assert final_digest(state) == expected_digest(parse(PIPELINE, "p"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text, "says what sim-0001 does already: change it first"),
        (lambda text: text + "seed: 4\n", "seed cannot change from 0 to 4"),
        (lambda text: text.replace("name: two", "name: Two!"), "stages[1].name"),
    ],
)
def test_what_cannot_be_taken_over_is_refused_at_once(
    chain: Chain, folder: Path, change: Callable[[str], str], sentence: str
) -> None:
    until(chain, "checkpoint_published")
    result = relay(chain, "edit", RUN, "--pipeline", write_pipeline(folder / "sim.yaml", change(PIPELINE)), "--yes")
    assert result.exit_code == 2
    assert sentence in result.output
    assert chain.store.requests(RUN) == ()


def test_nobody_to_ask_is_bad_input_and_stores_nothing(chain: Chain, folder: Path) -> None:
    path = write_pipeline(folder / "sim.yaml", LONGER)
    for words in (
        ["edit", RUN, "--pipeline", path],
        ["edit", RUN, "--pipeline", path, "--json"],
        ["edit", RUN, "--json"],
    ):
        assert relay(chain, *words).exit_code == 2
    assert chain.store.requests(RUN) == ()
    assert '"difference": "session.limit_s' in told(chain, "edit", RUN, "--pipeline", path, "--json", "--yes")


def test_a_finished_or_cancelled_run_is_not_changed(chain: Chain, folder: Path) -> None:
    path = write_pipeline(folder / "sim.yaml", LONGER)
    told(chain, "cancel", RUN, "--yes")
    chain.drive()
    result = relay(chain, "edit", RUN, "--pipeline", path, "--yes")
    assert "sim-0001 is cancelled, and relay edit is for a run that is active or waiting or parked" in result.output


@pytest.mark.slow
def test_a_program_changes_a_run_too(chain: Chain, folder: Path) -> None:
    until(chain, "checkpoint_published")
    relay_here = orchestrator.open(folder, environ={})
    assert relay_here.edit(RUN, write_pipeline(folder / "sim.yaml", LONGER)) == ("session.limit_s: 1000.0 → 2000.0",)
    until(chain, "pipeline_changed")
    mapping = yaml.safe_load(PIPELINE)
    assert relay_here.edit(RUN, mapping) == ("session.limit_s: 2000.0 → 1000.0",)
    assert final_digest(chain.drive()) == expected_digest(parse(PIPELINE, "p"))
    assert len(changes(chain)) == 2


# --- the editor -----------------------------------------------------------------------


def editor(folder: Path, script: str) -> str:
    path = folder / "editor.sh"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o700)
    return str(path)


@pytest.mark.slow
def test_the_editor_opens_the_users_own_text_with_its_comments_and_the_last_change(chain: Chain, folder: Path) -> None:
    commented = PIPELINE.replace("stages:", "# by hand\nstages:")
    write_pipeline(folder / "sim.yaml", commented)
    told(
        chain,
        "edit",
        RUN,
        "--pipeline",
        write_pipeline(folder / "sim.yaml", commented.replace("1000", "2000")),
        "--yes",
    )
    until(chain, "checkpoint_published")
    (folder / "sim.yaml").unlink()
    seen = folder / "seen"
    changing = editor(folder, f'cp "$1" {seen}; sed -i s/2000/3000/ "$1"')
    told(chain, "edit", RUN, "--yes", EDITOR=changing, VISUAL=changing)
    assert "# by hand" in seen.read_text(encoding="utf-8")
    state = chain.drive()
    assert Pipeline.from_canonical(state.run.pipeline).limit_s == 3000.0
    assert [fact.difference for fact in changes(chain)] == [
        "session.limit_s: 1000.0 → 2000.0",
        "session.limit_s: 2000.0 → 3000.0",
    ]


def test_without_any_text_the_editor_opens_the_runs_pipeline_as_yaml(chain: Chain, folder: Path) -> None:
    seen = folder / "seen"
    changing = editor(folder, f'cp "$1" {seen}; sed -i "s/steps: 120/steps: 130/" "$1"')
    told(chain, "edit", RUN, "--yes", EDITOR=changing, VISUAL=changing)
    assert parse(seen.read_text(encoding="utf-8"), "seen") == chain.kaggle.pipeline
    assert final_digest(chain.drive()) == expected_digest(parse(PIPELINE.replace("120", "130"), "p"))


@pytest.mark.slow
def test_a_second_change_in_the_editor_keeps_the_first_which_still_waits(chain: Chain, folder: Path) -> None:
    until(chain, "seen_running")
    for script in ('sed -i "s/limit_s: 1000.0/limit_s: 2000.0/" "$1"', 'sed -i "s/steps: 120/steps: 150/" "$1"'):
        changing = editor(folder, script)
        told(chain, "edit", RUN, "--yes", EDITOR=changing, VISUAL=changing)
    found = Pipeline.from_canonical(chain.drive().run.pipeline)
    assert (found.limit_s, found.stages[1].steps) == (2000.0, 150)
    assert [fact.difference for fact in changes(chain)] == [
        "session.limit_s: 1000.0 → 2000.0",
        "stage two: steps: 120 → 150",
    ]


def test_the_editor_leaves_the_users_data_files_as_they_are(folder: Path) -> None:
    data = folder / "data.jsonl"
    data.write_text("old\n", encoding="utf-8")
    text = PIPELINE + f"inputs: {{files: [{data}]}}\n"
    chain = Chain(SimulatedKaggle(parse(text, "sim.yaml", folder)), folder, store=Store.at(folder))
    chain.home.keep_inputs(RUN, [data])
    data.write_text("newer work\n", encoding="utf-8")
    changing = editor(folder, 'sed -i "s/steps: 120/steps: 130/" "$1"')
    relay(chain, "edit", RUN, "--yes", EDITOR=changing, VISUAL=changing)
    assert data.read_text(encoding="utf-8") == "newer work\n"


LOCK = f"""{TITLE}
# python: 3.12
# platform: x86_64-manylinux_2_31
# size_bytes: 1
# pins: six==1.17.0
six==1.17.0 --hash=sha256:{"0" * 64}
"""


@pytest.mark.slow
@pytest.mark.parametrize("removed", [True, False])
def test_a_lock_file_that_was_removed_is_not_missed_and_one_that_changed_is_named(folder: Path, removed: bool) -> None:
    locked = f"environment: my.lock.txt{PIPELINE}"
    (folder / "my.lock.txt").write_text(LOCK, encoding="utf-8")
    begun = parse(locked, "sim.yaml", folder)
    chain = Chain(SimulatedKaggle(begun), folder, store=Store.at(folder))
    until(chain, "output_collected")
    file = write_pipeline(folder / "sim.yaml", locked.replace("steps: 120", "steps: 130"))
    if not removed:
        (folder / "my.lock.txt").write_text(LOCK.replace("1.17.0", "1.16.0"), encoding="utf-8")
        said = relay(chain, "edit", RUN, "--yes", "--pipeline", file).output
        assert "environment cannot change what my.lock.txt holds" in said
        return
    (folder / "my.lock.txt").unlink()
    assert "steps: 120 → 130" in told(chain, "edit", RUN, "--yes", "--pipeline", file)
    changing = editor(folder, 'sed -i "s/steps: 130/steps: 140/" "$1"')
    assert "steps: 130 → 140" in told(chain, "edit", RUN, "--yes", EDITOR=changing, VISUAL=changing)
    again = Pipeline.from_canonical(chain.drive().run.pipeline)
    assert (again.total_steps, again.own_lock) == (240, begun.own_lock)


@pytest.mark.parametrize("name", ["asked.jsonl", "sim.yaml"])
def test_the_run_of_a_file_of_questions_keeps_the_lock_of_the_run_that_trained(folder: Path, name: str) -> None:
    text = f"environment: my.lock.txt{PIPELINE}"
    (lock := folder / "my.lock.txt").write_text(LOCK, encoding="utf-8")
    begun = parse(text, "sim.yaml", folder)
    chain = Chain(SimulatedKaggle(begun), folder, store=Store.at(folder))
    (path := folder / name).touch()
    state = replace(chain.state, run=replace(chain.state.run, pipeline_path=str(path)))
    lock.write_text(LOCK.replace("1.17.0", "1.16.0"), encoding="utf-8")
    found = read_text(text, App(Settings(folder, {})), state).pipeline
    assert (found.own_lock == begun.own_lock) is (name == "asked.jsonl"), "a lock beside a pipeline is that pipeline's"


def test_an_editor_that_saves_nothing_or_nonsense_changes_nothing(chain: Chain, folder: Path) -> None:
    for script in ("true", 'echo "nonsense" > "$1"'):
        changing = editor(folder, script)
        result = relay(chain, "edit", RUN, "--yes", EDITOR=changing, VISUAL=changing)
        assert result.exit_code == 1
        assert result.output.endswith("relay: nothing was changed\n")
    assert chain.store.requests(RUN) == ()


# --- what a change survives -----------------------------------------------------------


@pytest.mark.slow
def test_a_daemon_that_dies_at_any_time_takes_a_change_over_once(folder: Path) -> None:
    counter = CrashPoint()
    for crash in [None, *range(20, 200, 30)]:
        with fast_folder() as home:
            chain = Chain(SimulatedKaggle(parse(PIPELINE, "sim.yaml")), home, store=Store.at(home))
            until(chain, "seen_running")
            told(chain, "edit", RUN, "--pipeline", write_pipeline(home / "sim.yaml", MORE), "--yes")
            try:
                chain.drive(counter if crash is None else CrashPoint(crash))
            except Crash:
                chain.drive()
            assert final_digest(chain.state) == expected_digest(parse(MORE, "p"))
            assert len(changes(chain)) == 1
            assert set(chain.kaggle.started.values()) == {1}


@pytest.mark.slow
def test_a_run_that_is_lost_after_a_change_is_made_again_with_it(chain: Chain, folder: Path) -> None:
    until(chain, "checkpoint_published")
    told(chain, "edit", RUN, "--pipeline", write_pipeline(folder / "sim.yaml", MORE), "--yes")
    until(chain, "seen_running")
    before = chain.state.run
    moved(chain, folder / "new", store=Store.at(folder / "new"))
    assert (chain.state.run.pipeline, chain.state.run.pipeline_digest) == (before.pipeline, before.pipeline_digest)
    (changed,) = changes(chain)
    assert changed.difference.splitlines()[0] == "session.limit_s: 1000.0 → 2000.0"
    state = chain.drive()
    assert final_digest(state) == expected_digest(parse(MORE, "p"))
    assert state.run.status is RunStatus.FINISHED


@pytest.mark.slow
def test_the_order_of_a_session_holds_the_pipeline_that_it_follows(chain: Chain, folder: Path) -> None:
    until(chain, "checkpoint_published")
    told(chain, "edit", RUN, "--pipeline", write_pipeline(folder / "sim.yaml", MORE), "--yes")
    chain.drive()
    texts = [canonical_in(trained.order) for trained in chain.kaggle.trained]
    assert texts[0] == parse(PIPELINE, "p").canonical()
    assert set(texts[1:]) == {parse(MORE, "p").canonical()}


@pytest.mark.slow
def test_a_backup_from_before_a_change_learns_of_it_from_the_order_of_the_session_that_runs(
    chain: Chain, folder: Path
) -> None:
    until(chain, "checkpoint_published")
    backup = told(chain, "backup").split()[0]
    told(chain, "edit", RUN, "--pipeline", write_pipeline(folder / "sim.yaml", MORE), "--yes")
    until(chain, "push_confirmed")
    chain.store.close()
    with closing(sqlite3.connect(folder / "relay.db")) as database:  # its daemon ended
        database.execute("DELETE FROM lease")
        database.commit()
    told(chain, "restore", backup)
    chain.store = Store.at(folder)
    chain.identity = chain.state.run.home or chain.identity
    state = chain.drive()
    assert state.run.pipeline_digest == parse(MORE, "p").digest
    assert final_digest(state) == expected_digest(parse(MORE, "p"))
    assert set(chain.kaggle.started.values()) == {1}


@pytest.mark.slow
def test_a_run_that_went_back_and_shrank_the_stage_that_it_left_is_made_again(folder: Path) -> None:
    old = PIPELINE.replace("steps: 120", "steps: 220")
    chain = Chain(SimulatedKaggle(parse(old, "sim.yaml")), folder, store=Store.at(folder))
    until(chain, "checkpoint_published", times=3)
    told(chain, "pause", RUN)
    chain.drive()
    less = write_pipeline(folder / "sim.yaml", old.replace("steps: 220", "steps: 50"))
    place = f"one:{chain.state.checkpoints[0].cursor.step}"
    told(chain, "retry", RUN, "--pipeline", less, "--from-step", place, "--yes")
    until(chain, "checkpoint_published")
    moved(chain, folder / "new", store=Store.at(folder / "new"))
    assert chain.drive().run.status is RunStatus.FINISHED
