"""A simulated chain: the real core, tick, effects and store against the world, on a clock that passes when somebody sleeps."""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kaggle_kernels import build
from orchestrator.clock import Clock, VirtualClock
from orchestrator.commands import Rest
from orchestrator.effects import Shell
from orchestrator.files import Home
from orchestrator.kaggle.gateway import Gateway
from orchestrator.pipeline import Pipeline
from orchestrator.pipeline_file import parse
from orchestrator.plan import Limits
from orchestrator.rehearsal.direct import DirectGateway
from orchestrator.rehearsal.faults import NO_FAULTS, FaultPlan
from orchestrator.rehearsal.rules import PerKind, Rules
from orchestrator.rehearsal.sandbox import Played, ScriptedSandbox
from orchestrator.rehearsal.world import World
from orchestrator.tick import Turn, tick
from stages.contract import (
    MANIFEST_NAME,
    Cursor,
    FileEntry,
    Manifest,
    Order,
    Progress,
    Report,
)
from state.facts import RunStarted
from state.model import RunState, RunStatus
from state.store import Store

RUN = "sim-0001"
STEP_S = 10.0
SAVED = "relay/checkpoints"

PIPELINE = """
name: sim
accelerator: TpuV5E8
session: {limit_s: 1000, margin_s: 100, save_interval_s: 200}
stages:
  - {name: one, kind: counting, steps: 100}
  - {name: two, kind: counting, steps: 120}
"""


class Crash(BaseException):
    """The daemon's process is gone at this instruction."""


