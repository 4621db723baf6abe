"""Messages to a person, sent to a real server: each arrives once, none is lost, and no service can hold the daemon up."""

import json
import logging.config
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from orchestrator.app.notify.config import EVENTS, Addresses
from orchestrator.app.notify.sender import Outbox, Sender, Senders
from orchestrator.app.notify.services import services
from orchestrator.base.clock import VirtualClock
from state.facts.base import Fact
from state.facts.run import RunFinished, RunParked, RunResumed
from state.model.poll_state import PollState
from state.notification_marks import NotificationMarks
from state.read_only import ReadOnlyStore
from state.store import Store
from tests.contract.local import until
from tests.contract.receiving import SECRET, Receiver, receiver
from tests.contract.test_commands import relay as relay_at
from tests.unit.test_views import STARTED

ROOT = Path(__file__).parents[2]
relay = partial(relay_at, cwd=ROOT)
RUN = STARTED.run
PARKED = RunParked(reason="session 2 failed twice at the same step: it broke", remedy=f"relay retry {RUN}")


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


@dataclass
class Desk:
    """A database with a run, and couriers on it as one daemon after the other has them."""

    home: Path
    clock: VirtualClock = field(default_factory=VirtualClock)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = Store.at(self.home)
        self.store.begin_run(STARTED, self.clock.now())

    def happen(self, *facts: Fact, at: datetime | None = None) -> None:
        self.store.append(RUN, facts, at or self.clock.now())

    def post(self, deadline_s: float = 30.0) -> Outbox:
        return Outbox(
            *(
                NotificationMarks(self.home),
                ReadOnlyStore(self.home),
                frozenset(EVENTS),
                self.clock.now,
                self.said.append,
            ),
            may=lambda: None,
            deadline_s=deadline_s,
            retry_s=0.01,
        )

    def courier(self, *servers: Receiver, deadline_s: float = 30.0) -> Sender:
        """A new daemon's courier for the first of these servers' services."""
        addresses = Addresses(tuple(server.url for server in servers), frozenset(EVENTS), "a test")
        post = self.post(deadline_s)
        return Sender(post, services(addresses)[0], post.told.newest())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "home")


@pytest.mark.slow
def test_a_message_says_which_run_what_happened_and_what_to_type(desk: Desk, server: Receiver) -> None:
    courier = desk.courier(server)
    courier.deliver()
    desk.happen(PARKED)
    courier.deliver()
    (message,) = server.taken
    assert message["title"] == f"relay: {RUN} needs you"
    assert message["message"].splitlines() == [
        "parked: session 2 failed twice at the same step: it broke",
        f"look: relay status {RUN}",
        f"type: relay retry {RUN}",
    ]
    assert message["type"] == "failure"


@pytest.mark.slow
def test_nothing_is_sent_twice_though_the_daemon_begins_anew(desk: Desk, server: Receiver) -> None:
    desk.courier(server).deliver()
    desk.happen(PARKED)
    for _ in range(3):
        courier = desk.courier(server)
        courier.deliver()
        courier.deliver()
    assert server.titles == [f"relay: {RUN} needs you"]


@pytest.mark.slow
def test_of_two_messages_only_the_one_that_was_refused_is_sent_again(desk: Desk, server: Receiver) -> None:
    other = replace(STARTED, run="r-0002")
    desk.store.begin_run(other, desk.clock.now())
    courier = desk.courier(server)
    courier.deliver()
    desk.happen(PARKED)
    desk.store.append(other.run, (RunFinished(),), desk.clock.now())
    server.next = [200, 500]
    courier.deliver()
    assert server.titles == [f"relay: {RUN} needs you"]
    desk.courier(server).deliver()
    assert server.titles == [f"relay: {RUN} needs you", "relay: r-0002 is finished"]
    assert set(NotificationMarks(desk.home).marks(courier.service.shown)) == {""}, "one mark is enough once all is told"


@pytest.mark.slow
def test_what_happened_before_a_service_was_first_configured_is_not_told(desk: Desk, server: Receiver) -> None:
    desk.happen(PARKED)
    desk.courier(server).deliver()
    assert server.asked == 0


