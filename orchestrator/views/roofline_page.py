"""Writes the tables of the roofline page from the work model: `python -m orchestrator.views.roofline_page docs/roofline.md`."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from orchestrator.core.durations import estimate_durations
from orchestrator.core.work.rates import RATES, ChipRates
from orchestrator.core.work.seconds import best_s, stage_work, step_best_s
from orchestrator.core.work.steps import BARE, RELAY, StepWork
from orchestrator.pipeline.examples import example
from orchestrator.pipeline.loader import load
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.sections import Stage

BLOCK = re.compile(r"(<!-- (\w+): made by `make reference` -->\n).*?(<!-- end of \2 -->)", re.DOTALL)
RECIPES = {"Gemma 2 2B": "gemma2_2b.yaml", "Gemma 3 1B": "gemma3_1b.yaml"}
STAGES = {"sft": "SFT", "grpo": "GRPO", "base": "evaluation"}
"""Stages of the recipes that the tables show, with their words."""
FACTORS = (1 / 4, 1, 4, 16)
"""Multiples of the recipes' batch in the table of batches."""


def steps_table() -> str:
    """Return a row for each recipe's step: its work and best time, what the plan says, and the same of bare Tunix."""
    head = (
        "| model, step | relay: TFLOP | TB | at 100 % | `relay plan` | bare Tunix: TFLOP | TB | at 100 % | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    )
    rows = []
    for title, pipeline, stage in _stages():
        ours, bare, rates = *_works(pipeline, stage), RATES[pipeline.accelerator]
        plan = estimate_durations(pipeline).step_s[stage.name]
        best, other = step_best_s(ours, rates), step_best_s(bare, rates)
        rows.append(
            f"| {title}, {STAGES[stage.name]}, batch {_batch(stage)} | {ours.total.flops / 1e12:,.0f} | "
            f"{ours.total.bytes / 1e12:.2f} | {_seconds(best)} | {_seconds(plan.low_s)} to {_seconds(plan.high_s)} | "
            f"{bare.total.flops / 1e12:,.0f} | {bare.total.bytes / 1e12:.2f} | {_seconds(other)} | {other / best:.2f} |"
        )
    return "\n".join([*head, *rows])


def phases_table() -> str:
    """Return a row for each phase of the recipes' steps: the seconds at 100 % of each peak, and what bounds the phase."""
    head = (
        "| model, step, phase | products | memory | links | bound by | bare Tunix |",
        "|---|---|---|---|---|---|",
    )
    rows = []
    for title, pipeline, stage in _stages():
        ours, bare = _works(pipeline, stage)
        rates = RATES[pipeline.accelerator]
        for mine, theirs in zip(ours.phases, bare.phases, strict=True):
            work, chips = mine.work, ours.chips
            parts = {
                "products": work.flops / (chips * rates.flops),
                "memory": work.bytes / (chips * rates.bytes_s),
                "links": work.link_bytes / (chips * rates.link_bytes_s),
            }
            bound = max(parts, key=lambda name: parts[name])
            rows.append(
                f"| {title}, {STAGES[stage.name]}, {mine.name} | "
                + " | ".join(_seconds(seconds) for seconds in parts.values())
                + f" | {bound} | {_seconds(best_s(theirs.work, chips, rates))} |"
            )
    return "\n".join([*head, *rows])


def batches_table() -> str:
    """Return a row for each batch of the recipes' GRPO: seconds of a step and answers a second, at 100 % of the peak."""
    head = (
        "| model | batch | relay: a step | answers a second | bare Tunix: a step | answers a second | ratio |",
        "|---|---|---|---|---|---|---|",
    )
    rows = []
    for title, pipeline, stage in _stages():
        for factor in FACTORS if stage.name == "grpo" else ():
            batch, answers = round(stage.options["batch"] * factor), stage.options["num_generations"]
            larger = stage.model_copy(update={"options": {**stage.options, "batch": batch}})
            rates = RATES[pipeline.accelerator]
            ours, bare = (step_best_s(work, rates) for work in _works(pipeline, larger))
            rates_s = (f"{_seconds(each)} | {batch * answers / each:,.0f}" for each in (ours, bare))
            rows.append(f"| {title} | {batch} × {answers} | {' | '.join(rates_s)} | {bare / ours:.2f} |")
    return "\n".join([*head, *rows])


def chips_table() -> str:
    """Return a row for each accelerator: its peak rates, the shares that are assumed, and the sources."""
    head = (
        "| accelerator | products | memory | links | assumed for training | for decoding | source |",
        "|---|---|---|---|---|---|---|",
    )
    return "\n".join([*head, *(_chip(name, rates) for name, rates in RATES.items())])


def _chip(name: str, rates: ChipRates) -> str:
    shares = (f"{100 * share.low:.2g} to {100 * share.high:.2g} %" for share in (rates.compute, rates.drawing))
    return (
        f"| `{name}`, one chip | {rates.flops / 1e12:g} TFLOP/s | {rates.bytes_s / 1e9:,.0f} GB/s | "
        f"{rates.link_bytes_s / 1e9:,.0f} GB/s | {' | '.join(shares)} | {rates.source} |"
    )


def _stages() -> Iterator[tuple[str, Pipeline, Stage]]:
    for title, name in RECIPES.items():
        pipeline = load(example(name))
        yield from ((title, pipeline, stage) for stage in pipeline.stages if stage.name in STAGES)


def _works(pipeline: Pipeline, stage: Stage) -> tuple[StepWork, StepWork]:
    """Return the work of relay's programs and of Tunix's own."""
    ours, bare = (stage_work(pipeline, stage, engine) for engine in (RELAY, BARE))
    assert ours is not None
    assert bare is not None, "the recipes' kinds name sizes"
    return ours, bare


def _batch(stage: Stage) -> str:
    answers = stage.options.get("num_generations")
    return f"{stage.options['batch']} × {answers}" if answers else str(stage.options["batch"])


def _seconds(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"


TABLES = {"steps": steps_table, "phases": phases_table, "batches": batches_table, "chips": chips_table}


def filled(page: str) -> str:
    """Return the page with its tables brought up to date."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{TABLES[block[2]]()}\n\n{block[3]}", page)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(filled(target.read_text(encoding="utf-8")), encoding="utf-8")
