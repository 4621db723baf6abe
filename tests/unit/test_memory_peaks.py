"""Peaks of memory: what a session measures, what is kept of it, and what a run that ran out of memory says."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.core.memory_peaks import peaks_in, peaks_of
from orchestrator.engine.collecting.session_memory import memory_of
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.memory_plans import keep_planned, planned_in
from orchestrator.views.memory_peaks import add_planned, exhausted, measured_document
from stages.contract import Cursor, Progress, Report, StageReport
from stages.session import failure_report, peak_memory
from stages.session.throughput import memory_metrics
from state.facts.session import Judgement, NothingCollected
from state.model.metrics import Metric

GIB, MIB = 2**30, 2**20
ON_LINUX = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")


# --- in a session -------------------------------------------------------------

HOLDS_AND_LETS_GO = """
import sys
from stages.session.peak_memory import HOST, PeakMemory
memory = PeakMemory()
large = [bytearray(b"x" * int(sys.argv[1])) for _ in range(300 * 2**20 // int(sys.argv[1]))]
held = bytearray(100_000)  # above them in the heap, which therefore cannot shrink
before = memory.now()[HOST]
del large
memory.begin_stage()
print(before, memory.now()[HOST])
"""


def on_devices(monkeypatch: pytest.MonkeyPatch, local_devices: Callable[[], list[Any]]) -> None:
    """Let JAX answer the question for its devices with this function."""
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(local_devices=local_devices))


@pytest.mark.slow
@ON_LINUX
@pytest.mark.parametrize(
    "each", [300 * MIB, 50_000], ids=["in one piece", "in pieces that glibc keeps when they are freed"]
)
def test_a_stages_peak_is_its_own_and_not_that_of_a_larger_one_before(each: int) -> None:
    command = [sys.executable, "-c", HOLDS_AND_LETS_GO, str(each)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before > 300 * MIB > 100 * MIB > after > 0


def processes(proc: Path, of: dict[int, tuple[int, int]]) -> None:
    """Write /proc with processes: number -> (parent, peak in KiB)."""
    for number, (parent, peak_kib) in of.items():
        folder = proc / str(number)
        folder.mkdir()
        (folder / "status").write_text(f"Name:\tx\nVmHWM:\t{peak_kib} kB\nVmRSS:\t1 kB\n")
        (folder / "stat").write_text(f"{number} (a (odd) name) S {parent} 1 1")


def test_judges_and_what_they_started_count_and_other_processes_do_not(tmp_path: Path) -> None:
    processes(tmp_path, {10: (1, 100), 11: (10, 20), 12: (11, 3), 13: (1, 4000)})
    assert peak_memory.host_bytes(tmp_path, own=10) == 123 * 1024


@pytest.mark.parametrize(("limit", "found"), [("max", 24 * GIB), (str(GIB), GIB), (None, 24 * GIB)])
def test_the_hosts_limit_is_the_machines_or_what_a_group_is_granted(
    limit: str | None, found: int, tmp_path: Path
) -> None:
    (tmp_path / "meminfo").write_text(f"MemTotal: {24 * MIB} kB\nMemFree: 1 kB\n")
    if limit is not None:
        (tmp_path / "memory.max").write_text(limit)
    assert peak_memory.host_limit_bytes(tmp_path, tmp_path / "memory.max") == found


def test_the_device_that_used_most_is_told_with_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = [{"peak_bytes_in_use": 5, "bytes_limit": 9}, {"peak_bytes_in_use": 7, "bytes_limit": 8}, None]
    devices = [SimpleNamespace(memory_stats=lambda each=each: each) for each in stats]
    on_devices(monkeypatch, lambda: devices)
    found = peak_memory.peaks()
    assert (found["device_bytes"], found["device_limit_bytes"]) == (7, 8)
    assert memory_metrics(found) == {"memory_bytes": 7.0, "host_memory_bytes": float(found["host_bytes"])}
    assert memory_metrics({"host_bytes": 3}) == {"memory_bytes": 3.0}, "a CPU has no memory but the host's"


def test_devices_that_fail_are_left_out_and_what_was_seen_of_them_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    device = SimpleNamespace(memory_stats=lambda: {"peak_bytes_in_use": 7, "bytes_limit": 8})
    on_devices(monkeypatch, lambda: [device])
    memory = peak_memory.PeakMemory()
    memory.now()

    def lost() -> list[Any]:
        raise RuntimeError("INTERNAL: the accelerator was lost")

    on_devices(monkeypatch, lost)
    assert not {"device_bytes", "device_limit_bytes"} & peak_memory.peaks().keys()
    found = memory.now()
    assert (found["device_bytes"], found["device_limit_bytes"]) == (7, 8)


def test_a_devices_peak_counts_for_the_stage_that_raised_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = {"peak_bytes_in_use": 2, "bytes_limit": 16}
    on_devices(monkeypatch, lambda: [SimpleNamespace(memory_stats=lambda: stats)])
    memory = peak_memory.PeakMemory()
    seen = []
    for peak in (9, 9, 11):  # GRPO, a smaller evaluation, a larger stage; JAX's peak never falls
        memory.begin_stage()
        stats["peak_bytes_in_use"] = peak
        seen.append(memory.now())
    assert [found.get("device_bytes") for found in seen] == [9, None, 11]
    assert [found["device_limit_bytes"] for found in seen] == [16, 16, 16]
    told = memory_metrics(seen[1])
    assert set(told) == {"host_memory_bytes"}, "the host's memory is not the device's"
    assert peaks_of(told) == {"host_bytes": seen[1]["host_bytes"]}


PEAKS = {"device_bytes": 14 * GIB, "device_limit_bytes": 16 * GIB, "host_bytes": 3 * GIB}


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nbuffers: …")])
def test_a_session_without_memory_says_what_was_in_use(error: Exception) -> None:
    failed = failure_report.of(error, "grpo", PEAKS)
    assert (failed.cause, failed.transient) == ("out-of-memory", False)
    assert failed.reason.startswith("grpo ran out of memory: ") and "\n" not in failed.reason
    assert failed.reason.endswith(
        "; at most 14.0 of a device's 16.0 GiB and 3.0 GiB of the machine's memory were in use"
    )


# --- on the laptop ------------------------------------------------------------


def report(**stages: dict[str, int]) -> Report:
    begin = Cursor(stage="sft", step=0)
    told = {name: StageReport(done=1, target=1, memory=memory) for name, memory in stages.items()}
    return Report(run="r", session=1, attempt=1, token="t", outcome="failed", started=begin, reached=begin, stages=told)


def step(stage: str, **metrics: float) -> str:
    return Progress(number=0, event="step", at_s=1.0, stage=stage, step=1, metrics=metrics).line()


def test_a_killed_session_is_known_by_its_log_and_another_by_its_report_too() -> None:
    log = [
        step("sft", memory_bytes=5.0),
        step("sft", memory_bytes=9.0),
        step("grpo", memory_bytes=2, host_memory_bytes=4),
    ]
    assert memory_of(None, log) == {"sft": {"host_bytes": 9}, "grpo": {"device_bytes": 2, "host_bytes": 4}}
    assert memory_of(report(sft={"host_bytes": 12, "host_limit_bytes": 30}), log)["sft"] == {
        "host_bytes": 12,
        "host_limit_bytes": 30,
    }


def test_a_reports_senseless_values_are_left_out() -> None:
    assert memory_of(report(sft={"host_bytes": -1, "device_bytes": 2**60, "other": 3}), []) == {}


def collected(**memory: dict[str, int]) -> NothingCollected:
    return NothingCollected(number=1, attempt=1, judgement=Judgement(outcome="failed", memory=memory))


def test_a_runs_peak_is_that_of_its_largest_session_the_live_one_included() -> None:
    live = [Metric(run="r", session=3, attempt=1, number=1, stage="sft", step=9, name="memory_bytes", value=8, at_s=1)]
    facts = [collected(sft={"host_bytes": 5}), collected(sft={"host_bytes": 7, "host_limit_bytes": 30})]
    assert peaks_in(facts, live) == {"sft": {"host_bytes": 8, "host_limit_bytes": 30}}


def run_with(cause: str, memory: dict[str, Any]) -> dict[str, Any]:
    session = {"cause": cause, "furthest": {"stage": "grpo", "step": 4}}
    return {"sessions": [session], "memory": memory, "pipeline_digest": "d1", "cursor": {"stage": "sft", "step": 0}}


def test_a_run_out_of_memory_says_what_was_planned_and_measured(tmp_path: Path) -> None:
    facts = [(None, collected(grpo=PEAKS))]
    run = run_with("out-of-memory", measured_document(facts, []))  # type: ignore[arg-type]
    assert exhausted(run) == [
        "grpo: measured 14.0 GiB of 16.0 GiB of a device's memory; relay plan --memory plans it",
        "grpo: measured 3.0 GiB of the machine's memory; relay plan --memory plans it",
    ]
    home = HomeLayout(tmp_path)
    keep_planned(home, "d1", {"grpo": {"device": 12 * GIB, "host": 2 * GIB}})
    add_planned([run], home)
    assert exhausted(run)[0] == "grpo: planned 12.0 GiB, measured 14.0 GiB of 16.0 GiB of a device's memory"
    assert exhausted(run_with("not-a-number", run["memory"])) == []
    assert "nothing was measured" in exhausted(run_with("out-of-memory", {}))[0]


def test_a_plan_that_cannot_be_read_is_no_plan(tmp_path: Path) -> None:
    home = HomeLayout(tmp_path)
    assert planned_in(home, "d1") == {}
    keep_planned(home, "d1", {"sft": {"host": 1}})
    home.memory_plan("d1").write_text("[1]", encoding="ascii")
    assert planned_in(home, "d1") == {}