@pytest.mark.slow
def test_a_service_that_was_away_gets_what_it_missed_in_one_message_with_the_time(desk: Desk, server: Receiver) -> None:
    courier = desk.courier(server)
    courier.deliver()
    server.status = 500
    desk.happen(PARKED)
    desk.happen(RunResumed())
    desk.happen(RunParked(reason="no TPU", remedy=f"relay retry {RUN}"))
    courier.deliver()
    assert (server.asked, server.taken) == (1, [])
    desk.clock.sleep(3 * 3600.0)
    server.status = 200
    desk.courier(server).deliver()
    (message,) = server.taken
    assert message["message"].splitlines()[0] == "2030-01-07 00:00 UTC: parked: no TPU"
    assert "it broke" not in message["message"], "a person has seen to that already"


def test_what_is_older_than_a_week_is_told_no_more(desk: Desk, server: Receiver) -> None:
    desk.courier(server).deliver()
    desk.happen(RunFinished())
    desk.clock.sleep(timedelta(days=8).total_seconds())
    desk.courier(server).deliver()
    assert server.asked == 0


@pytest.mark.parametrize("days", [8, 365])
def test_that_a_run_needs_a_person_is_told_however_long_ago_it_seems(desk: Desk, server: Receiver, days: int) -> None:
    """A machine that starts with the clock of years ago parks a run, and sets its clock a moment later."""
    desk.courier(server).deliver()
    desk.happen(PARKED)
    desk.clock.sleep(timedelta(days=days).total_seconds())
    desk.courier(server).deliver()
    assert server.titles == [f"relay: {RUN} needs you"]
    desk.courier(server).deliver()
    assert server.asked == 1


def test_that_a_run_needed_a_person_is_not_told_once_one_has_seen_to_it(desk: Desk, server: Receiver) -> None:
    desk.courier(server).deliver()
    desk.happen(PARKED)
    desk.happen(RunResumed())
    desk.clock.sleep(timedelta(days=8).total_seconds())
    desk.courier(server).deliver()
    assert server.asked == 0


def test_one_service_that_refuses_takes_nothing_from_another(desk: Desk, server: Receiver) -> None:
    with receiver() as second:
        first, other = desk.courier(server), desk.courier(second)
        for courier in (first, other):
            courier.deliver()
        server.status = 500
        desk.happen(PARKED)
        for courier in (first, other, first, other):
            courier.deliver()
        assert second.titles == [f"relay: {RUN} needs you"]
        assert server.asked == 2


def test_a_service_that_refuses_is_told_of_once_without_its_secret_and_so_is_that_it_takes_messages_again(
    desk: Desk, server: Receiver
) -> None:
    courier = desk.courier(server)
    courier.deliver()
    server.status = 500
    desk.happen(RunFinished())
    for _ in range(3):
        courier.deliver()
    server.status = 200
    courier.deliver()
    failed, again = desk.said
    assert failed.startswith("JSON (json://127.0.0.1:")
    assert "500" in failed
    assert failed.endswith("(relay tries again)")
    assert again.endswith("accepts messages again")
    assert SECRET not in failed + again


def test_why_a_service_refuses_is_heard_in_a_program_that_set_up_its_own_logging(desk: Desk, server: Receiver) -> None:
    courier = desk.courier(server)
    courier.deliver()
    logging.config.dictConfig({"version": 1})  # which silences every logger that it does not name
    server.status = 500
    desk.happen(RunFinished())
    courier.deliver()
    (failed,) = desk.said
    assert "500" in failed


def test_a_service_that_hangs_is_left_behind_and_its_late_answer_counts(desk: Desk, server: Receiver) -> None:
    courier = desk.courier(server, deadline_s=0.05)
    courier.deliver()
    server.free.clear()
    desk.happen(RunFinished())
    for _ in range(3):
        courier.deliver()
    assert server.asked == 1, "no second message is begun before the first one has come back"
    assert "did not answer within" in desk.said[0]
    server.free.set()
    until(lambda: courier.deliver() or server.taken)
    until(lambda: courier.deliver() or len(desk.said) == 2)
    assert server.titles == [f"relay: {RUN} is finished"]


@pytest.mark.slow
def test_couriers_end_with_the_daemon_though_a_service_hangs(desk: Desk, server: Receiver) -> None:
    addresses = Addresses((server.url,), frozenset(EVENTS), "a test")
    server.free.clear()
    with Senders(desk.post(), services(addresses), farewell_s=0.2) as couriers:
        until(lambda: NotificationMarks(desk.home).marks(services(addresses)[0].shown))
        desk.happen(RunFinished())
        couriers.wake()
        until(lambda: server.asked)
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith(("notify", "send")))


