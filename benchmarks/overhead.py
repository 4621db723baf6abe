"""Measure relay's overhead: the same steps in bare Tunix and through relay, then one session against ten.

    python -m benchmarks.overhead
    python -m benchmarks.overhead --trainings lora full grpo --chains lora full grpo --plot overhead.png

Bare is one call of Tunix's own `train` over all data; through relay is a whole session, from the order to the report.
Both run in one process and alternate in blocks of steps; the first block, which includes compilation, is not measured.
Printed are the milliseconds per step, the median and quartiles over the blocks of the ratio of steps per second, the
milliseconds that relay adds to a step, and the resulting ratio for a step of 1.5 s, as on a TPU: the overhead is Python
code, which does not grow with the model. After the blocks relay continues alone and saves every few steps. The time
that training waits for a save is printed as a share of those steps, and of the default save interval of half an hour.

Then the same training runs as one session and as ten, each a process of its own that runs the script that would be
pushed, without Kaggle's part (queue, transfers): printed is the extra cost of ten sessions by class of time. The
digests of the final weights always have to be equal. The exit status is 1 if they are not, or if a bound is missed.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from benchmarks import bare, turns
from benchmarks.compile_cache import session
from orchestrator.rehearsal.local_kaggle.stand_ins.model import write_model
from orchestrator.rehearsal.local_kaggle.stand_ins.sets import write_sets
from orchestrator.rehearsal.local_kaggle.stand_ins.tokenizer import VOCABULARY, write_tokenizer
from stages.contract import Cursor, Order, Parent, Report, StageSpec
from stages.session import runner

RATIO_MIN = 0.99
HOLD_SHARE_MAX = 0.02
SAVE_INTERVAL_S = 1800.0
"""Default save interval of a pipeline, in seconds."""
TPU_STEP_S = 1.5
SIZES = {"width": 256, "hidden": 1024, "layers": 6}
"""Dimensions of the model, large enough that the device dominates a step, as in real training."""
SAVE_EVERY, SAVES = 5, 4
SESSIONS = 10
STAGE = "learn"
WORTH = """
def by_length(prompts, completions, **_):
    return [len(text) % 7 / 7 for text in completions]
"""
"""Source of a reward that differs between completions even for an untrained model."""
SFT = {"data": ["magpie", "ultrafeedback"], "batch": 16, "max_seq_length": 96, "warmup_steps": 2}
GRPO = {
    "data": ["gsm8k"],
    "batch": 4,
    "num_generations": 4,
    "max_prompt_length": 24,
    "max_completion_length": 16,
    "show_every": 0,
}
TRAININGS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("sft", {**SFT, "mode": "lora"}),
    "full": ("sft", {**SFT, "mode": "full"}),
    "grpo": ("grpo", {**GRPO, "rewards": {"worth:by_length": 1.0}}),
}


@dataclass(frozen=True)
class Pair:
    """The same training, bare and through relay. Lists hold one value per block; `holds_s` holds one per save."""

    bare_s: list[float]
    relay_s: list[float]
    holds_s: list[float]
    saving_s: float
    """Seconds of the steps during which the saves were made."""
    equal: bool | None
    """True if both end with equal weights; None for GRPO, where the losses differ (relay's and Tunix's)."""

    @property
    def ratios(self) -> list[float]:
        """Ratio, per round, of steps per second through relay to bare steps per second."""
        return [bare_s / relay_s for bare_s, relay_s in zip(self.bare_s, self.relay_s, strict=True)]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def added_s(self) -> float:
        """Seconds that relay adds to a step (median)."""
        return statistics.median(r - b for b, r in zip(self.bare_s, self.relay_s, strict=True))

    @property
    def hold_share(self) -> float:
        """Longest wait for a save, as a share of the default save interval."""
        return max(self.holds_s) / SAVE_INTERVAL_S


def order(name: str, model: Mapping[str, Any], steps: int, *, in_turns: bool = False) -> Order:
    """Return the order of a session that runs a whole training."""
    kind, options = TRAININGS[name]
    ours = f"benchmarks.turns:train_{kind}"
    return Order(
        run="bench-0001",
        session=1,
        attempt=1,
        token="0123abcd",
        slug="bench-0001-s0001",
        pipeline_digest="f" * 64,
        seed=0,
        model=dict(model),
        stages=(StageSpec(name=STAGE, kind=ours if in_turns else kind, steps=steps, options=options),),
        start=Cursor(stage=STAGE, step=0),
        parent=None,
        budget_s=3600.0,
        limit_s=3600.0,
        save_interval_s=SAVE_INTERVAL_S,
        sources={"worth.py": WORTH},
    )


# --- bare and relay, in turns ------------------------------------------------


def pair(name: str, folder: Path, rounds: int, block_steps: int) -> Pair:
    """Measure a training, bare and through relay. `folder` holds the model and the inputs."""
    in_blocks = (rounds + 1) * block_steps
    asked = order(name, model_in(folder), in_blocks + SAVE_EVERY * SAVES, in_turns=True)
    asked = replace(asked, save_at=tuple(Cursor(stage=STAGE, step=in_blocks + SAVE_EVERY * n) for n in range(SAVES)))
    taken = turns.Turns(("bare", "relay"), block_steps, rounds + 1)
    holds_s: list[float] = []
    train = {"sft": bare.train_sft, "grpo": bare.train_grpo}[TRAININGS[name][0]]

    def run_bare() -> dict[str, str]:
        context = bare.Alone(asked.stages[0], asked.stages, asked.model, asked.seed, folder, None)
        with taken.taken_by("bare"):
            return train(context, lambda step: taken.passed("bare", step))

    def run_relay() -> Report:
        (working := folder / name / "working").mkdir(parents=True)
        with (
            taken.taken_by("relay"),
            turns.taking(lambda context: turns.InTurns(context, "relay", taken, holds_s)),
        ):
            runner.main(asked, working=working, inputs=folder / "inputs", started_s=time.monotonic())
        return Report.from_json((working / "relay" / "report.json").read_text(encoding="utf-8"))

    with (
        (folder / f"{name}.log").open("w", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        ThreadPoolExecutor(2) as pool,
    ):
        alone, through = pool.submit(run_bare), pool.submit(run_relay)
        digests, report = alone.result(), through.result()
    if report.checkpoint is None:
        raise SystemExit(f"the session failed: {report.reason}\n{report.traceback}")
    saving_s = taken.between_s("relay", in_blocks, in_blocks + SAVE_EVERY * SAVES)
    return Pair(
        bare_s=taken.steps_s("bare"),
        relay_s=taken.steps_s("relay"),
        holds_s=holds_s[:SAVES],  # the last one is the final save
        saving_s=saving_s,
        # A subset: relay's checkpoint also has digests of the data pins.
        equal=None if name == "grpo" else digests.items() <= report.checkpoint.digests.items(),
    )


def model_in(folder: Path) -> dict[str, Any]:
    """Return the `model:` section for the model in `folder`."""
    return {"kind": "gemma2", "source": str(folder / "model"), "system": ""}


# --- one session and ten -----------------------------------------------------


@dataclass(frozen=True)
class Chain:
    """A training in several sessions, each a process of its own: total seconds, and seconds by class."""

    sessions: int
    took_s: float
    seconds: dict[str, float]
    step_s: float
    """Median of the sessions' median step times."""
    digests: dict[str, str]


