"""Where a stage stands when it is called: resumed from its own checkpoint, inheriting from the stage before, or at the start.

A stage always starts from files or from the pipeline's `model:`, never from what another stage left in memory, so it makes
no difference whether the stage before it ran in this session or in another one.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from stages.data import derive_seed
from stages.options import TrainingOptions
from stages.session.time_accounting import TimeClass
from stages.stage import Context, StageFailed
from stages.training import checkpoints, lora
from stages.training.checkpoints import TrainingState, Weights
from stages.training.finite import not_finite
from stages.training.guards import LOOK_AFTER_STEPS
from stages.training.lora import Adapter
from stages.training.master_weights import held_part, live_part, masters_of, optimizer_in_float32
from stages.training.model import Arrays, Foundation, arrays_of, copy_of, load, put_arrays
from stages.training.optimizers import optimizer


@dataclass(frozen=True)
class StageState:
    """A model ready to train. `frozen` is what the stage began with: the base of an adapter, or a reference model."""

    foundation: Foundation
    model: nnx.Module
    frozen: nnx.Module
    origin: Weights
    before: TrainingState
    resumed: bool
    masters: Mapping[str, Any] = field(default_factory=dict)
    """What trains in float32, by name, where the model itself is in a narrower type and does not say it all."""
    below: Mapping[str, int] = field(default_factory=dict)
    """Ranks of adapters that are beside the weights and do not train: `lora.ranks_below`."""


def prepare(context: Context, options: TrainingOptions, *, needs_origin: bool = False) -> StageState:
    """The stage's model with the checkpoint's weights in it. `needs_origin`: full training keeps what it began with."""
    foundation = foundation_of(context)
    before = restored(context, foundation)
    resumed = is_resumed(context)
    seed = derive_seed(context.seed, context.spec.name, "adapter")
    if options.mode == "full":
        origin = (before.origin or Weights()) if resumed else before.weights
        return _full(context, foundation, origin, before, needs_origin)
    live = before.weights.adapters[-1].arrays if resumed else {}
    origin = Weights(before.weights.base, before.weights.adapters[:-1]) if resumed else before.weights
    below = origin.adapters if is_narrow(foundation) else ()
    stacked = (
        origin if needs_origin or not below else Weights(origin.base)
    )  # only a reference needs the adapters beside it
    frozen = _beside(foundation, stacked, options.lora_alpha / options.lora_rank)
    model = lora.with_adapter(foundation.model, options, seed, foundation.mesh, below)
    if live and not is_narrow(foundation):
        put_arrays(model, live, nnx.LoRAParam)
        live = {}
    held = lora.ranks_below(below)
    return StageState(foundation, model, frozen, origin, before, resumed, masters=live, below=held)


def load_trained(context: Context) -> tuple[Foundation, TrainingState]:
    """The model with the checkpoint's weights in it, and what else the checkpoint holds: for stages that train nothing."""
    with context.doing(TimeClass.MODEL):
        foundation = foundation_of(context)
        before = restored(context, foundation)
        model = _beside(foundation, before.weights)
    return dataclasses.replace(foundation, model=model), before


def foundation_of(context: Context) -> Foundation:
    """The model that the pipeline's `model:` describes, before anything is trained."""
    foundation = load(context.model, context.inputs, context.scratch)
    if foundation.stand_in:
        context.pins.stand_ins.add("model")
    if context.checkpoint is None or is_resumed(context):  # once a session, or nearly: what follows inherits
        context.say(foundation.note.replace(f"{context.inputs}/", ""))
    return foundation


def is_resumed(context: Context) -> bool:
    """Whether the checkpoint is of this stage."""
    return context.checkpoint is not None and context.checkpoint.cursor.stage == context.spec.name


