"""The judge: a single-threaded process that forks a sandboxed child for every case and reports the verdict.

It is a separate process because the training process has JAX's threads, which do not survive a fork, and because an
answer must not be able to affect training. It reads cases from stdin, writes verdicts to stdout, and exits when its
input or its parent ends. Standard library only, except for mathematics.

A case is one frame `{"id", …}`. For a Python answer, `{"setup", "code"}` and `{"setup", "tests"}` follow in two more
frames, each read only by the child that needs it. The judge itself never reads them, so the memory that an answer's
process inherits contains no tests, no other answers and no reference solutions.
"""

import gc
import importlib
import os
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stages.rewards.judging import python_runner, testing, wire
from stages.rewards.judging.sandbox import ProcessLimits, confine, leave_network

PYTHON_LIMITS = ProcessLimits(cpu_s=1, memory_bytes=512 * 2**20)
MATH_LIMITS = ProcessLimits(cpu_s=1, memory_bytes=1024 * 2**20, open_files=64)
STILL_S = 0.4
"""Total time in seconds, over all polls, after which a case with only sleeping processes is ended as deadlocked."""
WALL_S_PER_CPU_S = 20.0
"""Wall-clock limit per second of processor time. A last resort: computing processes reach their CPU limit earlier."""
POLL_S = 0.1
CASES_AT_ONCE_MAX = 8
FILES_MAX = 256
"""Upper bound of the judge's file descriptors: one per case and a few of its own."""

_COMMON = (
    "array bisect calendar cmath collections copy dataclasses datetime decimal enum fractions functools heapq itertools "
    "json math numbers operator random re statistics string textwrap typing"
)
COMMON_MODULES = _COMMON.split()
"""Modules that answers commonly import. Imported before forking, so that no child has to."""


@dataclass
class Case:
    """A case in progress."""

    name: Any
    verdict_fd: int
    children: tuple[int, ...]
    wall_s: float
    began_s: float
    looked_s: float
    seen: tuple[str, ...] = ()
    still_s: float = 0.0
    said: bytes = b""


def main(kind: str) -> None:
    """Serve cases until the input ends."""
    _detach()
    try:
        forks = _prepared(kind)
    except ImportError as error:
        wire.send(1, {"error": str(error)})
        return
    wire.send(1, {"ready": kind})
    running: list[Case] = []
    at_once = max(1, min(CASES_AT_ONCE_MAX, len(_processors())))
    parent = os.getppid()
    while os.getppid() == parent:
        readable = _wait(running, reads=len(running) < at_once)
        now_s = time.monotonic()
        for case in list(running):
            if case.verdict_fd in readable and not _ended(case):
                continue
            late = _is_over_limit(case, now_s)
            if late or case.verdict_fd in readable:
                running.remove(case)
                _close(case, late)
        if 0 in readable:
            try:
                running.append(forks(wire.receive(0)))
            except wire.Closed:
                break
    for case in running:
        _end(case)


