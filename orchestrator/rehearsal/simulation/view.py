"""Text and JSON output of `relay rehearse --simulate`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from orchestrator.base.humanize import duration
from orchestrator.base.systems import shell_word
from orchestrator.rehearsal.simulation.runner import Ended, Summary

FORMAT = 1
FAULTS_A_LINE = 4


def summary_lines(summary: Summary, pipeline: Path | None) -> Iterator[str]:
    """Yield the summary, then one line per failed seed with the command that replays its chain."""
    ended = ", ".join(f"{count:,} {status}" for status, count in summary.ended.most_common())
    yield f"{summary.chains:,} chains in {duration(summary.seconds)}: {ended}"
    yield f"{summary.sessions:,} sessions, {summary.ticks:,} ticks, {summary.checks:,} checks of invariants"
    yield f"{summary.crashes:,} times the daemon died, {summary.asked:,} times a person was asked"
    yield f"{summary.struck.total():,} faults struck:"
    told = [f"{name} {count:,}" for name, count in sorted(summary.struck.items())]
    for start in range(0, len(told), FAULTS_A_LINE):
        yield f"  {', '.join(told[start : start + FAULTS_A_LINE])}"
    if not summary.failed:
        yield "every invariant held in every chain"
    for chain in summary.failed:
        yield f"seed {chain.seed} broke: {chain.broken}"
        yield f"  {_again(chain, pipeline)}"


def _again(chain: Ended, pipeline: Path | None) -> str:
    """Return the command that replays a chain and prints its events."""
    named = "" if pipeline is None else f" {shell_word(str(pipeline))}"
    return f"relay rehearse{named} --simulate 1 --seed {chain.seed}"


def summary_document(summary: Summary, pipeline: Path | None) -> dict[str, Any]:
    """Return the summary as a JSON document (see docs/json.md)."""
    failed = [{"seed": c.seed, "broken": c.broken, "command": _again(c, pipeline)} for c in summary.failed]
    return {
        "format": FORMAT,
        "chains": summary.chains,
        "seconds": round(summary.seconds, 3),
        "ended": dict(summary.ended),
        "sessions": summary.sessions,
        "ticks": summary.ticks,
        "checks": summary.checks,
        "crashes": summary.crashes,
        "asked": summary.asked,
        "struck": dict(sorted(summary.struck.items())),
        "failed": failed,
    }


def story_document(ended: Ended, story: Sequence[str]) -> dict[str, Any]:
    """Return one chain with its events, tick by tick, as a JSON document."""
    return {
        "format": FORMAT,
        "seed": ended.seed,
        "ended": ended.status,
        "broken": ended.broken,
        "sessions": ended.sessions,
        "ticks": ended.ticks,
        "checks": ended.checks,
        "crashes": ended.crashes,
        "asked": ended.asked,
        "struck": dict(sorted(ended.struck.items())),
        "story": [*story],
    }
