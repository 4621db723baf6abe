"""Measure how many examples, steps and problems a second relay's stages do, and bare Tunix with the same options.

    python -m benchmarks.throughput FOLDER --data DIR --layers 4 --rows 58368 --work WORK --plot throughput.png
    python -m benchmarks.throughput FOLDER --data DIR --only sft evaluate --rounds 7          # a whole model, on a GPU

FOLDER is a real Gemma 3 (a 270M) as at Hugging Face with its `tokenizer.model`; DIR holds `gsm8k_train.jsonl`,
`gsm8k_test.jsonl` and `mbpp.jsonl`. Widths are those of examples/gemma2_2b.yaml: examples of at most 1,024 tokens, prompts of
384 and answers of 768. A step has 8 examples, 4 problems with 4 answers each, or 48 problems of an evaluation, since a CPU
would take long for the recipe's 16 and 128. `--layers` and `--rows` cut the model, so that a CPU can do it (`benchmarks.cut_model`). First the model is taught
the format for some steps, or none of its answers would ever end; that is not measured, and WORK keeps it.

Bare is Tunix as its examples use it (`benchmarks.bare_steps`): rows padded to the longest one allowed, the default
losses, which compute logits of every position and, in SFT, their one-hot labels (a compiler may fuse those; on a CPU they
are a part of the difference), the sampler that runs until the last answer of a batch has ended. relay is its own stages
(`benchmarks.abreast`). Both do the same step in turns, in one process; rounds in which one compiled are not counted,
which leaves out the first batch of each width. Printed are medians over the rounds: rates by wall clock, the ratio with
its quartiles, and the same ratio of processor seconds of the host, which on a CPU other programs disturb less.

The checks compare results, with products in full precision: the loss of 50 SFT steps, the gradient of GRPO on the same
answers, and greedy answers token by token. The exit status is 1 if a ratio or a check misses what is expected of it.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import yaml

from benchmarks import equality, taught_model
from benchmarks.abreast import Abreast, HeldContext, RelaySide, Side, abreast
from benchmarks.bare_steps import BareEvaluation, BareGrpo, BareSft
from stages import evaluate, grpo, sft
from stages.contract import StageSpec
from stages.stage import OpenedCheckpoint

RECIPE = Path(__file__).parents[1] / "examples" / "gemma2_2b.yaml"
STEPS = 1000
"""Steps of each stage as far as its learning rate knows; the measurement ends earlier."""
SETS = ["gsm8k", "mbpp"]
NAMES = ("sft", "grpo", "evaluate")
BATCHES = {"sft": 8, "grpo": 4, "evaluate": 48}
REWARD = {"benchmarks.bare_steps:by_length": 1.0}


@dataclass(frozen=True)
class Line:
    """One line of the table: a stage of the recipe, what is changed in its options, and the lowest ratio expected."""

    name: str
    stage: str
    unit: str
    goal: float | None = None
    data: tuple[str, ...] = tuple(SETS)
    options: tuple[tuple[str, Any], ...] = ()
    """Options of relay's stage alone."""


LINES: Mapping[str, tuple[tuple[Line, ...], ...]] = {
    "sft": (
        (
            Line("sft", "sft", "examples", 2.0),
            Line("sft, an example a row", "sft", "examples", options=(("packing", False),)),
        ),
        (Line("sft, rows of equal length", "sft", "examples", 0.98, (taught_model.EQUAL_ROWS,)),),
    ),
    "grpo": ((Line("grpo", "grpo", "steps", 2.0),),),
    "evaluate": (
        (
            Line("evaluate", "after-sft", "problems", 3.0),
            Line("evaluate, 16 slots", "after-sft", "problems", options=(("slots", 16),)),
        ),
    ),
}
"""Lines by stage; those of one group are measured beside the same bare steps."""


