"""A small session for stages: keeps each checkpoint in a folder, and ends where it is told to."""

import atexit
import functools
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyarrow import parquet

from stages.catalog import KINDS
from stages.contract import Cursor, StageSpec
from stages.data.mounted import Brought
from stages.data.pins import Pins
from stages.session.throughput import MEASURED
from stages.session.time_accounting import TimeClass
from stages.session.tracing import digest_of
from stages.stage import Next, OpenedCheckpoint, StageFailed, Write

SMALL = {
    "gemma2": "relay/small-gemma2/flax/base/1",
    "gemma3": "relay/small-gemma3/transformers/base/1",
    "qwen2.5": "relay/small-qwen2.5/transformers/base/1",
    "qwen3": "relay/small-qwen3/transformers/instruct/1",
    "llama3.2": "relay/small-llama3.2/transformers/instruct/1",
}
"""Models that learn nothing to speak of, and compute like the large ones."""

TINY = {"kind": "gemma2", "source": SMALL["gemma2"], "system": ""}

ANSWERS = {"data": ["gsm8k"], "max_prompt_length": 24, "max_completion_length": 8}

ROLLOUTS = {**ANSWERS, "batch": 4, "num_generations": 2, "lora_rank": 2}


ROWS_MAX = 250
"""Rows of each file of a data set that are kept: every session reads them all, and no test here needs more."""


def small_inputs(inputs: Path) -> Path:
    """Small models and data sets in the place where a session has its inputs; a second call finds them there."""
    from orchestrator.rehearsal.local_kaggle.stand_ins.model import write_model
    from orchestrator.rehearsal.local_kaggle.stand_ins.sets import write_sets
    from orchestrator.rehearsal.local_kaggle.stand_ins.tokenizer import vocabulary_size, write_tokenizer_of

    if inputs.exists():
        return inputs
    for kind, source in SMALL.items():
        folder = inputs / "models" / source
        folder.mkdir(parents=True)
        sizes = {"width": 16, "hidden": 32, "heads": 2, "kv_heads": 1, "head_width": 8}
        write_model(folder, kind, source.split("/")[2], vocabulary=vocabulary_size(kind), **sizes)
        write_tokenizer_of(kind, folder)
    write_sets(inputs / "sets")
    for path in (inputs / "sets").rglob("*.parquet"):
        parquet.write_table(parquet.read_table(path).slice(0, ROWS_MAX), path)
    return inputs


@functools.cache
def shared_inputs() -> Path:
    """The small inputs that all tests of this process read."""
    folder = tempfile.TemporaryDirectory(prefix="relay-inputs-")
    atexit.register(folder.cleanup)
    return small_inputs(Path(folder.name) / "inputs")


def unmeasured(metrics: Mapping[str, float]) -> dict[str, float]:
    """What a step computed, without the speed and the memory that its session measured: those differ from run to run."""
    return {name: value for name, value in metrics.items() if name not in MEASURED}


@dataclass
class Record:
    """What a chain of sessions computed, exactly: metrics of each step as hex, digests of each checkpoint."""

    metrics: dict[str, dict[str, str]] = field(default_factory=dict)
    digests: dict[str, dict[str, str]] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)

    def value(self, stage: str, step: int, metric: str) -> float:
        return float.fromhex(self.metrics[f"{stage}-{step}"][metric])


