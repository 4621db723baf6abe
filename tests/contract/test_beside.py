"""What a look before a push makes of kernels of the run that this home folder knows nothing of, over HTTP and without."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kaggle_kernels import build
from orchestrator.base.errors import NoSlot, Overtaken, RelayError, Transient
from orchestrator.core.plan import Limits, order_for, plan_session, slug_of, token_of
from orchestrator.engine.effects.call_meter import CallMeter
from orchestrator.engine.effects.context import EffectContext
from orchestrator.engine.effects.unknown_sessions import PAGES_MAX, refuse_beside_others
from orchestrator.engine.home import HomeLayout
from orchestrator.platforms.port import KernelPush
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, FaultPlan
from orchestrator.rehearsal.local_kaggle.kernel_records import Save
from state.facts.base import Fact
from state.facts.run import RunTakenOver
from state.facts.session import PushConfirmed, PushIntended, PushRefused, SessionLost
from state.memory_store import MemoryStore
from tests.contract.worlds import OWNER, Place, directly, over_http
from tests.simulation.pipelines import pipeline
from tests.unit.histories import Told

if TYPE_CHECKING:
    from state.model.run_state import Session
    from state.model.snapshot import Snapshot

PIPELINE = pipeline(accelerator="accelerator: NvidiaTeslaT4")
RUN = "tiny-0001"
US, OTHERS = "home-us@here", "home-other@there"
FIRST = {"number": 1, "attempt": 1}
PUSHED = (PushIntended(**FIRST), PushConfirmed(**FIRST, kernel_version=1))
WAYS = {"http": over_http, "direct": directly}


@pytest.fixture(params=list(WAYS))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with WAYS[request.param](tmp_path / "kaggle") as place:
        yield place


def begun(place: Place) -> MemoryStore:
    """A run that has planned its first session."""
    store = MemoryStore()
    started = replace(
        Told(run=RUN).started(), owner=OWNER, pipeline=PIPELINE.canonical(), pipeline_digest=PIPELINE.digest
    )
    state = store.begin_run(started, place.clock.now())
    store.append(RUN, [plan_session(state, PIPELINE, None)], place.clock.now())
    return store


def happen(store: MemoryStore, place: Place, *facts: Fact) -> None:
    store.append(RUN, facts, place.clock.now())


def planned_again(store: MemoryStore, place: Place) -> None:
    """The first session came to nothing, and its second attempt is to be pushed."""
    happen(store, place, SessionLost(**FIRST, reason="nothing came of it"))
    happen(store, place, plan_session(store.load(RUN), PIPELINE, None))


def theirs(store: MemoryStore, place: Place, number: int, home: str, generation: int = 0, *, runs: bool = True) -> str:
    """A kernel of the run's that somebody has pushed, or whose push Kaggle has declined and kept the source of."""
    state = store.load(RUN)
    slug, token = slug_of(RUN, number, 1), token_of(state, number, 1)
    session = replace(state.session(1, 1), number=number, slug=slug, token=token)
    state = replace(state, run=replace(state.run, generation=generation))
    source = build.script(order_for(state, session, PIPELINE, home))
    if runs:
        place.gateway.push(KernelPush(slug=slug, source=source, machine_shape="NvidiaTeslaT4"))
    else:
        save(place, slug, source)
    place.wait(20)
    return slug


def save(place: Place, slug: str, text: str = "1") -> None:
    place.world.kernels.save(Save(slug=f"{OWNER}/{slug}", text=text, title=slug, runs=False), place.clock.now(), {})


def others(place: Place, count: int) -> None:
    """So many kernels that are nothing of relay's, each a minute after the one before."""
    for number in range(count):
        save(place, f"other-{number:03d}")
        place.wait(60)


def look(store: MemoryStore, place: Place) -> int:
    """How many calls it took; raises as the look does."""
    snapshot: Snapshot = store.snapshot(RUN)
    session: Session | None = snapshot.state.last
    assert session is not None
    metered = CallMeter(place.gateway)
    shell = EffectContext(metered.gateway, HomeLayout(Path("unused")), place.clock, Limits(), US)
    refuse_beside_others(snapshot, session, shell)
    return metered.calls


