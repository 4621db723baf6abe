"""Compare the memory that `relay plan --memory` plans with what sessions on this machine's CPU take.

    python -m benchmarks.memory FOLDER
    python -m benchmarks.memory FOLDER --kind gemma3 --phases sft grpo evaluate --steps 2
    python -m benchmarks.memory FOLDER --together        # one session for all: does a stage pay for the one before?

FOLDER holds a model's weights and tokenizer, such as Gemma 3 270M from Hugging Face. Each phase is a pipeline of one
stage with `accelerator: cpu`. It is planned first; then a session runs a few steps of it in a process of its own, as the
script that would be pushed, with made-up data sets whose examples are as long as the options allow: a plan is for the
longest rows, and those of real data take less. Measured is the peak of resident memory (VmHWM) of the session and its judges, as its report has it. The exit status is 1 if an error
exceeds 15 %. A phase of Gemma 3 270M takes some minutes and at most 9 GiB.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.compile_cache import session
from benchmarks.filled_sets import write_filled
from orchestrator.pipeline import loader
from orchestrator.pipeline.model import Pipeline
from orchestrator.preflight.memory.forecast import memory_document
from stages.contract import Cursor, Order, StageSpec
from stages.options import Model, fit

ERROR_MAX = 0.15
GIB = 2**30
LORA = {"mode": "lora", "lora_rank": 16, "lora_alpha": 16.0}
LENGTHS = {"data": ["gsm8k"], "max_prompt_length": 96, "max_completion_length": 64}
PHASES: dict[str, dict[str, Any]] = {
    "sft": {"data": ["magpie"], "batch": 2, "max_seq_length": 384, **LORA},
    "grpo": {"batch": 1, "num_generations": 4, **LENGTHS, **LORA},
    "evaluate": {"batch": 8, **LENGTHS},
    "full": {"data": ["magpie"], "batch": 2, "max_seq_length": 128, "mode": "full"},
}
"""Options by phase. `full` is SFT of every weight; it is not among the default phases, as it takes most."""


def pipeline_of(phases: Sequence[str], model: dict[str, Any], steps: int) -> Pipeline:
    """Return the pipeline for a CPU that has these phases as stages."""
    stages = [
        {"name": each, "kind": "sft" if each == "full" else each, "steps": steps, "options": PHASES[each]}
        for each in phases
    ]
    value = {"name": f"memory-{phases[0]}", "accelerator": "cpu", "model": model, "stages": stages}
    return loader.check(value, phases[0])


def planned_bytes(pipeline: Pipeline, cache: Path) -> dict[str, tuple[int, str]]:
    """Return the peak of each stage's plan, and the phase in which it is, by the stage's name."""
    document = memory_document(pipeline, pipeline.name, lambda line: print(line, file=sys.stderr), cache)
    largest = {
        name: max(stage["phases"], key=lambda each: each["peak"])
        for stage in document["stages"]
        for name in stage["names"]
    }
    return {name: (int(each["peak"]), str(each["phase"])) for name, each in largest.items()}


def measured_bytes(pipeline: Pipeline, root: Path) -> dict[str, int]:
    """Run a session of all stages; return the peaks of its host's memory by the stage's name."""

    def longest(option: str) -> int:
        return max([stage.options[option] for stage in pipeline.stages if option in stage.options], default=64)

    lengths = {"prompt": longest("max_prompt_length"), "whole": longest("max_seq_length")}
    write_filled(root / "inputs", fit(Model, dict(pipeline.model), "model"), **lengths)
    order = Order(
        run="bench-0001",
        session=1,
        attempt=1,
        token="0123abcd",
        slug="bench-0001-s0001",
        pipeline_digest="f" * 64,
        seed=0,
        model=dict(pipeline.model),
        stages=tuple(
            StageSpec(name=stage.name, kind=stage.kind, steps=stage.steps, options=dict(stage.options))
            for stage in pipeline.stages
        ),
        start=Cursor(stage=pipeline.stages[0].name, step=0),
        parent=None,
        budget_s=36_000.0,
        limit_s=36_000.0,
        save_interval_s=36_000.0,
    )
    report, _, _ = session(order, root / "session", inputs=root / "inputs")
    return {name: stage.memory["host_bytes"] for name, stage in report.stages.items()}


def row(phase: str, options: dict[str, Any], planned: int, where: str, measured: int) -> str:
    """Format a phase's result."""
    shape = json.dumps({name: value for name, value in options.items() if name not in ("data", *LORA)})
    error = planned / measured - 1
    return f"{phase:10}{planned / GIB:9.2f}{measured / GIB:10.2f}{error:+8.1%}  {where:22} {shape}"


def main() -> int:
    """Print a table. Return 1 if an error is too large."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path, help="folder of a model's weights and tokenizer")
    arguments.add_argument("--kind", default="gemma3", help="model.kind [gemma3]")
    arguments.add_argument("--phases", nargs="+", choices=PHASES, default=["sft", "grpo", "evaluate"])
    arguments.add_argument("--steps", type=int, default=2, help="steps of each session [2]: the second holds most")
    arguments.add_argument("--together", action="store_true", help="measure all phases in one session, in this order")
    asked = arguments.parse_args()
    model = {"kind": asked.kind, "source": str(asked.folder.resolve()), "system": ""}
    errors = []
    print(f"{'phase':10}{'planned':>9}{'measured':>10}{'error':>8}  {'peak of the plan':22} options (GiB)", flush=True)
    for phases in [asked.phases] if asked.together else [[phase] for phase in asked.phases]:
        with tempfile.TemporaryDirectory(prefix="relay-memory-") as folder:
            pipeline = pipeline_of(phases, model, asked.steps)
            planned = planned_bytes(pipeline, Path(folder, "plans"))
            measured = measured_bytes(pipeline, Path(folder))
        for phase in phases:
            print(row(phase, PHASES[phase], *planned[phase], measured[phase]), flush=True)
            errors.append(abs(planned[phase][0] / measured[phase] - 1))
    return 1 if max(errors) > ERROR_MAX else 0


if __name__ == "__main__":
    sys.exit(main())
