"""Lowers one program of the full-size model for a mesh of emulated devices and prints each device's memory needs.

Runs as a process of its own (`python -m orchestrator.preflight.memory.lowering`, JSON in and out), because JAX fixes
the number of devices once; each number of rows and layers is lowered in a copy of it, because compilation leaks memory
and is aborted once the memory is planned. Nothing is allocated: every array
is a shape, a dtype and a sharding. The programs are the session's: the step of Tunix's trainer with the losses of
`stages.training.losses`, and the sampler's two functions.
"""

import dataclasses
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from tunix.generate.sampler import CacheConfig, Sampler
from tunix.sft.peft_trainer import PeftTrainer

from orchestrator.base.clock import monotonic_s
from orchestrator.preflight.memory import xla_buffer_plan
from orchestrator.preflight.memory.abstract_model import (
    CannotLower,
    abstract_model,
    activations_laid_out,
    largest,
    lay_out,
    mesh_of,
    model_config,
    shortened,
    size,
)
from orchestrator.preflight.memory.programs import FUNCTIONS, Program
from orchestrator.preflight.memory.xla_buffer_plan import plan_of
from stages.options import Model, Sft, fit
from stages.stage import StageFailed
from stages.training import families
from stages.training.losses import PolicyBatch, PolicyLoss, TaughtBatch, TaughtLoss, taught_input
from stages.training.master_weights import Master, optimizer_in_float32
from stages.training.model import WEIGHTS, arrays_of
from stages.training.optimizers import optimizer

PAD, EOS = 0, 1
TEMPERATURE = 0.9
"""Any temperature other than 1, since only 1 saves the division of the logits."""
STEPS = 1000
"""Number of steps of the stage; the schedule's state has the same size for any number."""


def main() -> None:
    """Read a request from standard input; write one line for each part of the program to standard output."""
    request = json.load(sys.stdin)
    program = Program(**request["program"])
    for part in range(FUNCTIONS[program.kind]):
        folder = Path(request["folder"]) / str(part)
        folder.mkdir()
        began_s = monotonic_s()
        answer = forked(partial(answer_of, request["model"], program, request["rows"], part, folder))
        sys.stdout.write(json.dumps({**json.loads(answer), "took_s": monotonic_s() - began_s}) + "\n")
        sys.stdout.flush()


def answer_of(model: Mapping[str, Any], program: Program, rows: int, part: int, folder: Path) -> dict[str, Any]:
    """Return what `measured` returns, or an `error` for the user."""
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *xla_buffer_plan.flags(folder)])
    try:
        return measured(model, program, rows, part, folder)
    except (CannotLower, StageFailed) as error:
        return {"error": str(error)}


def forked(compute: Callable[[], dict[str, Any]]) -> str:
    """Return `compute`'s result as JSON, computed in a copy of this process, which ends as soon as it has the result.

    XLA cannot be told to stop once it has planned the memory, and importing everything again takes seconds. Copying is
    safe as long as JAX has no devices, for which it starts threads.
    """
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with os.fdopen(writes, "w", encoding="utf-8") as pipe:
                pipe.write(json.dumps(compute()))
            status = 0
        except BaseException:  # noqa: BLE001 - the parent reports the last line of standard error
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)  # do not wait for XLA, which may still be compiling
    os.close(writes)
    with os.fdopen(reads, encoding="utf-8") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise SystemExit(1 if os.WIFEXITED(status) else f"Error: lowering was ended by signal {os.WTERMSIG(status)}")
    return said


def measured(model: Mapping[str, Any], program: Program, rows: int, part: int, folder: Path) -> dict[str, Any]:
    """Return bytes: `sizes` of persistent state (on one chip, in total), `part` of the program's function of that
    number at these rows; and `layers`."""
    options = fit(Model, model, "model")
    config = model_config(options)
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
        module = abstract_model(config, options, program, mesh)
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
                few = abstract_model(shortened(config, 1), options, program, mesh)
                parts = [_sampler_part(program, module, few, count, folder, part)]
            found.append([{"rows": count, **each} for each in parts])
            jax.clear_caches()
    return sizes, found


def _step_part(program: Program, module: nnx.Module, trainable: Any, mesh: Any, rows: int, folder: Path | None) -> Part:
    lowered = nnx.jit(_step(program), donate_argnames=("optimizer",)).lower(
        module, trainable, _batch(program, rows, mesh)
    )
    held = size(nnx.state(module))[0] + size(nnx.state(trainable))[0]
    return _part(plan_of(lowered, folder), held)


