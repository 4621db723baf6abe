"""A cancelled run that is taken back goes on as if it had only rested: its session is awaited, and nothing runs twice."""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from functools import cached_property
from pathlib import Path

import pytest

from orchestrator.app import requests
from orchestrator.app.app import App
from orchestrator.app.settings import Settings
from orchestrator.base.errors import BadInput
from orchestrator.kaggle.gateway import Gateway
from orchestrator.rehearsal.local_kaggle.faults import FaultPlan, PushAction, PushFault
from orchestrator.rehearsal.local_kaggle.rules import PerKind, Rules
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder, final_digest
from state.model.statuses import CheckpointStatus, Phase, RunStatus
from state.store import Store
from tests.simulation.pipelines import PIPELINE, expected_digest, pipeline

pytestmark = pytest.mark.slow


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


def ask(chain: Chain, verb: str, **arguments: str) -> None:
    chain.store.request(chain.run, verb, arguments, chain.clock.now())


def until(chain: Chain, name: str, times: int = 1) -> None:
    """Tick until a fact of that name has happened so many times more."""
    for tick in chain.ticks():
        times -= sum(fact.name == name for fact in tick.facts)
        if times <= 0:
            return
    raise AssertionError(f"{name} never happened")


def cancelled_at(folder: Path, name: str, times: int = 1, **more: object) -> Chain:
    """A run that was cancelled just after that happened."""
    chain = Chain(SimulatedKaggle(pipeline(), **more), folder)  # type: ignore[arg-type]
    until(chain, name, times)
    ask(chain, "cancel")
    until(chain, "run_cancelled")
    return chain


def assert_whole(chain: Chain, sessions: int = 3) -> None:
    """The run finishes with the uncut run's weights, and no more sessions ran than it takes, each once, one at a time."""
    for _ in chain.ticks():
        live = [session.slug for session in chain.kaggle.world.kernels.live()]
        assert len(live) <= 1, f"{live} run beside each other"
    assert final_digest(chain.state) == expected_digest(chain.kaggle.pipeline)
    assert list(chain.kaggle.started.values()) == [1] * sessions


def test_a_session_that_still_runs_is_awaited_and_collected_and_no_other_runs_beside_it(folder: Path) -> None:
    chain = cancelled_at(folder, "seen_running")
    ask(chain, "resume")
    until(chain, "run_resumed")
    assert chain.state.last is not None
    assert chain.state.last.phase is Phase.RUNNING
    assert_whole(chain)


def test_a_session_that_ended_meanwhile_is_collected_then(folder: Path) -> None:
    chain = cancelled_at(folder, "seen_running")
    (session,) = chain.drive().sessions
    assert (session.phase, chain.state.checkpoints) == (Phase.ENDED, ())
    ask(chain, "resume")
    assert_whole(chain)
    assert chain.state.checkpoints[0].session == 1


@pytest.mark.parametrize("event", ["output_collected", "publish_intended", "checkpoint_published", "session_planned"])
def test_a_run_goes_on_from_wherever_it_was_cancelled(folder: Path, event: str) -> None:
    chain = cancelled_at(folder, event)
    assert chain.drive().run.status is RunStatus.CANCELLED
    ask(chain, "resume")
    assert_whole(chain)


@pytest.mark.parametrize("rested", [False, True], ids=["while relay looks for it", "after it was seen to its end"])
def test_a_push_without_a_clear_answer_is_found_and_not_repeated(folder: Path, rested: bool) -> None:
    late = FaultPlan(pushes=(PushFault(push=1, action=PushAction.LATE, seconds=300.0),))
    chain = cancelled_at(folder, "push_unclear", faults=late)
    if rested:
        chain.drive()
    ask(chain, "resume")
    assert_whole(chain)


def test_a_session_that_was_given_up_with_its_run_is_looked_for_before_another_starts(folder: Path) -> None:
    chain = cancelled_at(folder, "seen_queued", rules=Rules(queue_s=PerKind(7 * 3600.0, 0.0, 0.0)))
    (session,) = chain.drive().sessions
    assert session.unwatched
    chain.kaggle.clock.sleep(3600.0)
    assert chain.kaggle.world.kernels.live(), "it got its machine after relay had stopped looking"
    ask(chain, "resume")
    until(chain, "session_sought")
    until(chain, "output_collected")
    assert [s.slug for s in chain.state.sessions] == [session.slug]
    assert chain.kaggle.started[session.slug] == 1


