"""Runs in a process with eight made-up devices: what really allocated models hold, beside what lowering says of them.

python -m tests.training.memory_probe QUESTION       prints JSON
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from tunix.generate.sampler import CacheConfig, Sampler
from tunix.sft.peft_trainer import PeftTrainer, TrainingConfig

from orchestrator.preflight.memory import abstract_model, lowering, measure, xla_buffer_plan
from orchestrator.preflight.memory.programs import Program
from stages.options import Model, Sft
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


def sampler(folder: Path) -> dict[str, Any]:
    """What prefill and decode need: with the cache's layout from one layer, and compiled whole."""
    mesh, program = abstract_model.mesh_of(OPTIONS), dataclasses.replace(program_of(FULL, "answers", 32), rank=0)
    early = []
    for number in (0, 1):
        (at := folder / str(number)).mkdir()
        _, ((part,),) = lowering.compiled(program, [8], config_of(3), OPTIONS, mesh, at, number)
        early.append(part)
    return {"early": early, "whole": compiled_whole(program, 8, config_of(3), mesh)}


def compiled_whole(program: Program, rows: int, config: Any, mesh: jax.sharding.Mesh) -> list[dict[str, int]]:
    """Needs of prefill and decode with all layers; the cache gets the sharding that the compiler gives it in prefill."""
    with mesh, abstract_model.activations_laid_out(mesh):
        module = abstract_model.abstract_model(config, OPTIONS, program, mesh)
        asked, begun = lowering._sampler(program, module, rows)
        weights = asked._flattened_transformer_state
        lowered = asked._compiled_prefill_fn.lower(weights, begun, None, echo=False)
        prefill = lowered.compile()
        after = lowering._laid_out(lowered.out_info, prefill.output_shardings)
        decode = asked._compiled_decode_fn.lower(weights, after).compile()
        sizes = (abstract_model.size(after.cache)[0], lowering._whole(begun.cache))
        held_bytes = abstract_model.size(nnx.state(module))[0]
        functions = (prefill.memory_analysis(), decode.memory_analysis())
        return [{"rows": rows, **lowering._part(each, held_bytes, *sizes)} for each in functions]


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


def cache() -> dict[str, Any]:
    """Where the sampler's cache is before and after the prompts are read."""
    mesh = abstract_model.mesh_of(OPTIONS)
    config = config_of(2)
    model = model_class(OPTIONS.kind)(config, rngs=nnx.Rngs(0))
    place(model, mesh)
    sampler = Sampler(
        model, lowering._MinimalTokenizer(), CacheConfig(64, config.num_layers, config.num_kv_heads, config.head_dim)
    )
    sampler.eos_ids = jnp.array([1])
    with mesh, abstract_model.activations_laid_out(mesh):
        begun = sampler.init_sample_state(
            jnp.ones((8, 32), jnp.int32), 64, False, None, 1.0, 1.0, None, jax.random.PRNGKey(0), None
        )
        before, whole = on_first_chip(begun.cache), sum(leaf.nbytes for leaf in jax.tree.leaves(begun.cache))
        after = sampler._compiled_prefill_fn(sampler._flattened_transformer_state, begun, None, echo=False)
    program = dataclasses.replace(program_of(FULL, "answers", 32), rank=0)
    parts = [lowering.compiled(program, [8], config, OPTIONS, mesh, part=number)[1][0][0] for number in (0, 1)]
    return {
        "whole": whole,
        "before": before,
        "after": on_first_chip(after.cache),
        "foreseen": [[part["cache_whole"], part["cache"]] for part in parts],
    }


QUESTIONS = {
    "held-lora": lambda: held(LORA, sys.argv[2]),
    "held-full": lambda: held(FULL, sys.argv[2]),
    "line-sft": lambda: line("sft", "lora"),
    "line-grpo": lambda: line("grpo", "full"),
    "plan-sft": lambda: plan("sft", Path(sys.argv[2])),
    "plan-grpo": lambda: plan("grpo", Path(sys.argv[2])),
    "cache": cache,
    "sampler": lambda: sampler(Path(sys.argv[2])),
}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(QUESTIONS[sys.argv[1]]()) + "\n")
