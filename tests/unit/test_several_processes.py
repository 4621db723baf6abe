"""Processes that run one session together: the first one decides and writes, and the others do what it decided."""

import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.contract import Accelerator, Cursor, Order, Report
from stages.session import runner
from stages.session.accelerator import STAND_IN
from stages.session.failure_report import Failure
from stages.session.host_failures import found, heeding_others, judged, tell
from stages.session.hosts import Hosts, decided, devices_here, said
from stages.stage import Context, Next, StageFailed
from tests.unit.counting_runs import Clock, Kaggle, events, kaggle, order, own

PATIENCE_S = 30.0
FAILED = Failure("out-of-memory", "sft ran out of memory", False, "the traceback")
TWO = Accelerator(platform="cpu", devices=2, processes=2)


class Meeting:
    """A place where threads exchange texts, as processes do through JAX."""

    def __init__(self, count: int) -> None:
        self._texts = [""] * count
        self._barrier = threading.Barrier(count, timeout=PATIENCE_S)

    def exchange_of(self, index: int) -> Callable[[str], Sequence[str]]:
        def exchange(text: str) -> Sequence[str]:
            self._texts[index] = text
            self._barrier.wait()
            found = tuple(self._texts)
            self._barrier.wait()
            return found

        return exchange


def together(asked: Order, world: Kaggle, clocks: Sequence[Clock]) -> list[int]:
    """Run a session in one thread for each clock; returns their exit statuses."""
    meeting, statuses = Meeting(len(clocks)), [-1] * len(clocks)
    (world.root / "tmp").mkdir(exist_ok=True)

    def run(index: int, clock: Clock) -> None:
        hosts = Hosts(index, len(clocks), world.root / "hosts", meeting.exchange_of(index))
        statuses[index] = runner.main(
            asked,
            working=world.working,
            inputs=world.inputs,
            started_s=clock(),
            clock=clock,
            ready=runner.Ready(hosts=hosts),
        )

    threads = [threading.Thread(target=run, args=pair, name=str(pair[0])) for pair in enumerate(clocks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    return statuses


def train(context: Context) -> None:
    """A stage whose state the first process writes."""
    before = context.checkpoint
    total = 0 if before is None else int((before.directory / "total").read_text())

    def write(directory: Path) -> dict[str, str]:
        if threading.current_thread().name == "0":
            (directory / "total").write_text(str(total))
        return {"total": str(total)}

    for step in range(context.start_step + 1, context.spec.steps + 1):
        total += step
        answer = context.step_done(step, {"total": total})
        if answer is not Next.GO_ON:
            context.save(step, write)
        if answer is Next.STOP:
            return


def signalled(context: Context) -> None:
    """A stage that gets in its second step the signal which srun passes on."""
    for step in range(1, context.spec.steps + 1):
        if step == 2:
            signal.raise_signal(signal.SIGUSR1)
        if context.step_done(step, {}) is not Next.GO_ON:
            context.save(step, lambda _directory: {"nothing": "0"})
            return


class Ticking(Clock):
    """A clock by which each look takes some time."""

    def __init__(self, tick_s: float) -> None:
        super().__init__()
        self._tick_s = tick_s

    def __call__(self) -> float:
        self.pass_s(self._tick_s)
        return self.now_s


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own stage is taken to need an accelerator; this one does not."""
    monkeypatch.setenv(STAND_IN, "1")


def report_of(world: Kaggle) -> Report:
    return Report.from_json((world.working / "relay" / "report.json").read_text())


def test_the_first_process_decides_when_all_stop_and_writes_for_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = kaggle(tmp_path / "kaggle")
    asked = order(stages=(own("first", 500, train),), budget_s=60.0, limit_s=70.0)
    assert together(asked, world, [Ticking(0.2), Clock()]) == [0, 0]
    report, told = report_of(world), events(capsys.readouterr().out)
    assert report.outcome == "yielded"
    assert 0 < report.reached.step < 500, "the second process has all the time in the world, and stops with the first"
    assert report.checkpoint is not None and report.checkpoint.cursor == report.reached
    assert [event["event"] for event in told].count("stopping") == 1
    assert [event["number"] for event in told] == list(range(len(told))), "no event is of the second process"
    assert not list((world.root / "hosts").glob("writing-*")), "the first process removes what was being written"


def test_all_begin_the_next_stage_from_the_checkpoint_that_the_first_process_wrote(tmp_path: Path) -> None:
    alone, several = kaggle(tmp_path / "alone"), kaggle(tmp_path / "several")
    asked = order(stages=(own("first", 3, train), own("second", 4, train)))
    together(asked, alone, [Clock()])
    assert together(asked, several, [Clock(), Clock(), Clock()]) == [0, 0, 0]
    ends = [report_of(world).checkpoint for world in (alone, several)]
    assert ends[0] is not None and ends[0].cursor == Cursor(stage="second", step=4)
    assert ends[0] == ends[1]


def test_the_signal_that_srun_passes_on_ends_a_session_at_its_next_step(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    _, report = kaggle(tmp_path / "kaggle").run(order(stages=(own("first", 7, signalled),)))
    assert (report.outcome, report.reached) == ("yielded", Cursor(stage="first", step=2))
    assert signal.getsignal(signal.SIGUSR1) is before


def test_a_process_alone_exchanges_nothing() -> None:
    assert Hosts().agreed("stop", same={"data": 1}) == "stop"
    Hosts().part()


def test_the_first_processs_decision_holds_and_other_data_end_the_session() -> None:
    assert decided([said("stop", {"rows": 3}), said("go_on", {"rows": 3})]) == "stop"
    with pytest.raises(StageFailed, match="process 2 of this session has read other data") as raised:
        decided([said("stop", {"rows": 3}), said("stop", {"rows": 3}), said("stop", {"rows": 4})])
    assert raised.value.cause == "hosts-differ"


@pytest.mark.parametrize(
    ("promised", "environ", "place"),
    [
        (Accelerator(), {}, (0, 1)),
        (Accelerator(), {"RELAY_PROCESS": "3"}, (0, 1)),
        (TWO, {"RELAY_PROCESS": "1"}, (1, 2)),
        (TWO, {STAND_IN: "1"}, (0, 1)),
        (TWO, {}, None),  # no launcher told it
        (TWO, {"RELAY_PROCESS": "2"}, None),
    ],
)
def test_a_process_knows_its_place_from_the_order_and_its_launcher(
    promised: Accelerator, environ: dict[str, str], place: tuple[int, int] | None
) -> None:
    if place is None:
        with pytest.raises(ValueError, match="this session has 2 processes"):
            Hosts.of(promised, environ, Path("hosts"))
        return
    hosts = Hosts.of(promised, environ, Path("hosts"))
    assert (hosts.index, hosts.count, hosts.first) == (*place, place[0] == 0)


@pytest.mark.parametrize(
    ("promised", "local", "devices"),
    [
        (TWO, 1, None),
        (Accelerator(platform="gpu", devices=4), 0, None),
        (Accelerator(platform="gpu", devices=8, processes=2), 0, [0, 1, 2, 3]),
        (Accelerator(platform="gpu", devices=8, processes=4), 1, [2, 3]),
    ],
)
def test_the_processes_of_a_host_share_its_devices(
    promised: Accelerator, local: int, devices: list[int] | None
) -> None:
    assert devices_here(promised, local) == devices


def test_an_order_of_one_process_has_the_bytes_that_it_always_had() -> None:
    assert "processes" not in Accelerator(platform="gpu", devices=4).to_dict()
    assert Accelerator.from_dict(TWO.to_dict()) == TWO


def test_several_processes_carry_out_no_stage_that_they_cannot_run_together(tmp_path: Path) -> None:
    asked = replace(order(), accelerator=TWO)
    hosts = Hosts(0, 2, tmp_path / "hosts", lambda text: (text, text))
    world = kaggle(tmp_path / "kaggle")
    runner.main(asked, working=world.working, inputs=world.inputs, started_s=0.0, ready=runner.Ready(hosts=hosts))
    assert (report_of(world).cause, "first is counting" in report_of(world).reason) == ("order-inconsistent", True)


def test_the_failure_of_another_process_is_reported_where_the_first_hangs(tmp_path: Path) -> None:
    reports: list[Report] = []
    left = threading.Event()
    tell(Hosts(1, 2, tmp_path), FAILED)
    first = Hosts(0, 2, tmp_path)
    tell(first, FAILED)
    assert len(list(tmp_path.iterdir())) == 1, "the first process reports its own"
    failed = found(first)
    assert failed is not None and failed.reason == "process 1 of 2: sft ran out of memory"

    session: Any = SimpleNamespace(
        hosts=first, failing=True, output=SimpleNamespace(report=reports.append, numerics=None), **_reported(order())
    )
    with heeding_others(session, lambda _status: left.set(), grace_s=0.0):
        assert not left.wait(1.5), "a process that fails by itself reports that"
        session.failing = False
        assert left.wait(PATIENCE_S)
    assert (reports[0].outcome, reports[0].cause) == ("failed", "out-of-memory")


@pytest.mark.parametrize(
    ("error", "processes", "cause"),
    [
        (RuntimeError("Gloo all-reduce failed: Connection closed by peer [127.0.0.1]:4711"), 2, "host-lost"),
        (RuntimeError("UNAVAILABLE: failed to connect to all addresses"), 2, "host-lost"),
        (RuntimeError("Gloo all-reduce failed: Connection closed by peer [127.0.0.1]:4711"), 1, "out-of-memory"),
        (ValueError("operands could not be broadcast together"), 2, "out-of-memory"),
        (StageFailed("bad-data", "the barrier of examples is empty"), 2, "out-of-memory"),
    ],
)
def test_an_error_that_says_that_another_process_is_gone_is_transient(
    error: Exception, processes: int, cause: str, tmp_path: Path
) -> None:
    failed = judged(Hosts(0, processes, tmp_path), FAILED, error)
    assert (failed.cause, failed.transient) == (cause, cause == "host-lost")


def _reported(asked: Order) -> dict[str, Any]:
    """Return what a report is made of."""
    return {
        "order": asked,
        "reached": asked.start,
        "checkpoint": None,
        "stages": {},
        "timings": {},
        "pins": [],
        "clock": lambda: 1.0,
        "log": SimpleNamespace(event=lambda *_, **__: None),
        "account": SimpleNamespace(seconds=dict),
    }
