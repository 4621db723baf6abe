"""A run goes on on another platform and back from its verified checkpoint, and ends as if it had stayed."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.app.checkpoints import bring_back, checkpoints
from orchestrator.app.forks import write_fork
from orchestrator.base.errors import BadInput
from orchestrator.rehearsal.local_kaggle.world import World
from orchestrator.rehearsal.simulation.chain import RUN, fast_folder, final_digest
from orchestrator.views.history.checkpoint_chain import checkpoint_chain
from orchestrator.views.history.kaggle_links import kaggle_links
from orchestrator.views.log_document import log_document
from orchestrator.views.run_document import run_document
from state.facts.run import PipelineKept, PlatformLeft
from state.model.statuses import CheckpointStatus, RunStatus
from state.store import Store
from tests.simulation.parked_runs import PINS
from tests.simulation.pipelines import PIPELINE, expected_digest, pipeline
from tests.simulation.two_platforms import MEMBER, ON_SLURM, SLURM, TwoPlatforms, happened
from tests.simulation.typed import relay, told, write_pipeline

pytestmark = pytest.mark.slow

TRAINED = ("name: one, kind: counting, steps: 100", "name: one, kind: sft, steps: 100, options: {learning_rate: 0.003}")


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


def datasets(world: World, owner: str) -> list[str]:
    slugs = (found.ref.partition("/") for found in world.datasets.all())
    return sorted(slug for account, _, slug in slugs if account == owner and slug.startswith(RUN))


def started(two: TwoPlatforms) -> list[int]:
    return [*two.kaggle.started.values(), *two.cluster.started.values()]


def moved(folder: Path, crash_at: int | None = None, **more: Any) -> tuple[TwoPlatforms, bool]:
    """A run whose second session is on the cluster and whose others are on Kaggle, and whether its daemon died."""
    two = TwoPlatforms(folder, **more)
    two.drive(until=happened("checkpoint_published"))
    two.ask(ON_SLURM, MEMBER)
    struck = two.survive(crash_at) if crash_at is not None else False
    if crash_at is None:
        two.drive(until=happened("output_collected"))
        two.ask(PIPELINE, "me")
        two.drive()
    return two, struck


@pytest.fixture(scope="module")
def there_and_back() -> Iterator[TwoPlatforms]:
    """A run that moved to the cluster and back, in a database."""
    with fast_folder() as found:
        yield moved(found, store=Store.at(found))[0]


def test_a_run_that_moves_there_and_back_ends_in_the_digest_of_one_that_stayed(there_and_back: TwoPlatforms) -> None:
    two = there_and_back
    state = two.chain.state
    assert final_digest(state) == expected_digest(pipeline())
    assert [session.platform for session in state.sessions] == [0, 1, 2]
    assert sorted(two.kaggle.started) == [f"{RUN}-s0001", f"{RUN}-s0003"]
    assert sorted(two.cluster.started) == [f"{RUN}-s0002"]
    assert set(started(two)) == {1}
    assert datasets(two.cluster.world, MEMBER) == [f"{RUN}-c0001"]
    assert datasets(two.kaggle.world, "me") == [f"{RUN}-c000{number}" for number in (1, 2, 3)]
    assert two.chain.store.rows(RUN) == state, "the database's rows are what the facts fold to"
    assert (state.run.owner, state.run.accelerator, state.run.owner_at(1)) == ("me", "tpu", MEMBER)
    assert [c.status for c in state.checkpoints] == [CheckpointStatus.PUBLISHED] * 3
    assert [c.platform for c in state.checkpoints] == [1, 2, 2]


def test_a_daemon_that_dies_while_a_checkpoint_is_carried_over_leaves_one_copy_that_counts(folder: Path) -> None:
    deaths = 0
    for at in range(0, 60, 5):
        (folder / str(at)).mkdir()
        two, struck = moved(folder / str(at), crash_at=at)
        state, deaths = two.chain.state, deaths + struck
        assert final_digest(state) == expected_digest(pipeline()), at
        assert set(started(two)) == {1}, at
        assert datasets(two.cluster.world, MEMBER) == [f"{RUN}-c000{number}" for number in (1, 2, 3)], at
        assert datasets(two.kaggle.world, "me") == [f"{RUN}-c0001"], at
        assert sum(isinstance(fact, PlatformLeft) for _, fact in two.chain.store.facts(RUN)) == 1, at
    assert deaths == 12


def test_a_checkpoint_that_is_gone_from_this_disk_is_fetched_from_the_platform_that_was_left(folder: Path) -> None:
    two = TwoPlatforms(folder)
    two.drive(until=happened("checkpoint_published"))
    shutil.rmtree(two.chain.home.checkpoint(RUN, f"{RUN}-c0001"))
    two.ask(ON_SLURM, MEMBER)
    two.drive()
    assert final_digest(two.chain.state) == expected_digest(pipeline())
    assert two.chain.state.sessions[1].parent == f"{RUN}-c0001", "it was not given up"
    assert two.chain.state.checkpoints[0].status is CheckpointStatus.PUBLISHED


def test_an_older_checkpoint_that_the_user_goes_back_to_is_carried_over_too(folder: Path) -> None:
    two = TwoPlatforms(folder)
    two.drive(until=happened("checkpoint_published"))
    two.drive(until=happened("checkpoint_published"))
    two.ask(ON_SLURM, MEMBER)
    two.drive(until=happened("checkpoint_carried"))
    two.chain.store.request(RUN, "pause", {}, two.chain.clock.now())
    two.drive(until=happened("run_parked"))
    two.chain.store.request(RUN, "resume", {"checkpoint": f"{RUN}-c0001"}, two.chain.clock.now())
    two.drive()
    assert final_digest(two.chain.state) == expected_digest(pipeline())
    assert f"{RUN}-c0001" in datasets(two.cluster.world, MEMBER)


def test_a_change_of_the_platform_waits_for_the_end_of_the_session_under_way(folder: Path) -> None:
    two = TwoPlatforms(folder)
    two.drive(until=happened("seen_running"))
    two.ask(ON_SLURM, MEMBER)
    two.drive(until=happened("output_collected"))
    assert two.chain.state.run.platform == 0
    two.drive()
    assert [session.platform for session in two.chain.state.sessions][:2] == [0, 1]
    assert final_digest(two.chain.state) == expected_digest(pipeline())


def test_a_platform_that_cannot_be_reached_any_more_can_be_left(folder: Path) -> None:
    two = TwoPlatforms(folder)
    two.drive(until=happened("checkpoint_published"))

    def gone() -> None:
        raise BadInput("no credentials for Kaggle")

    two.app.platforms._kaggle = gone  # type: ignore[assignment]
    with pytest.raises(BadInput, match="no credentials"):
        two.app.shell_for(two.chain.state)
    two.ask(ON_SLURM, MEMBER)
    two.drive()
    assert final_digest(two.chain.state) == expected_digest(pipeline())


def test_a_request_without_the_account_there_changes_nothing(folder: Path) -> None:
    two = TwoPlatforms(folder)
    two.drive(until=happened("checkpoint_published"))
    two.ask(ON_SLURM, "")
    two.drive(until=happened("pipeline_kept"))
    (kept,) = [fact for _, fact in two.chain.store.facts(RUN) if isinstance(fact, PipelineKept)]
    assert kept.reason == f"the account on the other platform is not known: type relay edit {RUN} again"
    assert two.chain.state.run.status is RunStatus.ACTIVE


def test_the_pipelines_own_files_are_published_there_too(folder: Path) -> None:
    files = "\ninputs: {files: [own.jsonl]}"
    (folder / "own.jsonl").write_text("{}")
    text, there = (each.replace("name: sim", f"name: sim{files}") for each in (PIPELINE, ON_SLURM))
    two = TwoPlatforms(folder, text, beside=folder)
    two.drive(until=happened("checkpoint_published"))
    two.ask(there, MEMBER)
    two.drive()
    assert two.chain.state.run.status is RunStatus.FINISHED
    assert f"{RUN}-inputs" in datasets(two.cluster.world, MEMBER)


@pytest.mark.parametrize("crash_at", [None, 4, 12])
def test_a_fork_on_another_platform_begins_from_one_copy_of_the_checkpoint(folder: Path, crash_at: int | None) -> None:
    two = TwoPlatforms(folder, store=Store.at(folder))
    two.drive(until=happened("checkpoint_published"))
    path = folder / "fork.yaml"
    written = write_fork(two.app, RUN, f"{RUN}-c0001", path)
    path.write_text(f"{path.read_text()}accelerator: cpu\n{SLURM}\n")
    said: list[tuple[str, ...]] = []
    two.app.before_moving = said.append
    run = two.app.start(written.path)
    assert said == [("No stage computes with JAX: every number stays the same.",)]
    assert run.owner == MEMBER
    if crash_at is None:
        two.drive(run=run.id)
    else:
        assert two.survive(crash_at, run.id)
    state = two.chain.store.load(run.id)
    assert final_digest(state) == expected_digest(pipeline())
    slugs = [found.ref.partition("/")[2] for found in two.cluster.world.datasets.all()]
    assert sorted(slugs) == [*(f"{run.id}-c000{n}" for n in (1, 2)), f"{run.id}-origin"]
    assert set(two.cluster.started.values()) == {1}


def cluster_programs(folder: Path) -> str:
    """A PATH on which Slurm tells its name, and does nothing else."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "scontrol").write_text("#!/bin/sh\necho 'ClusterName = lab'\n")
    (programs / "scontrol").chmod(0o755)
    return f"{programs}:{os.environ['PATH']}"


