"""Runs to write up, and their texts and numbers without pictures."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.engine.home import HomeLayout
from orchestrator.pipeline import loader
from orchestrator.views.run_writeup import read_writeup
from orchestrator.views.writeup.ledger import Ledger
from orchestrator.views.writeup.sources import WriteupSources
from orchestrator.views.writeup.text import rendered
from orchestrator.views.writeup.values import writeup_values
from state.facts.run import RunFinished
from tests.unit.histories import ROOT, Told, trained


def counting() -> Told:
    """A run that counted to its end."""
    told = Told(run="counting-0001", pipeline=loader.load(ROOT / "examples" / "counting.yaml"))
    told.session(55)
    told.session(told.pipeline.total_steps)
    told.happen(RunFinished(), after_s=5)
    return told


def unfinished() -> Told:
    """A run in the middle of its first stage, whose third session failed."""
    told = Told()
    told.session(100)
    told.session(200, lost=7)
    told.failure("it broke")
    told.running()
    return told


RUNS = {"trained": trained, "counting": counting, "unfinished": unfinished, "fresh": Told}


@dataclass(frozen=True)
class Written:
    """A run's database, its sources, and text and numbers of its write-up."""

    home: Path
    sources: WriteupSources
    text: str
    numbers: list[dict[str, Any]]


def sources_in(home: Path, told: Told) -> WriteupSources:
    with closing(told.keep(home)) as store:
        return read_writeup(store, HomeLayout(home), told.run)


def texted(sources: WriteupSources, template: str) -> tuple[str, list[dict[str, Any]]]:
    """Return text and numbers without drawing pictures."""
    ledger = Ledger()
    text = rendered(template, writeup_values(sources), ledger, "the template")
    return text, ledger.document()