class Bomb:
    """Goes off at the n-th boundary, once; counts boundaries all the while."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.passed = at, 0

    def boundary(self) -> None:
        here, self.passed = self.passed, self.passed + 1
        if here == self.at:
            raise Crash


class Fragile:
    """Whatever it stands for, with a boundary before and after each of the named calls."""

    def __init__(self, inner: Any, bomb: Bomb, calls: tuple[str, ...]) -> None:
        self._inner, self._bomb, self._calls = inner, bomb, calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._calls:
            return found

        def guarded(*args: Any, **options: Any) -> Any:
            self._bomb.boundary()
            answer = found(*args, **options)
            self._bomb.boundary()
            return answer

        return guarded


GATEWAY_CALLS = (
    "quota", "find_kernel", "push", "session", "log", "output", "download", "find_dataset", "create_dataset",
    "delete_dataset",
)  # fmt: skip
STORE_CALLS = ("append", "write_quota")


@dataclass
class Kaggle:
    """A world that outlives the daemon, and what its sessions did."""

    pipeline: Pipeline
    faults: FaultPlan = NO_FAULTS
    rules: Rules = field(default_factory=lambda: Rules(queue_s=PerKind.all(60.0)))
    play: Callable[[Order, Played, int], Played] = lambda order, played, index: played
    """Changes what the index-th session (from 1) does."""

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        self.started: Counter[str] = Counter()
        self.mounted: list[set[str]] = []
        self.trained: Counter[tuple[str, int]] = Counter()
        self.world = World(self.clock, ScriptedSandbox(self._behave), self.rules, self.faults, owner="me")

    def _behave(self, source: str, mounts: Mapping[str, Mapping[str, bytes]], limit_s: float) -> Played:
        self.mounted.append(set(mounts))
        order = build.order_in(source)
        assert order is not None, "a kernel that no order was baked into"
        self.started[order.slug] += 1
        played = self._count(order, mounts)
        return self.play(order, played, sum(self.started.values()))

    def _count(self, order: Order, mounts: Mapping[str, Mapping[str, bytes]]) -> Played:
        """Train as the counting stage does: a hash chain, so any step that is skipped or done twice changes the end."""
        parent = _parent(order, mounts)
        if order.parent is not None and parent is None:
            return _failed(order, "parent-missing")
        digest = parent["digest"] if parent else "begin"
        position = done = self.pipeline.position(order.start)
        lines: list[tuple[float, str]] = []
        files: list[tuple[float, str, bytes]] = []
        at_s, saved_s, number = 30.0, 30.0, 0
        while position < self.pipeline.total_steps and at_s + STEP_S + 20 < order.budget_s:
            position, at_s = position + 1, at_s + STEP_S
            digest = hashlib.sha256(f"{digest}/{position}".encode()).hexdigest()
            cursor = cursor_at(self.pipeline, position)
            event = Progress(number=number, event="step", at_s=at_s, stage=cursor.stage, step=cursor.step, target=0)
            lines.append((at_s, event.line()))
            number += 1
            if at_s - saved_s >= order.save_interval_s:
                files += _checkpoint(order, cursor, digest, at_s)
                saved_s = at_s
        ends_s = at_s + 20
        files += _checkpoint(order, cursor_at(self.pipeline, position), digest, ends_s)
        finished = position >= self.pipeline.total_steps
        report = _report(order, "finished" if finished else "yielded", cursor_at(self.pipeline, position))
        files.append((ends_s, "relay/report.json", report.to_json().encode()))
        self.trained[order.slug, position - done] += 1
        return Played(ends_after_s=ends_s, lines=lines, files=files)


def cursor_at(pipeline: Pipeline, position: int) -> Cursor:
    """The cursor after so many steps; a boundary belongs to the stage that ends there."""
    for stage in pipeline.stages:
        if position <= stage.steps:
            return Cursor(stage=stage.name, step=position)
        position -= stage.steps
    raise AssertionError("beyond the end")


def _parent(order: Order, mounts: Mapping[str, Mapping[str, bytes]]) -> dict[str, str] | None:
    for files in mounts.values():
        for path, data in files.items():
            if not path.endswith(MANIFEST_NAME):
                continue
            manifest = Manifest.from_json(data)
            if order.parent is not None and manifest.digest == order.parent.digest:
                state = files[path.removesuffix(MANIFEST_NAME) + "state.bin"]
                assert hashlib.sha256(state).hexdigest() == manifest.files[0].sha256
                found: dict[str, str] = json.loads(state)
                return found
    return None


def _checkpoint(order: Order, cursor: Cursor, digest: str, at_s: float) -> list[tuple[float, str, bytes]]:
    state = json.dumps({"digest": digest}).encode()
    manifest = Manifest(
        run=order.run,
        session=order.session,
        attempt=order.attempt,
        token=order.token,
        cursor=cursor,
        parent=order.parent.digest if order.parent else None,
        files=(FileEntry(path="state.bin", size_bytes=len(state), sha256=hashlib.sha256(state).hexdigest()),),
        digests={"state": digest},
    )
    folder = f"{SAVED}/{cursor.stage}-{cursor.step:08d}"
    return [(at_s, f"{folder}/state.bin", state), (at_s, f"{folder}/{MANIFEST_NAME}", manifest.to_json().encode())]


def _report(order: Order, outcome: str, reached: Cursor, **more: Any) -> Report:
    return Report(
        run=order.run,
        session=order.session,
        attempt=order.attempt,
        token=order.token,
        outcome=outcome,
        started=order.start,
        reached=reached,
        **more,
    )


def _failed(order: Order, cause: str) -> Played:
    report = _report(order, "failed", order.start, cause=cause, reason=cause, transient=True)
    return Played(ends_after_s=5.0, exit_code=1, files=[(5.0, "relay/report.json", report.to_json().encode())])


def failing(order: Order, played: Played, after_s: float, cause: str, *, transient: bool = False) -> Played:
    """The same session, with an exception of its own at that time."""
    cut = died(played, after_s)
    furthest = _last_step(cut, order)
    report = _report(
        order, "failed", furthest, cause=cause, reason="it broke", transient=transient, traceback="Traceback"
    )
    return replace(cut, exit_code=1, files=[*cut.files, (after_s, "relay/report.json", report.to_json().encode())])


def _last_step(played: Played, order: Order) -> Cursor:
    events = [Progress.from_line(text) for _, text in played.lines]
    steps = [event for event in events if event is not None]
    return Cursor(stage=steps[-1].stage, step=steps[-1].step) if steps else order.start


def died(played: Played, after_s: float) -> Played:
    """The same session, gone without notice at that time."""
    return Played(
        ends_after_s=after_s,
        exit_code=137,
        lines=[line for line in played.lines if line[0] <= after_s],
        files=[file for file in played.files if file[0] <= after_s],
    )


def hung(played: Played, after_s: float) -> Played:
    """The same session, which does nothing more from that time on and never ends by itself."""
    return replace(died(played, after_s), ends_after_s=1e9)


class Chain:
    """One run on one home folder; the daemon's process may be replaced at any time by `reopen`."""

    def __init__(self, kaggle: Kaggle, home: Path, *, run: str = RUN) -> None:
        self.kaggle, self.home, self.run = kaggle, Home(home), run
        self.gateway: Gateway = DirectGateway(kaggle.world)
        self.clock: Clock = kaggle.clock
        self.limits = Limits(poll_s=120.0)
        self.store = Store.at(home)
        pipeline = kaggle.pipeline
        self.store.begin_run(
            RunStarted(
                run=run,
                pipeline_name=pipeline.name,
                owner="me",
                accelerator=pipeline.slot,
                pipeline=pipeline.canonical(),
                pipeline_path="sim.yaml",
                pipeline_digest=pipeline.digest,
            ),
            kaggle.clock.now(),
        )

    @property
    def state(self) -> RunState:
        return self.store.load(self.run)

    def shell(self, gateway: Gateway) -> Shell:
        return Shell(gateway, self.home, self.clock, self.limits)

    def turns(self, bomb: Bomb | None = None, turns_max: int = 5000) -> Iterator[Turn]:
        """Tick until the run needs nobody or somebody; sleep on the world's clock where it rests."""
        gateway: Any = self.gateway
        store: Any = self.store
        if bomb is not None:
            gateway, store = Fragile(gateway, bomb, GATEWAY_CALLS), Fragile(store, bomb, STORE_CALLS)
        for _ in range(turns_max):
            turn = tick(store, self.run, self.shell(gateway))
            yield turn
            if isinstance(turn.command, Rest):
                if turn.command.until is None:
                    return
                until = turn.command.until - self.clock.now()
                self.clock.sleep(until.total_seconds())
        raise AssertionError(f"the chain does not end: {self.state.run}")

    def drive(self, bomb: Bomb | None = None) -> RunState:
        """All turns."""
        for _ in self.turns(bomb):
            pass
        return self.state

    def drive_through(self, *bombs: Bomb) -> RunState:
        """All turns, with a new daemon after each crash."""
        for bomb in bombs:
            try:
                return self.drive(bomb)
            except Crash:
                continue
        return self.drive()


def expected_digest(pipeline: Pipeline) -> str:
    """What a run that was never cut ends in."""
    digest = "begin"
    for position in range(1, pipeline.total_steps + 1):
        digest = hashlib.sha256(f"{digest}/{position}".encode()).hexdigest()
    return digest


def final_digest(state: RunState) -> str:
    """What this run ended in."""
    assert state.run.status is RunStatus.FINISHED, state.run
    assert state.head is not None
    return Manifest.from_json(state.head.manifest).digests["state"]


def pipeline(**changes: str) -> Pipeline:
    """The usual pipeline with some lines replaced: `pipeline(limit="limit_s: 500")` replaces what starts so."""
    text = PIPELINE
    for line in changes.values():
        key = line.split(":")[0]
        text = "\n".join(line if found.startswith(f"{key}:") else found for found in text.splitlines())
        text = text if line in text else f"{text}\n{line}\n"
    return parse(text, "sim.yaml")


@contextmanager
def fast_folder() -> Iterator[Path]:
    """A folder in memory where the system has one: SQLite's synchronous writes cost most of a simulation otherwise."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as found:
        yield Path(found)