def test_what_cannot_move_is_refused_in_one_sentence_and_nothing_is_asked_for(folder: Path) -> None:
    two = TwoPlatforms(folder, store=Store.at(folder))
    two.drive(until=happened("seen_running"))
    there = write_pipeline(folder / "there.yaml", ON_SLURM.replace("/scratch/relay", str(folder / "shared")))
    edit, path = ("edit", RUN, "--pipeline", there), cluster_programs(folder)
    refused = {
        "scontrol is not there on this machine": relay(two.chain, *edit, "--yes", PATH=str(folder)),
        "there is no terminal to ask on: add --yes": relay(two.chain, *edit, PATH=path),
        "--json cannot ask: add --yes": relay(two.chain, *edit, "--json", PATH=path),
        "name cannot change": relay(
            two.chain,
            *edit[:3],
            write_pipeline(folder / "other.yaml", Path(there).read_text().replace("name: sim", "name: other")),
            PATH=path,
        ),
    }
    for sentence, result in refused.items():
        assert (result.exit_code, sentence in result.output) == (2, True), (sentence, result.output)
    assert two.chain.store.requests(RUN) == ()
    said = told(two.chain, *edit, "--yes", PATH=path).splitlines()
    assert (
        "The run continues on another platform, from its newest verified checkpoint, which relay publishes there once."
        in said
    )
    assert "  No stage computes with JAX: every number stays the same." in said
    assert any(line.startswith("Session 1 is not affected") for line in said)
    (request,) = two.chain.store.requests(RUN)
    assert request.arguments["owner"].endswith("@lab")