@dataclass(frozen=True)
class Bench:
    """Everything that a measurement needs: the model, the folder with `inputs`, and the taught weights."""

    model: Mapping[str, Any]
    root: Path
    recipe: Mapping[str, Mapping[str, Any]]
    """Stages of the recipe by name."""
    taught: OpenedCheckpoint
    shrink: int
    """Divisor of all lengths."""

    def context(self, line: Line, *, ours: bool) -> HeldContext:
        """Return a context for one side of a line: relay's (`ours`) or the bare one."""
        stage = self.recipe[line.stage]
        options = {**stage["options"], "data": list(line.data), "batch": BATCHES[stage["kind"]]}
        options |= {"probe_problems": 0} if "probe_problems" in options else {}
        options |= {"rewards": REWARD, "show_every": 0, "guard_idle": 0.0} if stage["kind"] == "grpo" else {}
        options |= {name: options[name] // self.shrink for name in taught_model.LENGTHS if name in options}
        options |= dict(line.options) if ours else {}
        spec = StageSpec(name=line.stage, kind=stage["kind"], steps=STEPS, options=options)
        checkpoint = None if stage["kind"] == "sft" else self.taught
        return HeldContext(spec, (spec,), self.model, 0, self.root, checkpoint, brought=taught_model.brought(self.root))


SIDES: Mapping[str, tuple[Any, Any]] = {
    "sft": (BareSft, sft.train),
    "grpo": (BareGrpo, grpo.train),
    "evaluate": (BareEvaluation, evaluate.train),
}


def measured(bench: Bench, lines: Sequence[Line], rounds: int) -> dict[Line, Abreast]:
    """Measure lines that differ in relay's options alone, all beside the same bare steps."""
    kind = str(bench.recipe[lines[0].stage]["kind"])
    bare_kind, train = SIDES[kind]
    context = bench.context(lines[0], ours=False)
    units = 1 if kind == "grpo" else int(context.spec.options["batch"])
    with ExitStack() as stack:
        bare_side: Side = bare_kind(context)
        stack.callback(bare_side.close)
        sides: dict[str, Side] = {}
        for line in lines:
            sides[line.name] = side = RelaySide(train, bench.context(line, ours=True))
            stack.callback(side.close)
        found = abreast(bare_side, sides, rounds, units, lambda text: print(text, flush=True))
    return {line: found[line.name] for line in lines}


# --- output ------------------------------------------------------------------


HEADER = f"{'':27} {'device':18} {'unit':>10} {'bare/s':>8} {'relay/s':>8} {'ratio':>6} {'quartiles':>14} {'processor':>9}  goal"


def row(line: Line, found: Abreast) -> str:
    """Format one line of the table."""
    low, _, high = statistics.quantiles(found.ratios(), n=4)
    bare_rate, relay_rate = found.rates()
    goal = "" if line.goal is None else f"{line.goal:g}{'' if found.ratio() >= line.goal else ' MISSED'}"
    return (
        f"{line.name:27} {jax.devices()[0].device_kind[:18]:18} {line.unit:>10} {bare_rate:8.3f} {relay_rate:8.3f} "
        f"{found.ratio():6.2f} {f'{low:.2f} to {high:.2f}':>14} {found.ratio('processor_s'):9.2f}  {goal}"
    )


def answers(found: Abreast) -> str:
    """Describe the lengths of the answers that relay's side drew; empty if it drew none."""
    metrics = [each.metrics for each in found.relay if "mean_length" in each.metrics]
    if not metrics:
        return ""
    mean, cut = (statistics.mean(each[name] for each in metrics) for name in ("mean_length", "truncated_share"))
    return f"  answers of {mean:.0f} tokens on average, {cut:.0%} of them cut at the limit"


def plot(found: Mapping[Line, Abreast], path: Path) -> None:
    """Plot the ratio of each round of each line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.7 * len(found) + 1.2), layout="constrained")
    axes = figure.subplots()
    for number, (line, each) in enumerate(found.items()):
        axes.plot(each.ratios(), [number] * len(each.bare), "o", alpha=0.5)
        axes.plot([each.ratio()] * 2, [number - 0.25, number + 0.25], color="black")
        if line.goal is not None:
            axes.plot([line.goal] * 2, [number - 0.35, number + 0.35], "--", color="tab:red")
    axes.set_yticks(range(len(found)), [line.name for line in found])
    axes.invert_yaxis()
    axes.axvline(1.0, color="grey", linewidth=0.8)
    axes.set_xlabel(f"rate through relay, as a multiple of bare Tunix's, on {jax.devices()[0].device_kind}")
    figure.savefig(path, dpi=120)


def written(found: Mapping[Line, Abreast], checks: Sequence[equality.Check], path: Path) -> None:
    """Write all measurements as JSON."""
    lines = {line.name: {"goal": line.goal, "ratio": each.ratio(), **asdict(each)} for line, each in found.items()}
    document = {"device": jax.devices()[0].device_kind, "lines": lines, "checks": [asdict(check) for check in checks]}
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of a Gemma 3 as at Hugging Face")
    parser.add_argument("--data", type=Path, required=True, help="folder with GSM8K and MBPP")
    parser.add_argument("--layers", type=int, help="cut the model to so many layers")
    parser.add_argument("--rows", type=int, help="cut the vocabulary to so many tokens")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds of each line; 0: only the checks")
    parser.add_argument("--only", choices=NAMES, nargs="+", default=list(NAMES))
    parser.add_argument("--no-checks", action="store_true", help="do not compare results")
    parser.add_argument("--taught-steps", type=int, default=taught_model.STEPS)
    parser.add_argument("--shrink", type=int, default=1, help="divide all lengths: to try the benchmark out")
    parser.add_argument("--work", type=Path, help="folder to keep the cut and taught model in, for the next time")
    parser.add_argument("--plot", type=Path, help="write a plot to this file")
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    return parser.parse_args()


def main() -> int:
    """Run the benchmark. Return exit status 1 if an expectation is missed."""
    asked = arguments()
    if asked.rounds < 0 or asked.rounds == 1:
        raise SystemExit("--rounds: at least 2, for quartiles, or 0")
    recipe = {stage["name"]: stage for stage in yaml.safe_load(RECIPE.read_text(encoding="utf-8"))["stages"]}
    found: dict[Line, Abreast] = {}
    checks: list[equality.Check] = []
    with tempfile.TemporaryDirectory(prefix="relay-throughput-") as name:
        root = asked.work or Path(name)
        length = recipe["sft"]["options"]["max_seq_length"] // asked.shrink
        made = taught_model.make(
            asked.folder,
            asked.data,
            root,
            layers=asked.layers,
            rows=asked.rows,
            steps=asked.taught_steps,
            length=length,
        )
        bench = Bench(made.model, root, recipe, made.checkpoint, asked.shrink)
        for lines in (lines for name in asked.only for lines in LINES[name] if asked.rounds):
            found |= measured(bench, lines, asked.rounds)
            told = [text for line in lines for text in (row(line, found[line]), answers(found[line])) if text]
            print("\n".join((HEADER, *told)), flush=True)
        if not asked.no_checks:
            checks = equality.all_checks(asked.folder, made, root, recipe, asked.only)
    print("\n".join((HEADER, *(row(*each) for each in found.items()), *(str(check) for check in checks))))
    if asked.plot and found:
        plot(found, asked.plot)
    if asked.json:
        written(found, checks, asked.json)
    missed = [line.name for line, each in found.items() if line.goal is not None and each.ratio() < line.goal]
    missed += [check.name for check in checks if not check.holds]
    print(f"missed: {', '.join(missed)}" if missed else "as expected")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
