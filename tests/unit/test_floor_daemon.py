"""Whatever is decided, a daemon rests between two of the same; one that is started again all the time does so too, and says why."""

from collections.abc import Iterator
from datetime import datetime

import pytest

from orchestrator.core.commands import Append, Command, ReadQuota, Wait
from orchestrator.core.plan import Limits
from orchestrator.engine import tick
from orchestrator.engine.daemon import LeaseKeeper
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.port import Quota
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.simulation.chain import fast_folder
from orchestrator.views.news_filter import Narrator
from state.facts.run import InputsIntended
from state.model.snapshot import Snapshot
from tests.unit.test_daemon import Desk, idle

FLOOR_S = Limits(poll_s=120.0).floor_s
ROUNDS = 60


@pytest.fixture
def desk() -> Iterator[Desk]:
    with fast_folder() as folder:
        yield Desk(folder)


class Asked:
    """Counts calls of the hours, whoever makes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        asks = DirectGateway.quota

        def counted(gateway: DirectGateway, accelerator: str) -> Quota | None:
            self.times += 1
            return asks(gateway, accelerator)

        monkeypatch.setattr(DirectGateway, "quota", counted)


def always(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant a decision that is always the same."""

    def decided(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command:
        return command

    monkeypatch.setattr(tick, "decide", decided)


def test_a_daemon_that_decides_the_same_for_ever_asks_kaggle_a_few_times_a_minute(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    always(ReadQuota("tpu"), monkeypatch)
    asked, begun_s = Asked(monkeypatch), desk.clock.slept_s
    desk.run(*[idle] * ROUNDS)
    assert 2 <= asked.times <= (desk.clock.slept_s - begun_s) / FLOOR_S + 1


def test_a_daemon_that_writes_the_same_for_ever_writes_it_a_few_times_a_minute(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    always(Append((InputsIntended(),)), monkeypatch)
    desk.run(*[idle] * ROUNDS)
    written = sum(isinstance(fact, InputsIntended) for _, fact in desk.chain.store.facts(desk.chain.run))
    assert 2 <= written <= desk.clock.slept_s / FLOOR_S + 1


def test_daemons_that_are_started_again_all_the_time_are_held_to_it_too(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    always(ReadQuota("tpu"), monkeypatch)
    asked = Asked(monkeypatch)
    for _ in range(20):
        with LeaseKeeper(desk.chain.store, desk.clock) as keeper:
            desk.daemon(keeper).round()
    assert asked.times == 1


def test_what_is_held_back_is_told_by_the_daemon_once_and_by_the_status(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    always(ReadQuota("tpu"), monkeypatch)
    desk.run(*[idle] * 10)
    narrator = Narrator(desk.clock.now)
    lines = [line for result in desk.ticks for line in narrator.hear(desk.chain.run, result)]
    told = [line for line in lines if "relay waits before it repeats one" in line.message]
    assert [line.level for line in told] == ["warning"]
    assert isinstance(desk.ticks[-1].command, Wait)
    watch = desk.chain.store.watch(desk.chain.run)
    assert watch.not_before is not None and "relay waits before it repeats one" in watch.failure