def test_a_fork_elsewhere_asks_before_it_begins(folder: Path) -> None:
    two = TwoPlatforms(folder, store=Store.at(folder))
    two.drive(until=happened("checkpoint_published"))
    written = write_fork(two.app, RUN, None, folder / "fork.yaml")
    cluster = SLURM.replace("/scratch/relay", str(folder / "shared"))
    written.path.write_text(f"{written.path.read_text()}accelerator: cpu\n{cluster}\n")
    path = cluster_programs(folder)
    asked = relay(two.chain, "start", str(written.path), PATH=path)
    assert (asked.exit_code, "add --yes" in asked.output) == (2, True), asked.output
    assert [run.id for run in two.chain.store.runs()] == [RUN]
    assert "every number stays the same" in told(two.chain, "start", str(written.path), "--yes", PATH=path)


def test_the_status_and_the_report_name_each_move_and_where_each_session_ran(there_and_back: TwoPlatforms) -> None:
    two = there_and_back
    state, facts = two.chain.store.load_with_facts(RUN)
    found = {**run_document(state, (), two.chain.clock.now()), **log_document(state, facts)}
    assert [session["platform"] for session in found["sessions"]] == ["kaggle", "slurm", "kaggle"]
    assert [session["owner"] for session in found["sessions"]] == ["me", MEMBER, "me"]
    assert [(m["from"], m["to"], m["after_session"]) for m in found["moves"]] == [
        ("kaggle", "slurm", 1),
        ("slurm", "kaggle", 2),
    ]
    assert [move["digest"] for move in found["moves"]] == [c.digest for c in state.checkpoints[:2]]
    assert found["checkpoints"][0]["dataset"] == f"{MEMBER}/{RUN}-c0001"
    links = kaggle_links(found, {})["sessions"]
    assert [[link["kind"] for link in links[s["slug"]]] for s in found["sessions"]] == [
        ["kernel"],
        ["dataset"],
        ["kernel", "dataset"],
    ]
    chain = checkpoint_chain(found)
    assert chain["whole"]
    assert [checkpoint["places"][1] for checkpoint in chain["checkpoints"]] == [
        f"Slurm: {MEMBER}/{RUN}-c0001",
        f"Kaggle: me/{RUN}-c0002",
        f"Kaggle: me/{RUN}-c0003",
    ]
    screen = told(two.chain, "status", RUN)
    assert f"after session 1 from Kaggle (me) to Slurm ({MEMBER}), from {RUN}-c0001" in screen


