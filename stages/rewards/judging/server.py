"""The judge: a clean process with one thread that forks a fenced child for every case and says what came of it.

It is a process of its own because the one that trains has JAX's threads, which do not survive a fork, and because nothing
that an answer does may reach what trains. It reads cases from its input and writes verdicts to its output, and ends when
its input does, or its parent. Standard library only, but for mathematics.

A case is one frame `{"id", …}`. Of a Python answer `{"setup", "code"}` and `{"setup", "tests"}` follow in two more, each of
which the one process reads that needs it. The judge itself never holds them, so whatever an answer finds in the memory that
it was forked with, no tests, no other answer and no reference solution is there.
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
"""A case of whose processes none ran for so long, all looks together, waits for itself: it is ended, on however busy a machine."""
WALL_S_PER_CPU_S = 20.0
"""The last resort. Processes that compute are ended by their processor time long before."""
POLL_S = 0.1
CASES_AT_ONCE_MAX = 8
FILES_MAX = 256
"""More than the judge has open at any time: one for each case and a few of its own."""

_COMMON = (
    "array bisect calendar cmath collections copy dataclasses datetime decimal enum fractions functools heapq itertools "
    "json math numbers operator random re statistics string textwrap typing"
)
COMMON_MODULES = _COMMON.split()
"""What answers import; here once, so that no child has to."""


@dataclass
class Case:
    """One that is being judged."""

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
    """Serve until the input ends."""
    _take_place()
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
            late = _is_late(case, now_s)
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


def _take_place() -> None:
    """An empty folder that is gone already, no network, and no signal that belongs to the parent's terminal."""
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
            os.write(writes, b"1" if _calm(question, wanted, given) else b"0")

    child = _forked(judge)
    os.close(writes)
    return _case(asked, reads, (child,), MATH_LIMITS)


def _calm(question: Callable[[str, str], bool], wanted: str, given: str) -> bool:
    try:
        return question(wanted, given)
    except Exception:  # noqa: BLE001 SymPy raises whatever it likes at what is no mathematics
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
    """A child that does this work with the next frame, which it alone reads. Raises Closed where it could not."""
    told, tells = os.pipe()

    def read_and_work() -> None:
        frame = wire.receive(0)
        os.write(tells, b".")  # the judge may go on with the frame behind
        work(frame)

    child = _forked(read_and_work)
    os.close(tells)
    try:
        wire.exactly(told, 1)
    finally:
        os.close(told)
    return child


def _case(asked: Any, verdict_fd: int, children: tuple[int, ...], limits: ProcessLimits) -> Case:
    now_s = time.monotonic()
    return Case(asked["id"], verdict_fd, children, limits.cpu_s * WALL_S_PER_CPU_S, now_s, now_s)


def _forked(work: Callable[[], None], leave: Callable[[int], None] = os._exit) -> int:
    """A child that does this work, and ends whatever comes of it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            leave(0)
    return child


def _become_child(keep: int, limits: ProcessLimits, *, also: int = -1, audited: bool = True) -> None:
    """In the child: nothing open but what it needs, then the fences."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    low, high = sorted((max(keep, 2), max(also, 2)))
    for begin, end in ((3, low), (low + 1, high), (high + 1, FILES_MAX)):
        os.closerange(begin, end)
    confine(limits, audited=audited)


# --- verdicts ---------------------------------------------------------------


def _wait(running: list[Case], *, reads: bool) -> set[int]:
    """The inputs at which there is something. Frames of new cases wait while as many are judged as there are processors."""
    watched = [case.verdict_fd for case in running] + ([0] if reads else [])
    return set(select.select(watched, [], [], POLL_S if running else 5.0)[0])


def _ended(case: Case) -> bool:
    """Take in what the case says; whether that was all."""
    said = os.read(case.verdict_fd, 4096)
    case.said += said
    return not said


def _is_late(case: Case, now_s: float) -> bool:
    """Whether the case has taken too long. Two looks that are far apart must find the same: a case may talk, turn by turn."""
    if now_s - case.looked_s >= POLL_S:
        seen = tuple(_activity(child) for child in case.children)
        if seen == case.seen and all(activity[:1] in ("S", "Z") for activity in seen):
            case.still_s += POLL_S
        case.seen, case.looked_s = seen, now_s
    return case.still_s >= STILL_S or now_s - case.began_s > case.wall_s


def _activity(child: int) -> str:
    """State and processor time of a process, where there is such a thing as /proc: `S 12 3`, or empty."""
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
    """End the case's processes; whether one met the limit of its processor time, and the most that one of them used."""
    met, most_s = False, 0.0
    for child in case.children:
        os.kill(child, signal.SIGKILL)  # nobody else reaps it, so this is still the one
        _, status, used = os.wait4(child, 0)
        met = met or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU)
        most_s = max(most_s, used.ru_utime + used.ru_stime)
    os.close(case.verdict_fd)
    return met, round(most_s, 3)


if __name__ == "__main__":
    main(sys.argv[1])