def chain(name: str, folder: Path, sessions: int, steps: int) -> Chain:
    """Run a training in `sessions` sessions of equal length."""
    asked, parent = order(name, model_in(folder), steps), None
    reports: list[Report] = []
    began_s = time.monotonic()
    for number in range(1, sessions + 1):
        stop_at = Cursor(stage=STAGE, step=steps * number // sessions)
        root = folder / f"{name}-{sessions}-{number}"
        report, _, parent = session(replace(asked, session=number, stop_at=stop_at), root, parent, folder / "inputs")
        assert report.checkpoint is not None
        reports.append(report)
        here = Parent(name=f"bench-0001-c{number:04}", digest=report.checkpoint.digest)
        asked = replace(asked, start=report.checkpoint.cursor, parent=here)
    took_s = time.monotonic() - began_s
    seconds: dict[str, float] = {"interpreter": took_s - sum(report.timings["session_s"] for report in reports)}
    for report in reports:
        for what, spent_s in report.seconds.items():
            seconds[what] = seconds.get(what, 0.0) + spent_s
    steps_s = [each for report in reports if (each := report.timings.get(f"{STAGE}.step_s")) is not None]
    assert report.checkpoint is not None
    return Chain(sessions, took_s, seconds, statistics.median(steps_s), report.checkpoint.digests)


# --- output ------------------------------------------------------------------


_EQUAL = {True: "equal", False: "NOT EQUAL", None: "not compared"}


def pair_rows(name: str, found: Pair) -> str:
    """Format the measurements of one training, bare and through relay."""
    low, _, high = statistics.quantiles(found.ratios, n=4)
    bare_ms, relay_ms = (1000 * statistics.median(each) for each in (found.bare_s, found.relay_s))
    large = TPU_STEP_S / (TPU_STEP_S + max(0.0, found.added_s))
    saved = f"{1000 * max(found.holds_s):.1f} ms, {max(found.holds_s) / SAVE_INTERVAL_S:.4%} of {SAVE_INTERVAL_S:g} s"
    often = f"{sum(found.holds_s) / found.saving_s:.1%} of the time with one every {SAVE_EVERY} steps"
    return "\n".join(
        (
            f"{name:5} step    {bare_ms:8.2f} ms bare {relay_ms:8.2f} ms through relay: {1000 * found.added_s:+.2f} ms",
            f"      steps/s {found.ratio:8.4f} of the bare ones ({low:.4f} to {high:.4f}); {large:.4f} at {TPU_STEP_S:g} s a step",
            f"      a save holds the training for {saved}; {often}",
            f"      weights {_EQUAL[found.equal]} to the bare ones, bit for bit",
        )
    )


def chain_rows(name: str, one: Chain, many: Chain) -> str:
    """Format the cost of additional sessions, by class of time."""
    more = many.sessions - one.sessions
    lines = [f"{name:5} {'seconds of':28}{'one session':>13}{f'{many.sessions} sessions':>13}{'per extra one':>14}"]
    kinds = sorted({*one.seconds, *many.seconds}, key=lambda kind: -many.seconds.get(kind, 0.0))
    for kind in ("all", *kinds):
        first, last = (each.took_s if kind == "all" else each.seconds.get(kind, 0.0) for each in (one, many))
        lines.append(f"      {kind:28}{first:13.2f}{last:13.2f}{(last - first) / more:+14.2f}")
    step_ms = f"{1000 * one.step_s:.1f} and {1000 * many.step_s:.1f} ms"
    lines.append(f"      a step takes {step_ms}; weights {'equal' if one.digests == many.digests else 'NOT EQUAL'}")
    return "\n".join(lines)


def missed(name: str, found: Pair) -> list[str]:
    """Return the bounds that one training misses."""
    held = {
        f"{name}: {found.ratio:.4f} of the bare steps/s is below {RATIO_MIN}": found.ratio >= RATIO_MIN,
        f"{name}: a save's share {found.hold_share:.2%} is not below {HOLD_SHARE_MAX:.0%}": found.hold_share
        < HOLD_SHARE_MAX,
        f"{name}: through relay other weights come out than bare": found.equal is not False,
    }
    return [what for what, holds in held.items() if not holds]


def plot(found: Mapping[str, Pair], chains: Mapping[str, tuple[Chain, Chain]], path: Path) -> None:
    """Plot the ratio of each round, and the seconds by class of one session and of ten."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    ratios, seconds = figure.subplots(1, 2, width_ratios=(2, 3))
    for number, pair_ in enumerate(found.values()):
        ratios.plot([number] * len(pair_.ratios), pair_.ratios, "o", alpha=0.5)
        ratios.plot([number - 0.2, number + 0.2], [pair_.ratio] * 2, color="black")
    ratios.axhline(RATIO_MIN, linestyle="--", color="tab:red", label=f"{RATIO_MIN}")
    ratios.set_xticks(range(len(found)), list(found))
    ratios.set_ylabel("steps/s through relay, share of bare")
    ratios.legend()
    bars = [(f"{name}, {each.sessions}", each) for name, both in chains.items() for each in both]
    kinds = sorted({kind for _, each in bars for kind in each.seconds})
    left = [0.0] * len(bars)
    for kind in kinds:
        widths = [each.seconds.get(kind, 0.0) for _, each in bars]
        seconds.barh([label for label, _ in bars], widths, left=left, label=kind.replace("_", " "))
        left = [a + b for a, b in zip(left, widths, strict=True)]
    seconds.set_xlabel("seconds, by number of sessions")
    if bars:
        seconds.legend(fontsize="x-small")
    figure.savefig(path)


def prepare(folder: Path) -> None:
    """Write the model, the data sets and the reward, for sessions in this and in other processes."""
    write_model(folder / "model", "gemma2", "flax", vocabulary=len(VOCABULARY), **SIZES)
    write_tokenizer(folder / "model" / "tokenizer.model")
    write_sets(folder / "inputs" / "sets")
    (folder / "code").mkdir()
    (folder / "code" / "worth.py").write_text(WORTH, encoding="utf-8")
    sys.path.append(str(folder / "code"))


def main() -> int:
    """Run the benchmark. Return exit status 1 if a bound is missed or weights differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="measured blocks of each kind")
    parser.add_argument("--steps", type=int, default=9, help="steps per block")
    parser.add_argument(
        "--trainings",
        choices=TRAININGS,
        nargs="*",
        default=list(TRAININGS),
        help="trainings to compare with bare Tunix",
    )
    parser.add_argument(
        "--chains", choices=TRAININGS, nargs="*", default=["lora"], help="trainings to run as one session and as ten"
    )
    parser.add_argument("--chain-steps", type=int, default=100, help="steps of each chain")
    parser.add_argument("--plot", type=Path, help="also write a plot to this file")
    asked = parser.parse_args()
    found: dict[str, Pair] = {}
    chains: dict[str, tuple[Chain, Chain]] = {}
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="relay-overhead-") as name:
        folder = Path(name)
        prepare(folder)
        for training in asked.trainings:
            found[training] = pair(training, folder, asked.rounds, asked.steps)
            print(pair_rows(training, found[training]), flush=True)
            wrong += missed(training, found[training])
        for training in asked.chains:
            one, many = (chain(training, folder, count, asked.chain_steps) for count in (1, SESSIONS))
            chains[training] = (one, many)
            print(chain_rows(training, one, many), flush=True)
            wrong += (
                [] if one.digests == many.digests else [f"{training}: ten sessions end with other weights than one"]
            )
    if asked.plot:
        plot(found, chains, asked.plot)
    print("\n".join(wrong) or "as expected")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
