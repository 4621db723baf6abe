"""How simulated chains went, in lines of text."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from orchestrator.simulation.runner import Summary

FAULTS_A_LINE = 4


def summary_lines(summary: Summary, pipeline: Path | None) -> Iterator[str]:
    """What was simulated and checked, then each seed that broke with the command that tells its story."""
    ended = ", ".join(f"{count:,} {status}" for status, count in summary.ended.most_common())
    yield f"{summary.chains:,} chains in {summary.seconds:.0f} s: {ended}"
    yield f"{summary.sessions:,} sessions, {summary.turns:,} turns, {summary.checks:,} checks of invariants"
    yield f"{summary.crashes:,} times the daemon died, {summary.asked:,} times a person was asked"
    yield f"{summary.struck.total():,} faults struck:"
    told = [f"{name} {count:,}" for name, count in sorted(summary.struck.items())]
    for start in range(0, len(told), FAULTS_A_LINE):
        yield f"  {', '.join(told[start : start + FAULTS_A_LINE])}"
    if not summary.failed:
        yield "every invariant held in every chain"
    named = "" if pipeline is None else f" {shlex.quote(str(pipeline))}"
    for chain in summary.failed:
        yield f"seed {chain.seed} broke: {chain.broken}"
        yield f"  relay rehearse{named} --simulate 1 --seed {chain.seed}"