def test_a_session_that_was_given_up_and_deleted_on_kaggle_is_run_again(folder: Path) -> None:
    chain = cancelled_at(folder, "seen_queued", rules=Rules(queue_s=PerKind(7 * 3600.0, 0.0, 0.0)))
    (session,) = chain.drive().sessions
    chain.kaggle.world.delete_kernel("me", session.slug)
    ask(chain, "resume")
    until(chain, "output_collected")
    assert len(chain.kaggle.world.kernels.live()) <= 1


def test_a_run_is_taken_back_from_an_older_checkpoint(folder: Path) -> None:
    chain = cancelled_at(folder, "checkpoint_published", times=2)
    ask(chain, "resume", checkpoint=chain.state.checkpoints[0].name)
    assert_whole(chain, sessions=4)
    assert chain.state.checkpoints[1].status is CheckpointStatus.ABANDONED


def test_what_was_typed_last_counts_before_any_daemon_has_obeyed(folder: Path) -> None:
    chain = Chain(SimulatedKaggle(pipeline()), folder)
    for verb in ("cancel", "cancel", "resume", "resume"):
        ask(chain, verb)
    assert_whole(chain)
    again = Chain(SimulatedKaggle(pipeline()), folder, run="sim-0002")
    for verb in ("cancel", "resume", "cancel"):
        ask(again, verb)
    assert again.drive().run.status is RunStatus.CANCELLED
    assert not again.kaggle.started


# --- what the command refuses ------------------------------------------------------------


class Wired(App):
    """relay on this home folder, with the simulated Kaggle as its Kaggle."""

    def __init__(self, chain: Chain) -> None:
        super().__init__(Settings(home=chain.home.path, environ={}))
        self.chain = chain

    @cached_property
    def gateway(self) -> Gateway:
        return self.chain.kaggle.gateway()


def two_checkpoints(folder: Path) -> Wired:
    """A cancelled run with two published checkpoints."""
    chain = Chain(SimulatedKaggle(pipeline()), folder, store=Store.at(folder))
    until(chain, "checkpoint_published", times=2)
    ask(chain, "cancel")
    until(chain, "run_cancelled")
    return Wired(chain)


def lose(app: Wired, number: int, *places: str) -> None:
    """Remove the copies of a checkpoint."""
    session, checkpoint = app.chain.state.sessions[number - 1], app.chain.state.checkpoints[number - 1]
    if "disk" in places:
        shutil.rmtree(app.home.checkpoint(checkpoint.run, checkpoint.name))
    if "dataset" in places:
        app.gateway.delete_dataset(checkpoint.place)
    if "output" in places:
        app.chain.kaggle.world.delete_kernel("me", session.slug)


@pytest.mark.parametrize(
    "gone",
    [(), ("dataset", "output"), ("disk", "output"), ("disk", "dataset")],
    ids=["nothing is gone", "one copy is on this disk", "one is a dataset", "one is the session's output"],
)
def test_one_copy_of_the_newest_checkpoint_is_enough(folder: Path, gone: tuple[str, ...]) -> None:
    app = two_checkpoints(folder)
    lose(app, 2, *gone)
    requests.resume(app, "sim-0001")
    assert final_digest(app.chain.drive()) == expected_digest(app.chain.kaggle.pipeline)
    assert len(app.chain.kaggle.started) == 3, "no session was spent on finding out that a copy is gone"


def test_a_planned_session_whose_parent_is_gone_from_kaggle_waits_until_it_is_published_again(folder: Path) -> None:
    chain = Chain(SimulatedKaggle(pipeline()), folder, store=Store.at(folder))
    until(chain, "session_planned", times=3)
    ask(chain, "cancel")
    until(chain, "run_cancelled")
    app = Wired(chain)
    lose(app, 2, "dataset")
    requests.resume(app, "sim-0001")
    assert final_digest(chain.drive()) == expected_digest(chain.kaggle.pipeline)
    assert len(chain.kaggle.started) == 3


