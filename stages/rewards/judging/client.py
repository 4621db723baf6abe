"""Client of the judges: starts their processes on first use, restarts a lost one once, and ends them.

Safe to call from every thread and after a fork. Verdicts are cached. Standard library only.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stages.rewards.judging import wire
from stages.stage import StageFailed

Kind = Literal["math", "python"]
ROOT = Path(__file__).resolve().parents[3]
START = (
    "import json, sys; kind, root, more = sys.argv[1:]; sys.path += [root, *json.loads(more)];"
    "from stages.rewards.judging import server; server.main(kind)"
)
CASES_MAX = 128
"""Maximum number of cases sent at once, so that all verdicts fit into the pipe's buffer."""
REMEMBERED_MAX = 20_000
MISSING = "the judge of {kind} did not start{why}: install what relay's `train` extra lists, including math-verify[antlr4_13_2]"


@dataclass(frozen=True)
class Question:
    """Frames of a case: its own, and for Python two more frames, each read by only one of the case's two processes."""

    frame: str
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class JudgeVerdict:
    """Verdict: `said` has `1` or `0` per comparison (fewer if a limit was exceeded); `cpu_s` is the processor time."""

    said: str = ""
    limit: bool = False
    cpu_s: float = 0.0


class Judge:
    """A judge's process, with a cache of its verdicts."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._known: dict[Question, JudgeVerdict] = {}
        self._counts: Counter[str] = Counter()

    def ask(self, questions: Sequence[Question]) -> list[JudgeVerdict]:
        """Return the verdict on each question; empty if even a restarted judge was lost.

        Raises StageFailed if the judge does not start.
        """
        with self._lock:
            fresh = [question for question in dict.fromkeys(questions) if question not in self._known]
            if len(self._known) + len(fresh) > REMEMBERED_MAX:
                self._known.clear()
                fresh = list(dict.fromkeys(questions))
            for begin in range(0, len(fresh), CASES_MAX):
                self._judge(fresh[begin : begin + CASES_MAX])
            return [self._known[question] for question in questions]

    def counts(self) -> dict[str, int]:
        """Return this process's counts: cases `judged`, over a `limit`, `lost` with a judge; judges `started`."""
        with self._lock:
            return {name: self._counts[name] for name in ("judged", "limit", "lost", "started")}

    def close(self) -> None:
        """End the judge's process; the next question starts a new one."""
        with self._lock:
            self._end()

    def _judge(self, questions: Sequence[Question]) -> None:
        waiting = list(questions)
        for _ in range(2):
            try:
                self._exchange(waiting)
            except (OSError, wire.Closed):
                self._end()
            waiting = [question for question in waiting if question not in self._known]
            if not waiting:
                return
        for question in waiting:
            self._learn(question, JudgeVerdict())
            self._counts["lost"] += 1

    def _exchange(self, questions: Sequence[Question]) -> None:
        reads, writes = self._pipes()
        for place, question in enumerate(questions):
            wire.send(writes, {"id": place, **json.loads(question.frame)})
            for frame in question.more:
                wire.send_text(writes, frame)
        for _ in questions:
            said = wire.receive(reads)
            self._learn(questions[said["id"]], JudgeVerdict(said["said"], said["limit"], said["cpu_s"]))

    def _learn(self, question: Question, verdict: JudgeVerdict) -> None:
        self._known[question] = verdict
        self._counts["judged"] += 1
        self._counts["limit"] += verdict.limit

    def _pipes(self) -> tuple[int, int]:
        if self._process is None or self._owner != os.getpid():
            self._process, self._owner = self._start(), os.getpid()
        assert self._process.stdout is not None and self._process.stdin is not None
        return self._process.stdout.fileno(), self._process.stdin.fileno()

    def _start(self) -> subprocess.Popen[bytes]:
        more = [str(Path(place).resolve()) for place in sys.path if place] if self._kind == "math" else []
        # PYTHONHASHSEED makes the order of string sets the same in every session. `-I` would ignore it, so the flags
        # are those that `-I` implies, except `-E`.
        process = subprocess.Popen(
            [sys.executable, "-s", "-P", "-S", "-X", "utf8", "-c", START, self._kind, str(ROOT), json.dumps(more)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONHASHSEED": "0"},
            bufsize=0,
        )
        assert process.stdout is not None
        self._counts["started"] += 1
        try:
            said: Any = wire.receive(process.stdout.fileno())
        except wire.Closed:
            said = {}
        if "ready" not in said:
            _end(process)
            why = f" ({said['error']})" if "error" in said else ""
            raise StageFailed("judge-missing", MISSING.format(kind=self._kind, why=why))
        return process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the pipes, upon which the judge ends its cases and exits; kill it if it does not."""
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()
    try:
        process.wait(timeout=2.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


JUDGES: dict[Kind, Judge] = {"math": Judge("math"), "python": Judge("python")}


def close_judges() -> None:
    """End all judges' processes. Also called automatically at exit."""
    for judge in JUDGES.values():
        judge.close()


def judge_counts() -> dict[str, int]:
    """Return the counts of all judges: cases `judged`, over a `limit`, `lost`; judges `started`."""
    counts: Counter[str] = Counter()
    for judge in JUDGES.values():
        counts.update(judge.counts())
    return {name: counts[name] for name in ("judged", "limit", "lost", "started")}


def _after_fork() -> None:
    for kind, judge in JUDGES.items():
        judge.__init__(kind)  # type: ignore[misc]


atexit.register(close_judges)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