def _detach() -> None:
    """Detach: a deleted empty working folder, no network, no terminal signals, no environment."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setsid()
    place = tempfile.mkdtemp()
    os.chdir(place)
    Path(place).rmdir()
    os.environ.clear()
    leave_network()
    sys.dont_write_bytecode = True
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 2)
    os.close(null)


def _prepared(kind: str) -> Callable[[Any], Case]:
    if kind == "math":
        algebra = importlib.import_module("stages.rewards.judging.algebra")
        algebra.warm()
        gc.freeze()
        return lambda asked: _fork_math(asked, algebra)
    for name in COMMON_MODULES:
        importlib.import_module(name)
    gc.freeze()
    return _fork_python


def _processors() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return list(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


# --- children ---------------------------------------------------------------


def _fork_math(asked: Any, algebra: Any) -> Case:
    reads, writes = os.pipe()

    def judge() -> None:
        _become_child(writes, MATH_LIMITS, audited=False)
        question = algebra.alone if asked["alone"] else algebra.equal
        for wanted, given in asked["pairs"]:
            os.write(writes, b"1" if _equal_or_false(question, wanted, given) else b"0")

    child = _forked(judge)
    os.close(writes)
    return _case(asked, reads, (child,), MATH_LIMITS)


def _equal_or_false(question: Callable[[str, str], bool], wanted: str, given: str) -> bool:
    try:
        return question(wanted, given)
    except Exception:  # noqa: BLE001 SymPy may raise anything for invalid input
        return False


def _fork_python(asked: Any) -> Case:
    limits = replace(PYTHON_LIMITS, cpu_s=asked["cpu_s"])
    ours, theirs = socket.socketpair()
    line, answers_line = ours.detach(), theirs.detach()
    reads, writes = os.pipe()

    def answer(own: Any) -> None:
        _become_child(answers_line, limits)
        python_runner.answer(answers_line, own["setup"], own["code"])

    def test(own: Any) -> None:
        _become_child(line, limits, also=writes)
        os.write(writes, b"1" if testing.passes(line, own["setup"], own["tests"]) else b"0")

    answering = _forked_with_frame(answer)
    os.close(answers_line)
    tests = _forked_with_frame(test)
    os.close(line)
    os.close(writes)
    return _case(asked, reads, (tests, answering), limits)


def _forked_with_frame(work: Callable[[Any], None]) -> int:
    """Fork a child that reads the next frame itself and works on it. Raises Closed if it cannot read it."""
    ready_read, ready_write = os.pipe()

    def read_and_work() -> None:
        frame = wire.receive(0)
        os.write(ready_write, b".")  # the judge may read the next frame now
        work(frame)

    child = _forked(read_and_work)
    os.close(ready_write)
    try:
        wire.exactly(ready_read, 1)
    finally:
        os.close(ready_read)
    return child


def _case(asked: Any, verdict_fd: int, children: tuple[int, ...], limits: ProcessLimits) -> Case:
    now_s = time.monotonic()
    return Case(asked["id"], verdict_fd, children, limits.cpu_s * WALL_S_PER_CPU_S, now_s, now_s)


def _forked(work: Callable[[], None], leave: Callable[[int], None] = os._exit) -> int:
    """Fork a child that does this work and exits in any case."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            leave(0)
    return child


def _become_child(keep: int, limits: ProcessLimits, *, also: int = -1, audited: bool = True) -> None:
    """In the child: close all file descriptors except those needed, then enter the sandbox."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    low, high = sorted((max(keep, 2), max(also, 2)))
    for begin, end in ((3, low), (low + 1, high), (high + 1, FILES_MAX)):
        os.closerange(begin, end)
    confine(limits, audited=audited)


# --- verdicts ---------------------------------------------------------------


def _wait(running: list[Case], *, reads: bool) -> set[int]:
    """Return the readable descriptors. New cases are not read while all processors are in use (`reads` is False)."""
    watched = [case.verdict_fd for case in running] + ([0] if reads else [])
    return set(select.select(watched, [], [], POLL_S if running else 5.0)[0])


def _ended(case: Case) -> bool:
    """Read output of the case; return True at its end."""
    said = os.read(case.verdict_fd, 4096)
    case.said += said
    return not said


def _is_over_limit(case: Case, now_s: float) -> bool:
    """Return True if the case is deadlocked or over its wall-clock limit.

    It counts as idle only if two consecutive polls see the same state: its processes may be talking to each other.
    """
    if now_s - case.looked_s >= POLL_S:
        seen = tuple(_activity(child) for child in case.children)
        if seen == case.seen and all(activity[:1] in ("S", "Z") for activity in seen):
            case.still_s += POLL_S
        case.seen, case.looked_s = seen, now_s
    return case.still_s >= STILL_S or now_s - case.began_s > case.wall_s


def _activity(child: int) -> str:
    """Return state and processor time of a process from /proc, such as `S 12 3`; empty if unavailable."""
    try:
        with open(f"/proc/{child}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123 called often
            words = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return f"{words[0]} {words[11]} {words[12]}"


def _close(case: Case, late: bool) -> None:
    met, cpu_s = _end(case)
    wire.send(1, {"id": case.name, "said": case.said.decode(), "limit": met or late, "cpu_s": cpu_s})


def _end(case: Case) -> tuple[bool, float]:
    """Kill the case's processes. Return (CPU limit exceeded, maximum processor time of one process in seconds)."""
    met, most_s = False, 0.0
    for child in case.children:
        os.kill(child, signal.SIGKILL)  # only this process reaps it, so the id is still valid
        _, status, used = os.wait4(child, 0)
        met = met or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU)
        most_s = max(most_s, used.ru_utime + used.ru_stime)
    os.close(case.verdict_fd)
    return met, round(most_s, 3)


if __name__ == "__main__":
    main(sys.argv[1])
