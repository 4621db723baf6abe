"""The usual pipeline of simulated chains: three sessions, two stages."""

from orchestrator.pipeline.loader import parse
from orchestrator.pipeline.model import Pipeline
from orchestrator.rehearsal.simulation.hash_chain import uncut

PIPELINE = """
name: sim
accelerator: TpuV5E8
session: {limit_s: 1000, margin_s: 100, save_interval_s: 200}
stages:
  - {name: one, kind: counting, steps: 100}
  - {name: two, kind: counting, steps: 120}
"""


def pipeline(**changes: str) -> Pipeline:
    """The usual pipeline with some lines replaced: `pipeline(limit="limit_s: 500")` replaces what starts so."""
    text = PIPELINE
    for line in changes.values():
        key = line.split(":")[0]
        text = "\n".join(line if found.startswith(f"{key}:") else found for found in text.splitlines())
        text = text if line in text else f"{text}\n{line}\n"
    return parse(text, "sim.yaml")


def expected_digest(pipeline: Pipeline) -> str:
    """What a run that was never cut ends in."""
    return uncut(pipeline)[-1]