@dataclass
class SmallContext:
    """One stage in one session, which ends after `stop_at`."""

    spec: StageSpec
    model: Mapping[str, Any]
    seed: int
    root: Path
    record: Record
    checkpoint: OpenedCheckpoint | None
    stop_at: int
    inputs: Path
    plan: tuple[StageSpec, ...] = ()
    save_at: frozenset[int] = frozenset()
    brought: Brought = field(default_factory=Brought)
    pins: Pins = field(default_factory=Pins)
    lines: list[str] = field(default_factory=list)
    shapes_left: list[int] = field(default_factory=list)

    @property
    def run(self) -> str:
        return "small-0001"

    @property
    def exports(self) -> Path:
        return self.root / "exports"

    @property
    def scratch(self) -> Path:
        """A folder of its own for what need not last."""
        folder = self.root / "scratch"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def start_step(self) -> int:
        of_this_stage = self.checkpoint is not None and self.checkpoint.cursor.stage == self.spec.name
        return self.checkpoint.cursor.step if self.checkpoint is not None and of_this_stage else 0

    def step_done(self, step: int, metrics: Mapping[str, float]) -> Next:
        if not math.isfinite(metrics.get("loss", 0.0)):
            raise StageFailed("not-a-number", f"the loss is {metrics['loss']} at step {step}")
        self.record.metrics[f"{self.spec.name}-{step}"] = {name: value.hex() for name, value in metrics.items()}
        if step in (self.stop_at, self.spec.steps):
            return Next.STOP
        return Next.SAVE if step in self.save_at else Next.GO_ON

    def save(self, step: int, write: Write) -> None:
        into = self.root / f"{self.spec.name}-{step}"
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir(parents=True)
        found = write(into)
        self.record.digests[into.name] = dict(found() if callable(found) else found)
        self.checkpoint = OpenedCheckpoint(Cursor(stage=self.spec.name, step=step), into)

    def doing(self, what: TimeClass) -> AbstractContextManager[None]:
        return nullcontext()

    def may_compile(self, shapes: int) -> None:
        self.shapes_left.append(shapes)

    def say(self, text: str) -> None:
        self.lines.append(text)

    def saw(self, step: int, name: str, value: object) -> None:
        seen = value() if callable(value) else value
        self.record.seen[f"{self.spec.name}-{step}-{name}"] = digest_of(seen)


@dataclass(frozen=True)
class Chain:
    """A pipeline that is run in sessions. Every session ends at a stage's end or where it is cut."""

    stages: tuple[StageSpec, ...]
    model: Mapping[str, Any] = field(default_factory=lambda: TINY)
    seed: int = 0
    inputs: Path = field(default_factory=shared_inputs)

    def run(self, root: Path, cuts: Mapping[str, tuple[int, ...]] | None = None) -> Record:
        """All stages; `cuts` names the steps of each stage after which a session ends."""
        record = Record()
        for stage, stop_at in self.sessions(cuts):
            checkpoint = newest(root, self.stages)
            KINDS[stage.kind].load()(
                SmallContext(
                    stage, self.model, self.seed, root, record, checkpoint, stop_at, self.inputs, plan=self.stages
                )
            )
        return record

    def go_on(self, root: Path, cuts: tuple[int, ...] = ()) -> Record:
        """The last stage alone, from what `root` holds to its end, in sessions that end after `cuts`."""
        record, stage = Record(), self.stages[-1]
        for stop_at in (*cuts, stage.steps):
            found = newest(root, self.stages)
            KINDS[stage.kind].load()(
                SmallContext(stage, self.model, self.seed, root, record, found, stop_at, self.inputs, plan=self.stages)
            )
        return record

    def sessions(self, cuts: Mapping[str, tuple[int, ...]] | None = None) -> list[tuple[StageSpec, int]]:
        """Which stage each session runs, and to which step."""
        return [(spec, stop) for spec in self.stages for stop in (*(cuts or {}).get(spec.name, ()), spec.steps)]


def spec(name: str, kind: str, steps: int, **options: Any) -> StageSpec:
    return StageSpec(name=name, kind=kind, steps=steps, options=options)


def newest(root: Path, stages: tuple[StageSpec, ...]) -> OpenedCheckpoint | None:
    """The checkpoint that is furthest on, if there is any."""
    for stage in reversed(stages):
        for step in range(stage.steps, 0, -1):
            if (root / f"{stage.name}-{step}" / "state.json").exists():
                return OpenedCheckpoint(Cursor(stage=stage.name, step=step), root / f"{stage.name}-{step}")
    return None


def in_this_process(order: Mapping[str, Any]) -> Record:
    """What a process of its own is for: one session to `stop_at`, or a whole chain with `cuts`."""
    specs = tuple(StageSpec.from_dict(stage) for stage in order["stages"])
    chain = Chain(specs, order["model"], order["seed"], Path(order["inputs"]))
    root = Path(order["root"])
    if "cuts" in order:
        return chain.run(root, order["cuts"])
    record = Record()
    stage = next(stage for stage in chain.stages if stage.name == order["stage"])
    checkpoint = newest(root, chain.stages)
    KINDS[stage.kind].load()(
        SmallContext(
            stage, chain.model, chain.seed, root, record, checkpoint, order["stop_at"], chain.inputs, plan=specs
        )
    )
    return record


if __name__ == "__main__":
    found = in_this_process(json.loads(sys.stdin.read()))
    Path(sys.argv[1]).write_text(json.dumps({"metrics": found.metrics, "digests": found.digests, "seen": found.seen}))