@pytest.mark.parametrize("there", ["0.0.17", "0.0.42.1"])
def test_with_strict_a_run_goes_on_where_the_packages_are_the_same_and_else_waits(folder: Path, there: str) -> None:
    strict = "model: {source: google/gemma-3-1b-it}\nexactness: strict\n"
    texts = [f"{each.replace(*TRAINED)}{PINS}{strict}" for each in (PIPELINE, ON_SLURM)]
    two = TwoPlatforms(folder, texts[0], images=("0.0.17", there))
    two.drive(until=happened("checkpoint_published"))
    two.ask(texts[1], MEMBER)
    two.drive()
    state = two.chain.state
    if there == "0.0.17":
        assert state.run.status is RunStatus.FINISHED
        return
    assert state.run.status is RunStatus.PARKED
    assert "libtpu 0.0.17 → 0.0.42.1" in state.run.reason
    assert (state.sessions[-1].cause, len(two.cluster.trained)) == ("numerics-changed", 0)
    two.ask(texts[0], "me")
    two.chain.store.request(RUN, "resume", {}, two.chain.clock.now())
    two.drive()
    assert two.chain.state.run.status is RunStatus.FINISHED, "back where it was, it computes the same bits"


def test_copies_are_verified_and_brought_back_from_the_platform_that_has_them(there_and_back: TwoPlatforms) -> None:
    two, state = there_and_back, there_and_back.chain.state
    first = state.checkpoints[0]
    shutil.rmtree(two.chain.home.checkpoint(RUN, first.name))
    bring_back(two.app, state, [first], "--pull")
    assert checkpoints(two.app, RUN, verify=True, pull=None, prune=False, as_json=True) == 0


def test_a_session_that_is_planned_already_is_planned_anew_there(folder: Path) -> None:
    two = TwoPlatforms(folder)
    two.drive(until=happened("checkpoint_published"))
    two.drive(until=happened("session_planned"))
    two.ask(ON_SLURM, MEMBER)
    two.drive()
    assert final_digest(two.chain.state) == expected_digest(pipeline())
    assert [(s.platform, s.cause) for s in two.chain.state.sessions][1:3] == [(0, "pipeline-changed"), (1, "")]