def _part(plan: Any, held_bytes: int, cache_bytes: int = 0, cache_whole_bytes: int = 0) -> Part:
    return {
        "cache": cache_bytes,
        "cache_whole": cache_whole_bytes,
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
    taught = program.kind == "sft"
    trainer = SimpleNamespace(
        gen_model_input_fn=taught_input if taught else lambda batch: {"batch": batch},
        loss_fn=TaughtLoss(head_trains=not program.rank) if taught else PolicyLoss(0.2, 0.2, 0.1, TEMPERATURE),
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
        prompts=array(jnp.int32, prompt),
        answers=array(jnp.int32, answer),
        lengths=array(jnp.int32),
        learnt=array(jnp.bool_, answer),
        advantages=array(jnp.float32),
        row_weight=array(jnp.float32),
        token_weight=array(jnp.float32),
        reference=array(jnp.float32, answer),
    )


# --- answers ------------------------------------------------------------------


class _MinimalTokenizer:
    """The part of a tokenizer that the sampler uses."""

    def encode(self, text: str, **_: Any) -> list[int]:
        return [EOS]

    def decode(self, ids: list[int], **_: Any) -> str:
        return ""

    def pad_id(self) -> int:
        return PAD

    def eos_id(self) -> int:
        return EOS

    def bos_id(self) -> int:
        return 2


def _sampler_part(
    program: Program, module: nnx.Module, few: nnx.Module, rows: int, folder: Path | None, part: int
) -> Part:
    """Measure prefill (0) or decode (1), with the cache's sharding taken from `few`, a model of one layer.

    Only a compiled program tells the sharding that the compiler chose, and every layer's is the same.
    """
    sampler, begun = _sampler(program, few, rows)
    lowered = sampler._compiled_prefill_fn.lower(sampler._flattened_transformer_state, begun, None, echo=False)
    after_few = _laid_out(lowered.out_info, lowered.compile().output_shardings)
    (layer,) = after_few.cache.values()
    if folder is not None:
        xla_buffer_plan.forget(folder)
    sampler, begun = _sampler(program, module, rows)
    layout = {name: leaf.sharding for name, leaf in layer.items()}
    cache = {
        name: {key: _with_sharding(leaf, layout[key]) for key, leaf in leaves.items()}
        for name, leaves in begun.cache.items()
    }
    if part == 0:
        lowered = sampler._compiled_prefill_fn.lower(sampler._flattened_transformer_state, begun, None, echo=False)
    else:
        after = dataclasses.replace(after_few, cache=cache)
        lowered = sampler._compiled_decode_fn.lower(sampler._flattened_transformer_state, after)
    held, sizes = size(nnx.state(module))[0], (size(cache)[0], _whole(begun.cache))
    return _part(plan_of(lowered, folder), held, *sizes)


def _laid_out(shapes: Any, shardings: Any) -> Any:
    return jax.tree.map(_with_sharding, shapes, shardings)


def _with_sharding(leaf: Any, layout: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=layout)


def _whole(cache: Any) -> int:
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(cache))


def _sampler(program: Program, module: nnx.Module, rows: int) -> tuple[Sampler, Any]:
    """Return Tunix's sampler and its initial state without contents."""
    config: Any = module.config
    small = CacheConfig(1, config.num_layers, config.num_kv_heads, config.head_dim)
    with families.without_remat(module):
        sampler = Sampler(module, _MinimalTokenizer(), small)
    sampler.eos_ids = jnp.array([EOS])
    length = program.prompt_tokens + program.answer_tokens
    one = sampler.init_sample_state(
        jnp.ones((1, program.prompt_tokens), jnp.int32),
        total_sampling_steps=length,
        include_logits=False,
        forbidden_token_ids=None,
        temperature=1.0,
        top_p=1.0,
        top_k=program.top_k or None,
        seed=jax.random.PRNGKey(0),
        beam_size=None,
    )
    sampler.cache_config = dataclasses.replace(small, cache_size=length)

    def grown(leaf: Any, *more: int) -> Any:
        return jax.ShapeDtypeStruct((rows, *more, *leaf.shape[1 + len(more) :]), leaf.dtype)

    cache = {
        layer: {name: grown(leaf, length) if leaf.ndim > 1 else grown(leaf) for name, leaf in leaves.items()}
        for layer, leaves in one.cache.items()
    }
    begun = dataclasses.replace(
        one, token_buffer=grown(one.token_buffer), positions=grown(one.positions), done=grown(one.done), cache=cache
    )
    return sampler, begun


if __name__ == "__main__":
    main()
