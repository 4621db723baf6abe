"""`relay logs -f` through whole chains: session after session, every line once, whatever Kaggle does in between."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from orchestrator.base.errors import BadInput, Transient
from orchestrator.engine.tick import TickResult
from orchestrator.platforms.port import LogLine
from orchestrator.rehearsal.simulation.chain import RUN, Chain, SimulatedKaggle, fast_folder
from orchestrator.views.logs import LogFollower, Notice, Piece, SessionHeading, ShownLine, heading_text
from state.store import Store
from tests.simulation.pipelines import pipeline


class Daemon:
    """A clock on which the daemon has a tick whenever somebody sleeps; `alive` False: it was never started."""

    def __init__(self, chain: Chain, *, alive: bool = True, sleeps_most: int = 500) -> None:
        self._chain = chain
        self._ticks: Iterator[TickResult] = chain.ticks() if alive else iter(())
        self.slept, self._sleeps_most = 0, sleeps_most

    def now(self) -> datetime:
        return self._chain.kaggle.clock.now()

    def sleep(self, seconds: float) -> None:
        self.slept += 1
        assert self.slept < self._sleeps_most, "it waits for ever"
        self._chain.kaggle.clock.sleep(seconds)
        next(self._ticks, None)


class Unsteady:
    """An account whose log stream breaks off after some lines, and is then refused for a while."""

    def __init__(self, gateway: Any, refusals: int) -> None:
        self._gateway, self._refusals = gateway, refusals
        self.label = gateway.label

    def follow_log(self, slug: str, version: int | None, seen: int = 0) -> Iterator[LogLine]:
        for line in self._gateway.follow_log(slug, version, seen):
            if self._refusals and line.number >= 5:
                self._refusals -= 1
                raise Transient("Kaggle does not answer")
            yield line


@pytest.fixture
def chain() -> Iterator[Chain]:
    with fast_folder() as folder:
        yield Chain(SimulatedKaggle(pipeline()), folder, store=Store.at(folder))


def following(chain: Chain, gateway: Any = None, *, clock: Daemon | None = None) -> LogFollower:
    assert isinstance(chain.store, Store)
    return LogFollower(chain.store, gateway or chain.kaggle.gateway, chain.home, clock or Daemon(chain))


def numbers(pieces: list[Piece]) -> dict[int, list[int]]:
    """The numbers of the lines of each session, in the order in which they came."""
    found: dict[int, list[int]] = {}
    for piece in pieces:
        if isinstance(piece, ShownLine):
            found.setdefault(piece.session.number, []).append(piece.number)
    return found


@pytest.mark.slow
def test_it_goes_on_with_the_next_session_until_the_run_is_over_and_says_where_one_begins(chain: Chain) -> None:
    pieces = list(following(chain).run(RUN, (0, 0)))
    assert chain.state.run.status == "finished"
    begun = [piece.session for piece in pieces if isinstance(piece, SessionHeading)]
    assert [session.number for session in begun] == [1, 2, 3]
    assert heading_text(begun[1]).startswith(f"--- session 2 ({RUN}-s0002), from ")
    for found in numbers(pieces).values():
        assert found == list(range(len(found)))
        assert len(found) > 10
    last = pieces[-1]
    assert isinstance(last, Notice)
    assert last.sentence == f"{RUN} is finished"


@pytest.mark.slow
def test_when_kaggle_does_not_answer_for_a_while_that_is_said_once_and_no_line_is_lost(chain: Chain) -> None:
    gateway = Unsteady(chain.kaggle.gateway(), refusals=3)
    pieces = list(following(chain, lambda: gateway).run(RUN, (0, 0)))
    assert {number: found == list(range(len(found))) for number, found in numbers(pieces).items()} == {
        1: True,
        2: True,
        3: True,
    }
    said = [piece.sentence for piece in pieces if isinstance(piece, Notice)]
    assert said.count("Kaggle does not answer: asking again every 30 s") == 1
    assert said.count("Kaggle answers again") == 1


@pytest.mark.slow
def test_where_the_daemon_saw_the_session_end_meanwhile_the_rest_comes_from_the_disk(chain: Chain) -> None:
    gateway = Unsteady(chain.kaggle.gateway(), refusals=10_000)
    pieces = list(following(chain, lambda: gateway).run(RUN, (0, 0)))
    for session in chain.state.sessions:
        stored = chain.home.log(session).read_text(encoding="utf-8").splitlines()
        shown = [p.text for p in pieces if isinstance(p, ShownLine) and p.session.number == session.number]
        assert shown == stored


@pytest.mark.slow
def test_without_credentials_what_the_daemon_takes_in_is_shown(chain: Chain) -> None:
    def gateway() -> Any:
        raise BadInput("no credentials")

    pieces = list(following(chain, gateway).run(RUN, (0, 0)))
    assert Notice("no credentials; until then the lines that the daemon has fetched are shown") in pieces
    assert sorted(numbers(pieces)) == [1, 2, 3]
    assert all(found == list(range(len(found))) for found in numbers(pieces).values())


def test_one_session_that_was_asked_for_is_followed_to_its_end_and_no_further(chain: Chain) -> None:
    daemon = Daemon(chain)
    while not chain.state.sessions:
        daemon.sleep(1.0)
    pieces = list(following(chain, clock=daemon).session(chain.state.sessions[0]))
    assert list(numbers(pieces)) == [1]
    assert numbers(pieces)[1] == list(range(len(pieces)))
    assert chain.state.run.status == "active"


@pytest.mark.slow
def test_a_run_that_nobody_carries_on_is_waited_for_and_that_is_said_once(chain: Chain) -> None:
    now = chain.kaggle.clock.now()
    chain.store.release_lease(chain.store.take_lease("somebody", now, 60), now - timedelta(minutes=4))
    said: list[Piece] = []
    with pytest.raises(AssertionError, match="it waits for ever"):
        for piece in following(chain, clock=Daemon(chain, alive=False, sleeps_most=20)).run(RUN, (0, 0)):
            said.append(piece)
    assert said == [Notice(f"{RUN} is active: no daemon is running (the last one ended 4 min ago); type: relay daemon")]


def test_a_parked_run_ends_it_with_the_reason_and_what_to_type(chain: Chain) -> None:
    chain.store.request(RUN, "pause", {}, chain.kaggle.clock.now())
    pieces = list(following(chain).run(RUN, (0, 0)))
    assert pieces[-1] == Notice(f"{RUN} is parked: paused by you; type: relay resume {RUN}")