def test_a_run_whose_newest_checkpoint_is_gone_says_from_which_it_can_be_taken_back(folder: Path) -> None:
    app = two_checkpoints(folder)
    lose(app, 2, "disk", "dataset", "output")
    older = app.chain.state.checkpoints[0].cursor
    with pytest.raises(BadInput) as refused:
        requests.resume(app, "sim-0001")
    assert str(refused.value) == (
        "sim-0001: its checkpoint sim-0001-c0002 is gone from this disk and from Kaggle: add --from-step "
        f"{older.stage}:{older.step}, the newest that is left"
    )
    requests.resume(app, "sim-0001", f"{older.stage}:{older.step}")
    assert final_digest(app.chain.drive()) == expected_digest(app.chain.kaggle.pipeline)


def test_a_run_without_any_checkpoint_left_is_not_taken_back(folder: Path) -> None:
    app = two_checkpoints(folder)
    for number in (1, 2):
        lose(app, number, "disk", "dataset", "output")
    with pytest.raises(BadInput) as refused:
        requests.resume(app, "sim-0001")
    assert str(refused.value) == (
        "sim-0001 cannot be resumed, since none of its checkpoints is left on this disk or on Kaggle: relay start "
        "sim.yaml begins another run"
    )
    assert app.store.requests("sim-0001") == ()


def test_a_run_is_not_taken_back_beside_another_of_its_pipeline_nor_started_beside_one_that_is(folder: Path) -> None:
    app = two_checkpoints(folder)
    path = folder / "sim.yaml"
    path.write_text(PIPELINE, encoding="utf-8")
    other = app.start(path).id
    with pytest.raises(BadInput) as refused:
        requests.resume(app, "sim-0001")
    assert str(refused.value) == (
        f"sim-0001 was cancelled, and run {other} of the same pipeline is active: relay cancel {other} first, then "
        "relay resume sim-0001"
    )
    requests.cancel(app, other)
    requests.resume(app, "sim-0001")
    with pytest.raises(BadInput, match=r"run sim-0001 of this pipeline is active"):
        app.start(path)


def test_a_cancel_can_be_taken_back_before_the_daemon_obeys_it_and_typed_once_more(folder: Path) -> None:
    chain = Chain(SimulatedKaggle(pipeline()), folder, store=Store.at(folder))
    app = Wired(chain)
    for asked in (requests.cancel, requests.cancel, requests.resume, requests.cancel, requests.resume):
        asked(app, "sim-0001")
    assert final_digest(chain.drive()) == expected_digest(chain.kaggle.pipeline)
    with pytest.raises(
        BadInput, match=r"is finished: relay resume is for a run that is parked or waiting or cancelled"
    ):
        requests.resume(app, "sim-0001")


@pytest.mark.parametrize("ended", [True, False], ids=["its session ended", "its session was given up"])
def test_an_older_checkpoint_needs_the_pending_session_to_be_abandoned(folder: Path, ended: bool) -> None:
    chain = Chain(SimulatedKaggle(pipeline()), folder, store=Store.at(folder))
    until(chain, "checkpoint_published")
    until(chain, "seen_queued")
    if not ended:
        (live,) = chain.kaggle.world.kernels.live()
        live.starts_at += timedelta(hours=8)
    ask(chain, "cancel")
    last = chain.drive().last
    assert last is not None
    assert last.phase is (Phase.ENDED if ended else Phase.LOST)
    app, chosen = Wired(chain), chain.state.checkpoints[0].cursor
    wanted = f"{chosen.stage}:{chosen.step}"
    with pytest.raises(BadInput) as refused:
        requests.resume(app, "sim-0001", wanted)
    assert str(refused.value) == (
        "--from-step: sim-0001 was cancelled before session sim-0001-s0002 was collected, and its checkpoint would be "
        "newer: leave --from-step out, or add --abandon-session"
    )
    chain.kaggle.world.delete_kernel("me", last.slug)
    requests.resume(app, "sim-0001", wanted, abandon_session=True)
    assert final_digest(chain.drive()) == expected_digest(chain.kaggle.pipeline)
    assert chain.state.session(2, 1).reason == "you abandoned it"
