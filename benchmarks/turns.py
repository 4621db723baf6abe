"""Alternate two trainings in one process by blocks of steps, so that temporary load on the machine affects both.

Each training calls `passed` at the end of a step. The measurement of a block starts some steps after its beginning,
when the caches are warm again and asynchronously dispatched steps are under way.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from stages import grpo, sft
from stages.stage import Context, Next, Write

LEAD_STEPS = 3
"""Number of steps at the beginning of a block that are not measured. Tunix keeps two in flight."""


class Turns:
    """Alternates two trainings and records the end time of each step."""

    def __init__(self, names: tuple[str, str], block_steps: int, blocks: int) -> None:
        assert block_steps > LEAD_STEPS
        self._names = names
        self._block_steps = block_steps
        self._blocks = blocks
        self._turn = names[0]
        self._gone: set[str] = set()
        self._changed = threading.Condition()
        self._ended_s: dict[str, dict[int, float]] = {name: {} for name in names}

    @contextmanager
    def taken_by(self, name: str) -> Iterator[None]:
        """Enclose a whole training: wait for the first turn, and leave all turns to the other one at the end."""
        self._wait(name)
        try:
            yield
        finally:
            with self._changed:
                self._gone.add(name)
                self._hand_over(name)

    def passed(self, name: str, step: int) -> None:
        """Record the end of step `step`. At the end of a block, block until this training's next turn.

        After the last block each training continues to its end without further turns.
        """
        self._ended_s[name][step] = time.perf_counter()
        if step % self._block_steps or step // self._block_steps > self._blocks:
            return
        with self._changed:
            self._hand_over(name)
        self._wait(name)

    def steps_s(self, name: str) -> list[float]:
        """Return the mean seconds per step of each block except the first, which includes compilation."""
        ended_s, size = self._ended_s[name], self._block_steps
        begins = [block * size + LEAD_STEPS for block in range(1, self._blocks)]
        ends = [(block + 1) * size for block in range(1, self._blocks)]
        return [(ended_s[end] - ended_s[begin]) / (end - begin) for begin, end in zip(begins, ends, strict=True)]

    def between_s(self, name: str, one: int, other: int) -> float:
        """Return the seconds from the end of one step of a training to the end of another."""
        return self._ended_s[name][other] - self._ended_s[name][one]

    def _hand_over(self, name: str) -> None:
        other = next(one for one in self._names if one != name)
        if other not in self._gone:
            self._turn = other
        self._changed.notify_all()

    def _wait(self, name: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._turn == name or len(self._gone) == 1)
            self._turn = name


class InTurns:
    """Wrapper of a stage's context: takes turns after each step and measures how long the stage waits for a save."""

    def __init__(self, context: Context, name: str, turns: Turns, holds_s: list[float]) -> None:
        self._context = context
        self._name = name
        self._turns = turns
        self._holds_s = holds_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def step_done(self, step: int, metrics: Mapping[str, float]) -> Next:
        answer = self._context.step_done(step, metrics)
        self._turns.passed(self._name, step)
        return answer

    def save(self, step: int, write: Write) -> None:
        began_s = time.perf_counter()
        self._context.save(step, write)
        self._holds_s.append(time.perf_counter() - began_s)


_taking: list[Callable[[Context], InTurns]] = []
"""Stack of context wrappers for the stages below. Global, because an order can pass only text to a stage."""


@contextmanager
def taking(wrap: Callable[[Context], InTurns]) -> Iterator[None]:
    """Wrap the contexts of the stages `benchmarks.turns:train_sft` and `…:train_grpo` inside the block."""
    _taking.append(wrap)
    try:
        yield
    finally:
        _taking.pop()


def train_sft(context: Context) -> None:
    """Run the stage `sft` in turns."""
    sft.train(_taking[-1](context))


def train_grpo(context: Context) -> None:
    """Run the stage `grpo` in turns."""
    grpo.train(_taking[-1](context))
