"""Tiny trained models to export: base files, a checkpoint with adapters or changed weights, and what relay computes with them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from stages.contract import Cursor, StageSpec
from stages.formats.card import ExportOrigin
from stages.formats.exporting import Exporter
from stages.options import Model, TrainingOptions, fit
from stages.training import checkpoints, model_files
from stages.training.checkpoints import TrainingState, Weights
from stages.training.initial_state import made_of, put_weights
from stages.training.lora import Adapter, with_adapter
from stages.training.model import Foundation, arrays_of
from tests.training.models import loaded, written

STAGES = (
    StageSpec(name="sft", kind="sft", steps=5, options={"data": ["gsm8k:100", "mine.jsonl"], "mode": "lora"}),
    StageSpec(name="after", kind="evaluate", steps=1, options={"data": ["mbpp"]}),
)
RATES = '{"accuracy": 0.25, "accuracy_high": 0.5, "accuracy_low": 0.125, "asked": 8.0, "format": 0.75, "hard_accuracy": 0.0}'


@dataclass
class Trained:
    """A tiny model and the checkpoint of its training."""

    root: Path
    values: dict[str, Any]
    state: TrainingState
    merged: Foundation
    """The model with the checkpoint's weights, as a session in float32 has it."""

    @property
    def checkpoint(self) -> Path:
        return self.root / "checkpoint"

    @property
    def options(self) -> Model:
        return fit(Model, self.values, "model")

    def exporter(self, stages: tuple[StageSpec, ...] = STAGES, *, made_up: bool = False) -> Exporter:
        cursor, contents = Cursor(stage="after", step=1), {"weights": "d" * 64}
        origin = ExportOrigin("tiny-1a2b", cursor, stages, "c" * 64, contents, made_up=made_up)
        none = Path("none")
        return Exporter(self.checkpoint, self.options, origin, lambda: model_files.find(self.options, none, none))


def trained(
    root: Path, kind: str, layout: str, *, adapters: int = 1, full: bool = False, targets: str = "", **sizes: int
) -> Trained:
    """Write a model and a checkpoint with random adapters, or with other weights than the model's."""
    values = written(root / "tiny-it", kind, layout, **sizes) | {"system": "Think."}
    return trained_from(values, root, adapters=adapters, full=full, targets=targets)


def trained_from(
    values: dict[str, Any], root: Path, *, adapters: int = 1, full: bool = False, targets: str = ""
) -> Trained:
    """Write a checkpoint of the model that `values` describe, which `root` becomes the folder of."""
    foundation = loaded(values)
    made, base = made_of(foundation.model), None
    if full:
        base = {name: _random(name, array) for name, array in arrays_of(foundation.model).items()}
    found = []
    for number, (rank, alpha) in enumerate(((2, 4.0), (3, 1.5))[:adapters]):
        options = TrainingOptions(
            mode="lora", lora_rank=rank, lora_alpha=alpha, **({"lora_targets": targets} if targets else {})
        )
        model = with_adapter(foundation.model, options, number, foundation.mesh)
        arrays = {n: _random(f"{number} {n}", array) for n, array in arrays_of(model, nnx.LoRAParam).items()}
        found.append(Adapter(rank, alpha, arrays))
    state = TrainingState(Weights(base, tuple(found)), made, artifacts={"transcripts-after.jsonl": RATES + "\n"})
    (root / "checkpoint").mkdir()
    checkpoints.write(state, root / "checkpoint")
    put_weights(foundation.model, state.weights)
    return Trained(root, values, state, foundation)


def _random(name: str, array: Any) -> np.ndarray[Any, Any]:
    seed = int.from_bytes(name.encode()[-8:], "big") % 2**32
    return (0.05 * np.random.default_rng(seed).standard_normal(array.shape)).astype(np.float32)
