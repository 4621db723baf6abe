"""Runs in a process with eight made-up devices: what really allocated models hold, beside what lowering says of them.

python -m tests.training.memory_probe QUESTION       prints JSON
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from tunix.sft.peft_trainer import PeftTrainer, TrainingConfig

from orchestrator.preflight.memory import abstract_model, depths, lowering, measure, xla_buffer_plan
from orchestrator.preflight.memory.programs import Program
from stages.options import Model, Sft
from stages.training import decoding
from stages.training.families import full_size_config, model_class
from stages.training.lora import with_adapter
from stages.training.losses import TaughtBatch, TaughtLoss, taught_input
from stages.training.master_weights import Master, optimizer_in_float32
from stages.training.model import WEIGHTS, place
from stages.training.optimizers import optimizer
from stages.training.steps import LatestMetrics

LORA = Sft(mode="lora", lora_rank=4)
FULL = Sft(mode="full")
OPTIONS = Model(kind="gemma2-2b", mesh_fsdp=2, mesh_tp=4)
SIZES = {
    "num_embed": 512,
    "embed_dim": 64,
    "hidden_dim": 256,
    "num_heads": 8,
    "num_kv_heads": 4,
    "head_dim": 16,
}


def config_of(layers: int, kind: str = OPTIONS.kind) -> Any:
    return dataclasses.replace(full_size_config(kind, OPTIONS), num_layers=layers, **SIZES)


def program_of(options: Sft, kind: str = "sft", answer_tokens: int = 0) -> Program:
    rank, targets = (options.lora_rank, options.lora_targets) if options.mode == "lora" else (0, "")
    return Program(kind, 32, answer_tokens, rank, targets, sums_gradients=kind == "grpo")


def on_first_chip(tree: Any) -> int:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]
    return sum(shard.data.nbytes for leaf in leaves for shard in leaf.addressable_shards if shard.device.id == 0)


def trained(options: Sft, dtype: str) -> tuple[nnx.Module, PeftTrainer, Any]:
    """(the base, its trainer, the mesh), really allocated."""
    mesh = abstract_model.mesh_of(OPTIONS)
    base = model_class(OPTIONS.kind)(config_of(2), rngs=nnx.Rngs(0))
    nnx.update(base, jax.tree.map(lambda leaf: leaf.astype(dtype), nnx.state(base)))
    place(base, mesh)
    model = with_adapter(base, options, 0, mesh) if options.mode == "lora" else base
    trainer = PeftTrainer(model, optax.identity(), TrainingConfig(eval_every_n_steps=99), LatestMetrics())
    trainer.optimizer = optimizer_in_float32(model, optimizer(options, 10), dtype=dtype, below={}, values={})
    trainer.with_loss_fn(TaughtLoss()).with_gen_model_input_fn(taught_input)
    trainer.is_managed_externally = True
    ones, places = np.ones((4, 32), np.int32), np.tile(np.arange(32, dtype=np.int32), (4, 1))
    weights = np.full((4, 32), 1 / 124, np.float32)
    with mesh:
        trainer.train([TaughtBatch(ones, ones, places, at=places, targets=ones, weights=weights)])
    return base, trainer, mesh


def held(options: Sft, dtype: str) -> dict[str, Any]:
    """Bytes on the first chip: as they are, and as they were foreseen."""
    base, trainer, mesh = trained(options, dtype)
    now = {
        "weights": on_first_chip(nnx.state(trainer.model, WEIGHTS)),
        "adapter": on_first_chip(nnx.state(trainer.model, nnx.LoRAParam)),
        "optimizer": on_first_chip(nnx.state(trainer.optimizer)),
        "masters": on_first_chip(nnx.state(trainer.optimizer, Master)),
    }
    model = dataclasses.replace(OPTIONS, dtype=dtype)
    sizes, _ = lowering.compiled(program_of(options), [4], config_of(2), model, mesh)
    first = nnx.state(base)["final_norm"]["scale"].get_value().addressable_shards[0].data
    later = nnx.state(trainer.model)["final_norm"]["scale"].get_value().addressable_shards[0].data
    copied = options.mode == "lora" and first.unsafe_buffer_pointer() != later.unsafe_buffer_pointer()
    return {"now": now, "foreseen": {name: sizes[name][0] for name in now}, "base_copied": copied}


def line(kind: str, mode: str) -> dict[str, Any]:
    """Temporaries of a step at 24 rows: scaled from those at 16, and compiled."""
    options, mesh = (LORA if mode == "lora" else FULL), abstract_model.mesh_of(OPTIONS)
    program = program_of(options, kind, answer_tokens=0 if kind == "sft" else 32)
    sizes, (one, more) = lowering.compiled(program, (16, 24), config_of(6), OPTIONS, mesh)
    answers = [{"sizes": sizes, "part": part, "layers": 6} for part in one]
    (scaled,) = measure._read(answers, program, OPTIONS.mesh_fsdp).at(24)
    return {"line": scaled["temporaries"], "compiled": more[0]["temporaries"]}


def plan(kind: str, folder: Path) -> dict[str, Any]:
    """What a step needs, as XLA wrote it down on the way and as the compiled program says."""
    program = program_of(LORA, kind, answer_tokens=0 if kind == "sft" else 32)
    _, ((part,),) = lowering.compiled(program, [8], config_of(2), OPTIONS, abstract_model.mesh_of(OPTIONS))
    early = xla_buffer_plan.written(folder)
    assert early is not None
    return {
        "compiled": [part["temporaries"], part["outputs"]],
        "written": [early.temp_size_in_bytes, early.output_size_in_bytes - early.alias_size_in_bytes],
    }


def few_layers() -> dict[str, Any]:
    """What a step of an adapter needs with all layers: planned from few, and compiled."""
    program, mesh, layers = (
        program_of(LORA, "grpo", answer_tokens=32),
        abstract_model.mesh_of(OPTIONS),
        depths.LAYERS_MIN,
    )
    config = dataclasses.replace(config_of(layers), num_embed=65_536)
    samples = depths.samples_of(program, layers, config.num_embed, chips=8)
    found = {}
    for sample in (*samples, depths.WHOLE):
        small = abstract_model.shortened(config, sample.layers or layers)
        if sample.narrow:
            small = abstract_model.with_vocabulary(small, depths.narrow_vocabulary(8))
        sizes, ((part,),) = lowering.compiled(program, [8], small, OPTIONS, mesh)
        found[sample] = {"sizes": {name: list(each) for name, each in sizes.items()}, "part": part}
    return {"few": depths.extrapolated(found, layers), "all": found[depths.WHOLE] | {"layers": layers}}


def cache() -> dict[str, Any]:
    """Where the sampler's cache is once it is made."""
    mesh = abstract_model.mesh_of(OPTIONS)
    config = config_of(2)
    model = model_class(OPTIONS.kind)(config, rngs=nnx.Rngs(0))
    place(model, mesh)
    layout = decoding.cache_layout(mesh, config.num_kv_heads)
    with mesh:
        made = decoding.fresh(*nnx.split(model), rows=8, width=64, layout=layout)
    program = dataclasses.replace(program_of(FULL, "answers", 32), rank=0)
    parts = [lowering.compiled(program, [8], config, OPTIONS, mesh, part=number)[1][0][0] for number in (0, 1)]
    return {
        "whole": sum(leaf.nbytes for leaf in jax.tree.leaves(made)),
        "now": on_first_chip(made),
        "foreseen": [part["cache"] for part in parts],
        "prompts": parts[0]["outputs"],
    }


QUESTIONS = {
    "held-lora": lambda: held(LORA, sys.argv[2]),
    "held-full": lambda: held(FULL, sys.argv[2]),
    "line-sft": lambda: line("sft", "lora"),
    "line-grpo": lambda: line("grpo", "full"),
    "plan-sft": lambda: plan("sft", Path(sys.argv[2])),
    "plan-grpo": lambda: plan("grpo", Path(sys.argv[2])),
    "cache": cache,
    "few-layers": few_layers,
}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(QUESTIONS[sys.argv[1]]()) + "\n")
