"""Does the tiny pipeline learn what it should? Runs it for several seeds and prints one table.

    python -m benchmarks.learning --seeds 0 1 2
    JAX_COMPILATION_CACHE_DIR=/tmp/compiled python -m benchmarks.learning      # compiles once instead of once a seed

Expected for every seed: format at least 0.95 after each stage; accuracy after GRPO at least 0.08 above that after SFT; hard
accuracy after continued training above that after GRPO, at no more than 0.03 of the overall accuracy. The exit status
says whether that held. Seconds are of training alone (`train`) and of everything before the first step's end (`start`).
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import yaml

from stages.catalog import find
from stages.contract import Cursor, StageSpec
from stages.stage import Next, Opened, Write

EXAMPLE = Path(__file__).parents[1] / "examples" / "tiny.yaml"


@dataclass
class Uncut:
    """A session without a limit: one stage, measured."""

    spec: StageSpec
    model: Mapping[str, Any]
    seed: int
    root: Path
    checkpoint: Opened | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    ended_s: list[float] = field(default_factory=lambda: [time.monotonic()])
    start_step: int = 0
    inputs: Path = Path("no-inputs")
    scratch: Path = Path("no-scratch")

    def step_done(self, step: int, metrics: Mapping[str, float]) -> Next:
        self.metrics = metrics
        self.ended_s.append(time.monotonic())
        return Next.STOP if step == self.spec.steps else Next.GO_ON

    def save(self, step: int, write: Write) -> None:
        into = self.root / self.spec.name
        into.mkdir()
        write(into)
        self.checkpoint = Opened(Cursor(stage=self.spec.name, step=step), into)

    def say(self, text: str) -> None:
        print(text)


def run(pipeline: Mapping[str, Any], seed: int) -> Iterator[Uncut]:
    """Run every stage and give it back when it is done."""
    checkpoint = None
    with tempfile.TemporaryDirectory() as root:
        for stage in pipeline["stages"]:
            context = Uncut(StageSpec.from_dict(stage), pipeline["model"], seed, Path(root), checkpoint)
            find(context.spec.kind).load()(context)
            checkpoint = context.checkpoint
            yield context


def row(context: Uncut) -> str:
    """One line of the table."""
    began, first, last = context.ended_s[0], context.ended_s[1], context.ended_s[-1]
    rates = [context.metrics.get(name) for name in ("format", "accuracy", "hard_accuracy")]
    numbers = "".join("         " if rate is None else f"{rate:9.3f}" for rate in rates)
    return f"{context.seed:4} {context.spec.name:16} {numbers}{first - began:9.1f}{last - first:9.1f}"


def shortfalls(evaluations: list[Mapping[str, float]]) -> list[str]:
    """What did not hold, of the three evaluations of one seed."""
    sft, grpo, continued = evaluations
    expected = {
        "format is below 0.95": all(each["format"] >= 0.95 for each in evaluations),
        "GRPO gained less than 0.08": grpo["accuracy"] >= sft["accuracy"] + 0.08,
        "continued training gained nothing on hard problems": continued["hard_accuracy"] > grpo["hard_accuracy"],
        "continued training lost more than 0.03 overall": continued["accuracy"] >= grpo["accuracy"] - 0.03,
    }
    return [what for what, held in expected.items() if not held]


def main() -> int:
    """Run the seeds; 1 where one of them did not learn what it should."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pipeline", type=Path, default=EXAMPLE)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    chosen = arguments.parse_args()
    pipeline = yaml.safe_load(chosen.pipeline.read_text(encoding="utf-8"))
    print("seed stage               format accuracy     hard    start    train")
    missed: list[str] = []
    for seed in chosen.seeds:
        evaluations = []
        for context in run(pipeline, seed):
            print(row(context), flush=True)
            if context.spec.kind == "evaluate":
                evaluations.append(context.metrics)
        missed += [f"seed {seed}: {what}" for what in shortfalls(evaluations)]
    print("\n".join(missed) or "as expected")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
