"""Lowers one program for a mesh of emulated devices, and tells each device's memory needs.

Nothing is allocated: every array is a shape, a dtype and a sharding. The programs are the session's: the step of Tunix's
trainer with the losses of `stages.training.losses`, and the two functions of `stages.training.decoding` that compute
most.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from tunix.sft.peft_trainer import PeftTrainer

from orchestrator.preflight.memory.abstract_model import (
    abstract_model,
    activations_laid_out,
    largest,
    lay_out,
    mesh_of,
    model_config,
    shortened,
    size,
    with_vocabulary,
)
from orchestrator.preflight.memory.depths import Sample, narrow_vocabulary
from orchestrator.preflight.memory.programs import Program
from orchestrator.preflight.memory.xla_buffer_plan import plan_of
from stages.options import Model, Sft
from stages.training import decoding, families
from stages.training.decoding import Noise, SlotState, TokenChoice
from stages.training.losses import AnswerRows, PolicyBatch, PolicyLoss, TaughtBatch, TaughtLoss, taught_input
from stages.training.master_weights import Master, optimizer_in_float32
from stages.training.model import WEIGHTS, arrays_of
from stages.training.optimizers import optimizer
from stages.training.slots import SEGMENT

STOPS = 2
"""Number of tokens that end an answer."""
TEMPERATURE = 0.9
"""Any temperature other than 1, since only 1 saves the division of the logits."""
NARROW = "bfloat16"
"""Type of the copy of the weights for sampling, with `sampling_dtype: bfloat16`."""
STEPS = 1000
"""Number of steps of the stage; the schedule's state has the same size for any number."""


def measured(options: Model, sample: Sample, program: Program, rows: int, part: int, folder: Path) -> dict[str, Any]:
    """Return bytes: `sizes` of persistent state (on one chip, in total), `part` of the program's function of that
    number at these rows; and `layers`."""
    config = model_config(options)
    if sample.layers:
        config = shortened(config, sample.layers)
    if sample.narrow:
        config = with_vocabulary(config, narrow_vocabulary(options.mesh_fsdp * options.mesh_tp))
    sizes, (parts,) = compiled(program, [rows], config, options, mesh_of(options), folder, part)
    return {"sizes": sizes, "part": parts[0], "layers": config.num_layers}


Part = dict[str, int]
Sizes = dict[str, tuple[int, int]]


def compiled(
    program: Program,
    rows: Iterable[int],
    config: Any,
    options: Model,
    mesh: jax.sharding.Mesh,
    folder: Path | None = None,
    part: int = 0,
) -> tuple[Sizes, list[list[Part]]]:
    """Return the bytes of persistent state and, for each number of rows, the additional bytes of each function.

    Of the sampler it is one function, that of the number `part`. `folder` is the folder to which XLA writes its plans
    (see `xla_buffer_plan`); it allows only one number of rows.
    """
    with mesh, activations_laid_out(mesh):
        module = abstract_model(config, _sampling(options, program), program, mesh)
        trainable = _optimizer(module, program, options) if program.kind in ("sft", "grpo") else None
        if trainable is not None:
            lay_out(trainable, mesh)
        sizes = {
            "weights": size(nnx.state(module, WEIGHTS)),
            "adapter": size(nnx.state(module, nnx.LoRAParam)),
            "optimizer": (0, 0) if trainable is None else size(nnx.state(trainable)),
            "masters": (0, 0) if trainable is None else size(nnx.state(trainable, Master)),
            "largest": largest(nnx.state(module, WEIGHTS)),
        }
        found = []
        for count in rows:
            if trainable is not None:
                parts = [_step_part(program, module, trainable, mesh, count, folder)]
            else:
                parts = [_sampler_part(program, module, mesh, count, folder, part)]
            found.append([{"rows": count, **each} for each in parts])
            jax.clear_caches()
    return sizes, found


def _sampling(options: Model, program: Program) -> Model:
    """Return the model's options with the type of its copy for sampling."""
    return dataclasses.replace(options, dtype=NARROW) if program.narrow else options


def _step_part(program: Program, module: nnx.Module, trainable: Any, mesh: Any, rows: int, folder: Path | None) -> Part:
    lowered = nnx.jit(_step(program), donate_argnames=("optimizer",)).lower(
        module, trainable, _batch(program, rows, mesh)
    )
    held = size(nnx.state(module))[0] + size(nnx.state(trainable))[0]
    return _part(plan_of(lowered, folder), held)


