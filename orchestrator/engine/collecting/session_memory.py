"""Reads a session's peaks of memory, stage by stage: from its report, and for a killed session from its log."""

from collections.abc import Iterable, Mapping

from orchestrator.core.memory_peaks import PEAKS, larger, peaks_of
from stages.contract import Progress, Report

BYTES_MAX = 2**50
"""Largest plausible value in bytes (a pebibyte); a report that states more is damaged."""


def memory_of(report: Report | None, lines: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return peaks and limits in bytes by stage, by the names in `stages.contract.StageReport.memory`."""
    found: dict[str, dict[str, int]] = {}
    for line in lines:
        event = Progress.from_line(line)
        if event is not None and event.event == "step":
            found[event.stage] = larger(found.get(event.stage, {}), peaks_of(event.metrics))
    for stage, said in (report.stages if report else {}).items():
        found[stage] = larger(found.get(stage, {}), _sensible(said.memory))
    return {stage: peaks for stage, peaks in found.items() if peaks}


def _sensible(memory: Mapping[str, int]) -> dict[str, int]:
    return {name: value for name, value in memory.items() if name in PEAKS and 0 < value <= BYTES_MAX}