def restored(context: Context, foundation: Foundation) -> TrainingState:
    """The state in the checkpoint, or the one of an untrained model; raises StageFailed where the model has changed since."""
    made = made_of(foundation.model)
    wanted = foundation.options.sha256
    if wanted not in ("", made):
        raise StageFailed("model-changed", f"model.sha256 is {wanted} and the weights have {made}: mend one of them")
    if context.checkpoint is None:
        context.say(f"base weights have sha256 {made}")
        _hold_tokenizer(context, foundation)
        return TrainingState(Weights(), made)
    with context.doing(TimeClass.RESTORE):
        state = checkpoints.read(context.checkpoint.directory)
    if name := checkpoints.not_finite(state):
        place = f"{context.checkpoint.cursor.stage} step {context.checkpoint.cursor.step}"
        raise StageFailed(
            "checkpoint-not-finite", f"{name} of the checkpoint {place} is not finite: go on from an older one"
        )
    if state.made != made:
        raise StageFailed(
            "model-changed", "the pipeline's model no longer has the weights that this run started from: put it back"
        )
    context.pins.recall(state.data)
    _hold_tokenizer(context, foundation)
    return state


def _hold_tokenizer(context: Context, foundation: Foundation) -> None:
    """The weights' digest says nothing of it, and another one makes other tokens of the same text."""
    if not context.pins.same("tokenizer", foundation.tokenizer.sha256):
        raise StageFailed(
            "model-changed", "the pipeline's model no longer has the tokenizer that this run started with: put it back"
        )


_MADE: dict[tuple[Any, ...], str] = {}
"""SHA-256 of weights by the sums of their bits."""


def made_of(model: nnx.Module) -> str:
    """SHA-256 of the weights that were loaded (`checkpoints.tree_digest`).

    Every stage of a session loads the same ones. Where the sums of all bits, which the accelerator makes in an instant, are those
    of weights that were hashed before, they are not brought here and hashed once more.
    """
    arrays = arrays_of(model)
    sums = _checksums(arrays)
    known = tuple((name, sums[name], str(array.dtype), array.shape) for name, array in arrays.items())
    if known not in _MADE:
        if name := not_finite(arrays):
            raise StageFailed(
                "model-not-finite", f"{name} in the model's files is not finite: name others in model.source"
            )
        _MADE[known] = checkpoints.tree_digest(arrays)
    return _MADE[known]


def is_narrow(foundation: Foundation) -> bool:
    """Whether the model computes in a type that is too coarse to train in, or to merge an adapter in."""
    return bool(jnp.dtype(foundation.options.dtype) != jnp.float32)


def _beside(foundation: Foundation, weights: Weights, scale: float = 1.0) -> nnx.Module:
    """A freshly made model brought to these weights: adapters merged in float32, kept beside the weights in a narrower type."""
    if not is_narrow(foundation) or not weights.adapters:
        put_weights(foundation.model, weights)
        return foundation.model
    put_weights(foundation.model, Weights(weights.base))
    return lora.with_stack(foundation.model, weights.adapters, foundation.mesh, scale)


def put_weights(model: nnx.Module, weights: Weights) -> float:
    """Bring a freshly made model to these weights, adapters merged in.

    All is added in float32 and rounded to the model's type once. The answer is the share of what the adapters add that the
    rounding takes, as lengths (Euclidean norms) go; 0 where there are no adapters.
    """
    if weights == Weights():
        return 0.0
    now, rounded = arrays_of(model), {}
    lost = added = 0.0
    for name, exact in whole(model, weights):
        rounded[name] = exact.astype(now[name].dtype)
        if weights.adapters and rounded[name].dtype != exact.dtype:
            start = _start(name, now, weights)
            added += float(jnp.sum((exact - start) ** 2))
            lost += float(jnp.sum((rounded[name].astype(jnp.float32) - exact) ** 2))
    put_arrays(model, rounded)
    return float((lost / added) ** 0.5) if added else 0.0


def whole(model: nnx.Module, weights: Weights) -> Iterator[tuple[str, jax.Array]]:
    """Name and value of each weight in float32, adapters merged in, laid out as the model has it; one after the other."""
    now = arrays_of(model)
    for name in now:
        yield name, lora.merged(name, _start(name, now, weights), weights.adapters)


def _start(name: str, now: Arrays, weights: Weights) -> jax.Array:
    """A weight in float32 before any adapter."""
    array = now[name] if weights.base is None else jax.device_put(weights.base[name], now[name].sharding)
    return array.astype(jnp.float32)


