"""Run two implementations of the same steps in turns, in one process, and measure wall and processor seconds of each.

A stage of relay runs unchanged in a thread of its own, which its context holds at the end of each step. Nothing else
runs meanwhile, so the process's seconds are those of the one whose turn it is.
"""

import queue
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax.monitoring

from benchmarks import bare
from stages.stage import Next

COMPILES = "/jax/core/compile/"
COMPILED_SHARE_MAX = 0.02
"""Rounds in which tracing and compiling took more than this share of a step are not measured."""
TRIES = 4
"""Most rounds for each one that is measured."""


class Side(Protocol):
    """Implementation of a training or an evaluation, step by step."""

    def step(self, number: int) -> Mapping[str, float]:
        """Do step `number` (from 1), whose results must be ready, and return its metrics."""

    def close(self) -> None:
        """Release what the side holds."""


class _Enough(Exception):
    """Unwinds a stage that has done all the steps that were asked for."""


@dataclass
class HeldContext(bare.Alone):
    """Context of a stage that waits at the end of each step until `go` is released, and keeps what the stage saw."""

    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    came: "queue.Queue[dict[str, float] | None]" = field(default_factory=queue.Queue)
    closed: bool = False
    seen: dict[tuple[int, str], Any] = field(default_factory=dict)

    def saw(self, step: int, name: str, value: object) -> None:
        self.seen[step, name] = value

    def step_done(self, step: int, metrics: Mapping[str, float]) -> Next:
        self.came.put(dict(metrics))
        self.wait()
        return Next.STOP if step == self.spec.steps else Next.GO_ON

    def wait(self) -> None:
        """Wait for the next turn; raises to end the stage if there is none."""
        self.go.acquire()
        if self.closed:
            raise _Enough


class RelaySide:
    """A stage of relay, as a session runs it."""

    def __init__(self, train: Callable[[Any], None], context: HeldContext) -> None:
        self.context = context
        self._pool = ThreadPoolExecutor(1)
        self._ended = self._pool.submit(self._run, train)
        self._ended.add_done_callback(lambda _: context.came.put(None))

    def step(self, number: int) -> Mapping[str, float]:
        """Let the stage do its next step, which must be `number`. Raises what the stage raises."""
        self.context.go.release()
        found = self.context.came.get()
        if found is None:
            self._ended.result()
            raise RuntimeError(f"the stage ended before step {number}")
        return found

    def finish(self) -> None:
        """Let the stage save what its last step left, in the context's folder, and end."""
        self.context.go.release()
        self._ended.result()

    def close(self) -> None:
        """End the stage without saving, if it has not ended."""
        self.context.closed = True
        self.context.go.release()
        self._pool.shutdown()

    def _run(self, train: Callable[[Any], None]) -> None:
        with suppress(_Enough):
            self.context.wait()
            train(self.context)


@dataclass(frozen=True)
class Taken:
    """Seconds of one step."""

    wall_s: float
    processor_s: float
    compiling_s: float
    metrics: Mapping[str, float]

    @property
    def compiled(self) -> bool:
        """True if the step had to compile programs, and says nothing about the steps to come."""
        return self.compiling_s > COMPILED_SHARE_MAX * self.wall_s


@dataclass(frozen=True)
class Abreast:
    """Measured rounds: the same step by each side, in pairs."""

    bare: tuple[Taken, ...]
    relay: tuple[Taken, ...]
    units: float
    """Examples, steps or problems in each step."""
    tried: int
    """All rounds, with those that compiled."""

    def ratios(self, what: str = "wall_s") -> list[float]:
        """Return, per round, relay's rate divided by the bare one; `what` is `wall_s` or `processor_s`."""
        return [getattr(b, what) / getattr(r, what) for b, r in zip(self.bare, self.relay, strict=True)]

    def ratio(self, what: str = "wall_s") -> float:
        """Return the median of the rounds' ratios."""
        return statistics.median(self.ratios(what))

    def rates(self) -> tuple[float, float]:
        """Return the units per second (median), bare and through relay."""
        bare_s, relay_s = (statistics.median(each.wall_s for each in side) for side in (self.bare, self.relay))
        return self.units / bare_s, self.units / relay_s


_compiling_s: list[float] = []


def _listen(name: str, seconds: float, **_: Any) -> None:
    if name.startswith(COMPILES):
        _compiling_s.append(seconds)


jax.monitoring.register_event_duration_secs_listener(_listen)


def timed(side: Side, number: int) -> Taken:
    """Do one step and measure it."""
    _compiling_s.clear()
    wall_s, processor_s = time.perf_counter(), time.process_time()
    metrics = side.step(number)
    return Taken(time.perf_counter() - wall_s, time.process_time() - processor_s, sum(_compiling_s), metrics)


def abreast(
    bare_side: Side, relay_sides: Mapping[str, Side], rounds: int, units: float, progress: Callable[[str], None]
) -> dict[str, Abreast]:
    """Do rounds until each of relay's sides has `rounds` that compiled nothing, and return those by its name.

    relay goes first: bare Tunix skips a step that relay had to compile for. Raises SystemExit if too many rounds compile.
    """
    pairs: dict[str, list[tuple[Taken, Taken]]] = {name: [] for name in relay_sides}
    bare_is_warm = False
    for number in range(1, TRIES * (rounds + 1) + 1):
        ours = {name: timed(side, number) for name, side in relay_sides.items()}
        said = [f"{name} {taken.wall_s:.2f} s{', compiled' * taken.compiled}" for name, taken in ours.items()]
        if not bare_is_warm or not all(taken.compiled for taken in ours.values()):
            theirs = timed(bare_side, number)
            bare_is_warm = not theirs.compiled
            said.append(f"bare {theirs.wall_s:.2f} s{', compiled' * theirs.compiled}")
            for name, taken in ours.items():
                if not (taken.compiled or theirs.compiled or len(pairs[name]) == rounds):
                    pairs[name].append((theirs, taken))
        progress(f"  step {number}: {'; '.join(said)}")
        if all(len(found) == rounds for found in pairs.values()):
            break
    else:
        raise SystemExit(f"of {number} rounds too few compiled nothing: ask for fewer rounds")
    return {
        name: Abreast(tuple(each for each, _ in found), tuple(each for _, each in found), units, number)
        for name, found in pairs.items()
    }
