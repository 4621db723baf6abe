"""Copies of a process compute tasks side by side, and none outlives its caller."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TASKS = """
import os, sys, time
from orchestrator.preflight.memory.copies import Copies
def compute(task):
    if task == "sleep":
        time.sleep(60)
    if task == "fail":
        raise ValueError("it cannot be computed")
    return {"task": task, "process": os.getpid()}
copies = Copies(compute, at_once=2)
"""


def run(rest: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, since a copy of pytest with its threads is not safe."""
    code = TASKS + rest
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_each_task_has_a_process_and_more_may_come_while_results_do() -> None:
    done = run("""
copies.add("a"); copies.add("b")
found = {}
for task, result in copies.results():
    found[task] = result
    if task == "b":
        copies.add("c", first=True)
assert sorted(found) == ["a", "b", "c"], found
assert all(result["task"] == task for task, result in found.items())
assert len({os.getpid(), *(result["process"] for result in found.values())}) == 4
""")
    assert done.returncode == 0, done.stderr


def test_a_failed_copy_ends_all_with_its_error() -> None:
    done = run("""
copies.add("fail"); copies.add("sleep")
for task, result in copies.results():
    print("never")
""")
    assert done.returncode == 1 and "ValueError: it cannot be computed" in done.stderr
    assert "never" not in done.stdout


def test_copies_that_nobody_waits_for_are_killed() -> None:
    done = run("""
copies.add("sleep"); copies.add("a")
for task, result in copies.results():
    (sleeping,) = [child for child, _ in copies._running.values()]
    break
del task, result
print(sleeping)
""")
    assert done.returncode == 0, done.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)
