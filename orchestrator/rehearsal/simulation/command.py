"""Implementation of `relay rehearse --simulate`: from flags to simulated chains, a summary and an exit status."""

from pathlib import Path

import click

from orchestrator.base.humanize import counted
from orchestrator.pipeline import loader
from orchestrator.pipeline.rehearsed import rehearsed
from orchestrator.rehearsal.simulation import runner
from orchestrator.rehearsal.simulation.runner import Ended
from orchestrator.rehearsal.simulation.view import story_document, summary_document, summary_lines
from orchestrator.views.json_output import print_json

PLAYED = ("kaggle", "slurm")
"""Platforms that simulations play; chains for others are played on Kaggle."""


def simulate(chosen: Path | None, count: int, seed: int, as_json: bool) -> int:
    """Simulate `count` chains with seeds `seed`, `seed` + 1, … and print the results.

    Return 0 if every invariant held, otherwise 1. With `count` 1, print the chain's events tick by tick. Raises
    BadInput if the pipeline cannot be simulated.
    """
    loaded = None if chosen is None else loader.load(chosen)
    pipeline = loaded if loaded is None else loaded.alone if loaded.platform in PLAYED else rehearsed(loaded)
    if count == 1:
        story: list[str] = []
        ended = runner.one(seed, pipeline, story.append if as_json else click.echo)
        if as_json:
            print_json(story_document(ended, story))
        else:
            click.echo(_verdict(ended))
        return 1 if ended.broken else 0
    summary = runner.simulate_on_all_cores(range(seed, seed + count), pipeline)
    if as_json:
        print_json(summary_document(summary, chosen))
    else:
        for line in summary_lines(summary, chosen):
            click.echo(line)
    return 1 if summary.failed else 0


def _verdict(ended: Ended) -> str:
    told = f"{counted(ended.sessions, 'session')}, {counted(ended.ticks, 'tick')}, {counted(ended.crashes, 'crash', 'crashes')}, {counted(ended.checks, 'check')}"
    return f"broken: {ended.broken} ({told})" if ended.broken else f"every invariant holds ({told})"
