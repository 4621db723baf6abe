"""Two trainings in one process that take turns, a block of steps each, so that a machine that is busy is busy for both.

Each says `passed` when it comes by the end of a step. What is measured of a block begins some steps after its begin: by then
the caches are its own again, and what was dispatched ahead is under way.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from stages import grpo, sft
from stages.stage import Context, Next, Write

LEAD_STEPS = 3
"""Of a block, so many steps are not measured. Tunix keeps two under way."""


class Turns:
    """Whose turn it is, and when each training came by the end of each step."""

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
        """Around a whole training: it begins when it is its turn, and the turn is the other's for good when it ends."""
        self._wait(name)
        try:
            yield
        finally:
            with self._changed:
                self._gone.add(name)
                self._hand_over(name)

    def passed(self, name: str, step: int) -> None:
        """Step `step` of this training is over. At the end of a block this returns when it is its turn again.

        After the last block each goes on to its end by itself.
        """
        self._ended_s[name][step] = time.perf_counter()
        if step % self._block_steps or step // self._block_steps > self._blocks:
            return
        with self._changed:
            self._hand_over(name)
        self._wait(name)

    def steps_s(self, name: str) -> list[float]:
        """Mean seconds of a step in each block but the first, in which things are compiled."""
        ended_s, size = self._ended_s[name], self._block_steps
        begins = [block * size + LEAD_STEPS for block in range(1, self._blocks)]
        ends = [(block + 1) * size for block in range(1, self._blocks)]
        return [(ended_s[end] - ended_s[begin]) / (end - begin) for begin, end in zip(begins, ends, strict=True)]

    def between_s(self, name: str, one: int, other: int) -> float:
        """Seconds from the end of one step of a training to the end of another."""
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
    """A stage's context that takes turns after each step, and measures how long the stage waits for a save."""

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
"""How the stages below find the turns that they take: an order can name a stage, and give it nothing but text."""


@contextmanager
def taking(wrap: Callable[[Context], InTurns]) -> Iterator[None]:
    """While this lasts, stages of the kinds `benchmarks.turns:train_sft` and `…:train_grpo` run in what this wraps around."""
    _taking.append(wrap)
    try:
        yield
    finally:
        _taking.pop()


def train_sft(context: Context) -> None:
    """The stage `sft`, in turns."""
    sft.train(_taking[-1](context))


def train_grpo(context: Context) -> None:
    """The stage `grpo`, in turns."""
    grpo.train(_taking[-1](context))
