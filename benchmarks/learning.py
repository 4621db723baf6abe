"""Check that the tiny pipeline learns, for several seeds and both model families, and print one table.

    python -m benchmarks.learning --seeds 0 1 2 --kinds gemma2 gemma3 --plot learning.png
    JAX_COMPILATION_CACHE_DIR=/tmp/compiled python -m benchmarks.learning      # compiles once instead of once a seed

A seed determines everything random: the model's initial weights, the data sets, their order, adapters and completions.
Expected of every run: format at least 0.95 after SFT and never below it later; accuracy after GRPO higher than after
SFT by more than the 95 % interval of their difference; hard accuracy after continued training higher than after GRPO,
and accuracy not lower by more than the interval. The exit status is 1 if this does not hold. Times are in seconds, of
training alone (`train`) and of everything until the end of the first step (`start`).
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import yaml

from orchestrator.rehearsal.local_kaggle.stand_ins import install
from stages.catalog import find
from stages.contract import Cursor, StageSpec
from stages.data.mounted import Brought
from stages.data.pins import Pins
from stages.session.time_accounting import TimeClass
from stages.stage import Next, OpenedCheckpoint, Write

EXAMPLE = Path(__file__).parents[1] / "examples" / "tiny.yaml"
SOURCES = {"gemma2": "relay/tiny-gemma2/flax/base/1", "gemma3": "relay/tiny-gemma3/transformers/base/1"}
SHARES = ("format", "accuracy", "hard_accuracy")
Z_95 = 1.96


@dataclass
class Uncut:
    """Stage context without a time limit, which records metrics and times of one stage."""

    spec: StageSpec
    plan: tuple[StageSpec, ...]
    model: Mapping[str, Any]
    seed: int
    root: Path
    checkpoint: OpenedCheckpoint | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    ended_s: list[float] = field(default_factory=lambda: [time.monotonic()])
    start_step: int = 0
    brought: Brought = field(default_factory=Brought)
    pins: Pins = field(default_factory=Pins)

    @property
    def inputs(self) -> Path:
        return self.root / "inputs"

    @property
    def scratch(self) -> Path:
        folder = self.root / "scratch"
        folder.mkdir(exist_ok=True)
        return folder

    def step_done(self, step: int, metrics: Mapping[str, float]) -> Next:
        self.metrics = metrics
        self.ended_s.append(time.monotonic())
        return Next.STOP if step == self.spec.steps else Next.GO_ON

    def save(self, step: int, write: Write) -> None:
        into = self.root / self.spec.name
        into.mkdir()
        if callable(rest := write(into)):
            rest()
        self.checkpoint = OpenedCheckpoint(Cursor(stage=self.spec.name, step=step), into)

    def doing(self, what: TimeClass) -> AbstractContextManager[None]:
        """Return a no-op context: time is not accounted here."""
        return nullcontext()

    def may_compile(self, shapes: int) -> None:
        """Do nothing: there is no time limit."""

    def say(self, text: str) -> None:
        if os.environ.get("VERBOSE"):
            print(text)

    def saw(self, step: int, name: str, value: object) -> None:
        """Do nothing: values are not traced here."""


def run(pipeline: Mapping[str, Any], kind: str, seed: int) -> Iterator[Uncut]:
    """Run every stage and yield its context when it is done."""
    checkpoint = None
    plan = tuple(StageSpec.from_dict(stage) for stage in pipeline["stages"])
    model = {**pipeline["model"], "kind": kind, "source": SOURCES[kind]}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        install.write(root / "inputs", model, seed=seed)
        for spec in plan:
            context = Uncut(spec, plan, model, seed, root, checkpoint)
            find(spec.kind).load()(context)
            checkpoint = context.checkpoint
            yield context


def row(kind: str, context: Uncut) -> str:
    """Format one line of the table."""
    began, first, last = context.ended_s[0], context.ended_s[1], context.ended_s[-1]
    found = [context.metrics.get(name) for name in SHARES]
    numbers = "".join("         " if share is None else f"{share:9.3f}" for share in found)
    return f"{kind:7}{context.seed:4}  {context.spec.name:16} {numbers}{first - began:9.1f}{last - first:9.1f}"


def half_width(one: Mapping[str, float], two: Mapping[str, float]) -> float:
    """Return half the 95 % interval of the difference of two accuracies. It is wide: they are not independent."""
    return Z_95 * sqrt(sum(each["accuracy"] * (1 - each["accuracy"]) / each["asked"] for each in (one, two)))


def shortfalls(evaluations: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the expectations that the three evaluations of one run miss."""
    sft, grpo, continued = evaluations
    expected = {
        "format is below 0.95": min(each["format"] for each in evaluations) >= 0.95,
        "GRPO gained less than the interval": grpo["accuracy"] - sft["accuracy"] > half_width(sft, grpo),
        "continued training gained nothing on hard problems": continued["hard_accuracy"] > grpo["hard_accuracy"],
        "continued training lost accuracy": continued["accuracy"] >= grpo["accuracy"] - half_width(grpo, continued),
    }
    return [what for what, held in expected.items() if not held]


def plot(found: Mapping[tuple[str, int], Sequence[Mapping[str, float]]], names: Sequence[str], path: Path) -> None:
    """Plot a panel for each metric with a line for each run."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(SHARES), figsize=(11, 3.6), sharey=True)
    for panel, share in zip(panels, SHARES, strict=True):
        for (kind, seed), evaluations in found.items():
            style = {"gemma2": "-", "gemma3": "--"}[kind]
            panel.plot(names, [each[share] for each in evaluations], style, marker="o", label=f"{kind} seed {seed}")
        panel.set_title(share.replace("_", " "))
        panel.grid(alpha=0.3)
    panels[0].set_ylim(0, 1.02)
    panels[-1].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> int:
    """Run all seeds. Return 1 if one of them misses an expectation."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pipeline", type=Path, default=EXAMPLE)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--kinds", choices=SOURCES, nargs="+", default=list(SOURCES))
    arguments.add_argument("--plot", type=Path, help="write a plot of all runs to this file")
    chosen = arguments.parse_args()
    pipeline = yaml.safe_load(chosen.pipeline.read_text(encoding="utf-8"))
    names = [stage["name"] for stage in pipeline["stages"] if stage["kind"] == "evaluate"]
    print("model  seed  stage               format accuracy     hard    start    train")
    missed: list[str] = []
    found: dict[tuple[str, int], list[Mapping[str, float]]] = {}
    for kind, seed in [(kind, seed) for kind in chosen.kinds for seed in chosen.seeds]:
        evaluations = found.setdefault((kind, seed), [])
        for context in run(pipeline, kind, seed):
            print(row(kind, context), flush=True)
            if context.spec.kind == "evaluate":
                evaluations.append(context.metrics)
        missed += [f"{kind} seed {seed}: {what}" for what in shortfalls(evaluations)]
    if chosen.plot:
        plot(found, names, chosen.plot)
    print("\n".join(missed) or "as expected")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
