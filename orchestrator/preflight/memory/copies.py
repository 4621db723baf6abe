"""Computes in copies of this process, a few at a time.

XLA cannot be told to stop once it has planned the memory, and compiling leaks memory; a copy ends as soon as it has its
result. Importing everything again would take seconds each time. Copying is safe as long as JAX has no devices, for
which it starts threads.
"""

import gc
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")


class Copies(Generic[Task]):
    """A queue of tasks, to which more may be added while results arrive."""

    def __init__(self, compute: Callable[[Task], dict[str, Any]], at_once: int) -> None:
        self._compute, self._at_once = compute, at_once
        self._waiting: list[Task] = []
        self._running: dict[int, tuple[int, Task]] = {}

    def add(self, task: Task, *, first: bool = False) -> None:
        """Add a task, to be computed after all others, or `first`."""
        self._waiting.insert(0 if first else len(self._waiting), task)

    def results(self) -> Iterator[tuple[Task, dict[str, Any]]]:
        """Yield each task with its result, in the order in which they are ready. Raises SystemExit if a copy failed.

        Copies that are still running when the iteration ends are killed.
        """
        try:
            while self._waiting or self._running:
                while self._waiting and len(self._running) < self._at_once:
                    self._start(self._waiting.pop(0))
                ready, _, _ = select.select(list(self._running), [], [])
                for pipe in ready:
                    child, task = self._running.pop(pipe)
                    yield task, _result(pipe, child)
        finally:
            for child, _ in self._running.values():
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)

    def _start(self, task: Task) -> None:
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            _compute_and_exit(lambda: self._compute(task), writes)
        os.close(writes)
        self._running[reads] = (child, task)


def _compute_and_exit(compute: Callable[[], dict[str, Any]], writes: int) -> None:
    """Write the result as JSON to a pipe, and end this process."""
    gc.disable()  # tracing allocates so much that looking for garbage takes a fifth of its time
    status = 1
    try:
        with os.fdopen(writes, "w", encoding="utf-8") as pipe:
            pipe.write(json.dumps(compute()))
        status = 0
    except BaseException:  # noqa: BLE001 - the parent reports the last line of standard error
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)  # do not wait for XLA, which may still be compiling


def _result(reads: int, child: int) -> dict[str, Any]:
    with os.fdopen(reads, encoding="utf-8") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise SystemExit(1 if os.WIFEXITED(status) else f"Error: lowering was ended by signal {os.WTERMSIG(status)}")
    result: dict[str, Any] = json.loads(said)
    return result