# --- how far back ------------------------------------------------------------------


@pytest.mark.parametrize("between", [0, 9, 25, 90])
def test_another_ones_kernel_is_found_behind_others_that_ran_since(place: Place, between: int) -> None:
    store = begun(place)
    theirs(store, place, 2, OTHERS)
    others(place, between)
    with pytest.raises(Overtaken, match=f"made by the home folder {OTHERS}"):
        look(store, place)


def test_one_page_is_read_where_it_reaches_back_to_a_session_of_ones_own(place: Place) -> None:
    store = begun(place)
    others(place, 30)
    theirs(store, place, 1, US)
    happen(store, place, *PUSHED)
    planned_again(store, place)
    others(place, 5)
    assert look(store, place) == 1


def test_one_page_is_read_where_it_reaches_back_to_before_the_run_began(place: Place) -> None:
    others(place, 30)
    place.wait(timedelta(days=2).total_seconds())
    store = begun(place)
    others(place, 5)
    assert look(store, place) == 1


def test_no_more_pages_are_read_than_are_worth_their_calls(place: Place) -> None:
    store = begun(place)
    others(place, 130)
    assert look(store, place) == PAGES_MAX


def test_a_clock_that_is_a_year_ahead_or_behind_costs_no_more(place: Place) -> None:
    for off in (timedelta(days=365), timedelta(days=-365)):
        store = MemoryStore()
        started = replace(Told(run=RUN).started(), owner=OWNER, pipeline=PIPELINE.canonical())
        state = store.begin_run(started, place.clock.now() + off)
        store.append(RUN, [plan_session(state, PIPELINE, None)], place.clock.now() + off)
        others(place, 25)
        assert look(store, place) <= PAGES_MAX


# --- what is made of one -----------------------------------------------------------------


def planned_here(store: MemoryStore, place: Place) -> None:
    """The first session was planned here, and Kaggle declined it until it was given up."""
    happen(store, place, PushIntended(**FIRST), PushRefused(**FIRST, reason="no slot"))
    planned_again(store, place)


@pytest.mark.parametrize(
    ("home", "taken_over", "runs", "ends", "refused"),
    [
        (US, False, False, False, None),  # the source of the push that Kaggle declined
        (OTHERS, False, False, False, None),
        (US, False, True, False, Overtaken),  # a copy of this home folder with its id pushed it
        (US, False, True, True, Overtaken),
        (OTHERS, False, True, False, Overtaken),
        (US, True, True, False, NoSlot),  # from before the run was taken over, and alive
        (US, True, True, True, None),
        (US, True, False, False, None),
    ],
)
def test_a_kernel_of_a_session_that_was_planned_here_and_never_pushed(
    place: Place, home: str, taken_over: bool, runs: bool, ends: bool, refused: type[RelayError] | None
) -> None:
    store = begun(place)
    planned_here(store, place)
    theirs(store, place, 1, home, runs=runs)
    if taken_over:
        happen(store, place, RunTakenOver(home=US, generation=5))
    if ends:
        place.wait(3600)
    if refused is None:
        look(store, place)
        return
    with pytest.raises(refused) as caught:
        look(store, place)
    said = {NoSlot: "running still", Overtaken: "tiny-0001-s0001"}
    assert said[refused] in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_kernel_of_a_session_that_was_planned_here_is_not_passed_over_where_its_status_makes_no_sense(
    way: str, tmp_path: Path
) -> None:
    html = CallFault(call="GetKernelSessionStatus", action=CallAction.HTML, times=20)
    with WAYS[way](tmp_path / "kaggle", faults=FaultPlan(calls=(html,))) as place:
        store = begun(place)
        planned_here(store, place)
        theirs(store, place, 1, US)
        with pytest.raises(Transient, match="made no sense"):
            look(store, place)