def test_the_last_message_is_sent_before_the_daemon_ends(desk: Desk, server: Receiver) -> None:
    addresses = Addresses((server.url,), frozenset(EVENTS), "a test")
    with Senders(desk.post(), services(addresses)):
        desk.happen(RunFinished())
    assert server.titles == [f"relay: {RUN} is finished"]


def test_a_full_disk_is_told_when_it_begins_and_when_it_is_over(desk: Desk, server: Receiver) -> None:
    courier = desk.courier(server)
    later = desk.clock.now() + timedelta(seconds=60)
    desk.store.append(
        RUN,
        [],
        desk.clock.now(),
        watch=PollState(failures=1, failure="the disk that holds home is full", not_before=later),
    )
    for _ in range(2):
        courier.deliver()
    desk.courier(server).deliver()
    desk.store.append(RUN, [], desk.clock.now(), watch=PollState())
    courier.deliver()
    assert server.titles == [f"relay: {RUN} is held up", f"relay: {RUN} goes on"]
    assert "the disk that holds home is full" in server.taken[0]["message"]


def test_a_kaggle_that_does_not_answer_is_told_after_half_an_hour(desk: Desk, server: Receiver) -> None:
    courier, now = desk.courier(server), desk.clock.now()
    later = now + timedelta(hours=1)
    desk.store.append(
        RUN,
        [],
        desk.clock.now(),
        watch=PollState(failures=4, failing_since=now, failure="Kaggle is away", not_before=later),
    )
    courier.deliver()
    assert server.asked == 0
    desk.clock.sleep(1800.0)
    courier.deliver()
    assert server.titles == [f"relay: {RUN} is held up"]


# --- the command ---------------------------------------------------------------


def write(home: Path, text: str, mode: int = 0o600) -> Path:
    home.mkdir(exist_ok=True)
    path = home / "notify.yaml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


@pytest.mark.slow
def test_notify_test_says_of_each_service_whether_it_took_the_message(tmp_path: Path, server: Receiver) -> None:
    with receiver() as refusing:
        refusing.status = 500
        write(tmp_path / "home", f"urls:\n  - {server.url}\n  - {refusing.url}\n")
        told = relay("notify", "--test", home=tmp_path / "home")
    assert told.returncode == 1
    good, bad = told.stdout.splitlines()
    assert good.startswith("JSON  json://127.0.0.1:")
    assert good.endswith("accepted it")
    assert "did not accept it" in bad
    assert "500" in bad
    assert server.titles == ["relay: a test"]
    assert SECRET not in told.stdout + told.stderr


@pytest.mark.slow
def test_programs_are_told_the_same_without_secrets(tmp_path: Path, server: Receiver) -> None:
    told = relay("notify", "--test", "--json", home=tmp_path / "home", environ={"RELAY_NOTIFY": server.url})
    assert told.returncode == 0
    document = json.loads(told.stdout)
    assert [(one["name"], one["accepted"], one["problem"]) for one in document["services"]] == [("JSON", True, "")]
    assert (document["source"], document["command"]) == ("RELAY_NOTIFY", None)
    assert SECRET not in told.stdout


@pytest.mark.slow
def test_notify_test_names_a_service_that_nobody_listens_at(tmp_path: Path) -> None:
    with receiver() as gone:
        url = gone.url
    told = relay("notify", "--test", home=tmp_path / "home", environ={"RELAY_NOTIFY": url})
    assert told.returncode == 1
    assert "onnection error" in told.stdout
    assert SECRET not in told.stdout + told.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_notify_test_without_an_address_exits_with_2_and_says_where_to_write_one(tmp_path: Path) -> None:
    told = relay("notify", "--test", home=tmp_path / "home")
    assert told.returncode == 2
    assert str(tmp_path / "home" / "notify.yaml") in told.stderr
    assert len(told.stderr.splitlines()) == 1
    shown = relay("notify", home=tmp_path / "home")
    assert (shown.returncode, shown.stdout.startswith("no notification service is configured:")) == (0, True)
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_notify_shows_what_is_configured_without_its_secrets(tmp_path: Path, server: Receiver) -> None:
    path = write(tmp_path / "home", f"urls: [{server.url}]\nevents: [parked, trouble]\n", 0o644)
    told = relay("notify", home=tmp_path / "home")
    assert told.returncode == 0
    assert f"type `chmod 600 {path}`" in told.stdout
    assert "parked: a run needs you" in told.stdout
    assert "finished" not in told.stdout
    assert SECRET not in told.stdout
    assert server.asked == 0