def equip(trainer: Any, standing: StageState, options: TrainingOptions, steps: int) -> None:
    """Give one of Tunix's trainers the stage's optimizer, in the state of the checkpoint where the stage is resumed.

    The trainer made one of its own, of `optax.identity()`: in the model's type, in which small updates are lost.
    """
    transformation: Any = optimizer(options, steps)
    parts = trainer.config.gradient_accumulation_steps
    if parts is not None:
        transformation = optax.MultiSteps(transformation, parts)
    dtype = standing.foundation.options.dtype
    trainer.optimizer = optimizer_in_float32(
        standing.model, transformation, dtype=dtype, below=standing.below, values=standing.masters
    )
    if standing.resumed:
        put_arrays(trainer.optimizer, standing.before.optimizer or {}, nnx.optimizer.OptState)


class FrozenWeightsCheck:
    """Sees to it that training an adapter moves the adapter and nothing else. `look` is called with each step's metrics."""

    def __init__(self, standing: StageState, options: TrainingOptions) -> None:
        self._standing = standing
        self._looks = 0
        self._before = self._fixed() if options.mode == "lora" else None

    def look(self, metrics: Mapping[str, float]) -> None:
        """Raise StageFailed where after a few steps the adapter is still zero, or the weights below it have changed.

        A step without a gradient, in reinforcement learning one whose groups were all idle, counts for nothing.
        """
        self._looks += metrics.get("grad_norm", 1.0) > 0 and metrics.get("idle_groups", 0.0) < 1.0
        if self._before is None or self._looks != LOOK_AFTER_STEPS:
            return
        arrays = arrays_of(self._standing.model, nnx.LoRAParam)
        live = {name: live_part(name, array, self._standing.below) for name, array in arrays.items()}
        lora.check_moved({name: array for name, array in live.items() if array.size})
        if self._fixed() != self._before:
            raise StageFailed("base-moved", "training the adapter has changed the weights below it, which are frozen")

    def _fixed(self) -> Mapping[str, int]:
        """Sums of what may not move: the weights, and the ranks of earlier adapters beside them."""
        model, below = self._standing.model, self._standing.below
        arrays = arrays_of(model, nnx.LoRAParam) if below else {}
        return _checksums(
            {**arrays_of(model), **{name: held_part(name, array, below) for name, array in arrays.items()}}
        )


def _checksums(arrays: Arrays) -> Mapping[str, int]:
    """The sum of all bits of each array, read as whole numbers: one flipped bit changes it."""
    return {name: int(value) for name, value in jax.device_get(_totals(arrays)).items()}


def _sums_of_bits(values: Arrays) -> Arrays:
    whole = {2: jnp.uint16, 4: jnp.uint32}
    return {
        name: jnp.sum(jax.lax.bitcast_convert_type(value, whole[value.dtype.itemsize]), dtype=jnp.uint32)
        for name, value in values.items()
    }


_totals = jax.jit(_sums_of_bits)  # once, so that it is compiled once


def state_of(standing: StageState, options: TrainingOptions, optimizer: Any, *, keeps_origin: bool) -> TrainingState:
    """What to save now: what trains, always in float32, and the optimizer's moments."""
    made, artifacts = standing.before.made, standing.before.artifacts
    moments = arrays_of(optimizer, nnx.optimizer.OptState)
    trained = masters_of(optimizer)
    if options.mode == "full":
        origin = standing.origin if keeps_origin else None
        weights = arrays_of(standing.model) if trained is None else trained
        return TrainingState(Weights(weights), made, origin, moments, artifacts=artifacts)
    arrays = arrays_of(standing.model, nnx.LoRAParam) if trained is None else trained
    live = Adapter(options.lora_rank, options.lora_alpha, arrays)
    origin = standing.origin
    return TrainingState(Weights(origin.base, (*origin.adapters, live)), made, None, moments, artifacts=artifacts)


def _full(
    context: Context, foundation: Foundation, origin: Weights, before: TrainingState, needs_origin: bool
) -> StageState:
    model = copy_of(foundation.model) if needs_origin else foundation.model
    masters = dict(whole(model, before.weights)) if is_narrow(foundation) else {}
    lost = put_weights(model, before.weights)
    if masters and before.weights.adapters:
        context.say(
            f"merging {len(before.weights.adapters)} adapters: rounding to {foundation.options.dtype} takes {lost:.1%} of what "
            "they add from the weights that the model computes with; the weights that train have all of it"
        )
    if needs_origin:
        put_weights(foundation.model, origin)
    return StageState(foundation, model, foundation.model, origin, before, is_resumed(context), masters=masters)