def _part(plan: Any, held_bytes: int, cache_bytes: int = 0) -> Part:
    return {
        "cache": cache_bytes,
        "inputs": max(0, plan.argument_size_in_bytes - held_bytes - cache_bytes),
        "outputs": max(0, plan.output_size_in_bytes - plan.alias_size_in_bytes),
        "temporaries": plan.temp_size_in_bytes,
    }


# --- training -----------------------------------------------------------------


def _optimizer(module: nnx.Module, program: Program, options: Model) -> Any:
    transformation: Any = optimizer(Sft(mode="lora" if program.rank else "full"), STEPS)
    if program.sums_gradients:
        transformation = optax.MultiSteps(transformation, 2)
    graph, state = nnx.split(module)
    below = {name.rpartition("_lora_")[0]: program.held for name in arrays_of(module, nnx.LoRAParam)}

    def made(leaves: Any) -> Any:
        return optimizer_in_float32(
            nnx.merge(graph, leaves), transformation, dtype=options.dtype, below=below, values={}
        )

    return nnx.eval_shape(made, state)


def _step(program: Program) -> Any:
    """Return the body of Tunix's training step, with the attributes that it reads from its trainer."""
    taught, trains = program.kind == "sft", program.rank == 0
    trainer = SimpleNamespace(
        gen_model_input_fn=taught_input if taught else lambda batch: {"batch": batch},
        loss_fn=TaughtLoss(trains) if taught else PolicyLoss(0.2, 0.2, 0.1, TEMPERATURE, head_trains=trains),
        _lora_enabled=program.rank > 0,
        _has_aux=not taught,
    )

    def step(model: nnx.Module, optimizer: nnx.Optimizer, inputs: Any) -> Any:
        return PeftTrainer._train_step(trainer, model, optimizer, inputs)

    return step


def _batch(program: Program, rows: int, mesh: jax.sharding.Mesh) -> Any:
    """Return the inputs as Tunix shards them: split along `fsdp` if that divides the rows."""

    def array(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
        split = PartitionSpec("fsdp") if rows % mesh.shape["fsdp"] == 0 else PartitionSpec()
        return jax.ShapeDtypeStruct((rows, *shape), dtype, sharding=NamedSharding(mesh, split))

    prompt, answer = program.prompt_tokens, program.answer_tokens
    if program.kind == "sft":
        places = array(jnp.int32, prompt)
        return TaughtBatch(places, places, places, at=places, targets=places, weights=array(jnp.float32, prompt))
    return PolicyBatch(
        rows=AnswerRows(
            tokens=array(jnp.int32, prompt + answer),
            starts=array(jnp.int32),
            answers=array(jnp.int32, answer),
            lengths=array(jnp.int32),
        ),
        learnt=array(jnp.bool_, answer),
        advantages=array(jnp.float32),
        row_weight=array(jnp.float32),
        token_weight=array(jnp.float32),
        reference=array(jnp.float32, answer),
        sampler=array(jnp.float32, answer),
    )


# --- answers ------------------------------------------------------------------


def _sampler_part(
    program: Program, module: nnx.Module, mesh: jax.sharding.Mesh, rows: int, folder: Path | None, part: int
) -> Part:
    """Measure prefill (0) or a segment of the decode loop (1), each in its largest shape.

    The cache of all slots is an argument of the second one alone, but it exists while the first one runs, too.
    """
    config: Any = module.config
    with families.without_remat(module):
        graph, weights = nnx.split(module)
    layout = decoding.cache_layout(mesh, config.num_kv_heads)
    settings = decoding.DecodeSettings(TokenChoice(False, program.top_k), layout, SEGMENT)
    width = program.prompt_tokens + program.answer_tokens
    made = jax.eval_shape(lambda: decoding.fresh(graph, weights, rows=rows, width=width, layout=layout))
    cache = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=layout), made)

    def integers(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.int32)

    noise = Noise(jax.ShapeDtypeStruct((), jnp.uint32), *[jax.ShapeDtypeStruct((), jnp.float32)] * 2)
    if part == 0:
        tokens = integers(rows, program.prompt_tokens)
        lowered = decoding.prefill.lower(graph, weights, tokens, integers(rows), integers(rows), noise, settings)
    else:
        slots = SlotState(*[integers(rows)] * len(dataclasses.fields(SlotState)))
        lowered = decoding.segment.lower(graph, weights, cache, slots, integers(STOPS), noise, settings)
    taken = size(cache)[0]
    found = _part(plan_of(lowered, folder), size(nnx.state(module))[0], taken if part else 0)
    return found | {"cache": taken}
