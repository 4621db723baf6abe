"""Prepares a stage's starting state: resumed from its own checkpoint, inherited from the
stage before, or at the beginning.

A stage always starts from files or from the pipeline's `model:`, never from what another stage left in memory, so the
result does not depend on whether the stage before it ran in this session or in another one.
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
from stages.training.optimizers import optimizer, schedule_counts
from stages.training.spread import on_host, placed


@dataclass(frozen=True)
class StageState:
    """A model ready to train. `frozen` is the model that the stage began with: the base of an
    adapter, or a reference model."""

    foundation: Foundation
    model: nnx.Module
    frozen: nnx.Module
    origin: Weights
    before: TrainingState
    resumed: bool
    masters: Mapping[str, Any] = field(default_factory=dict)
    """Float32 master weights by name, if the model is in a narrower type and does not contain their exact values."""
    below: Mapping[str, int] = field(default_factory=dict)
    """Ranks of frozen adapters beside the weights, by weight; see `lora.ranks_below`."""
    warm: bool = False
    """True if the stage begins with another run's optimizer state: its own schedule begins at step 0."""


def prepare(context: Context, options: TrainingOptions, *, needs_origin: bool = False) -> StageState:
    """Load the stage's model with the checkpoint's weights. With `needs_origin`, full
    training keeps a copy of its start."""
    foundation = foundation_of(context)
    before = restored(context, foundation)
    resumed = is_resumed(context)
    seed = derive_seed(context.seed, context.spec.name, "adapter")
    if options.mode == "full":
        origin = (before.origin or Weights()) if resumed else before.weights
        return _prepare_full(context, foundation, origin, before, needs_origin)
    live = before.weights.adapters[-1].arrays if resumed else {}
    origin = Weights(before.weights.base, before.weights.adapters[:-1]) if resumed else before.weights
    below = origin.adapters if is_narrow(foundation) else ()
    stacked = (
        origin if needs_origin or not below else Weights(origin.base)
    )  # only a reference model needs these adapters
    frozen = with_weights(foundation, stacked, options.lora_alpha / options.lora_rank)
    model = lora.with_adapter(foundation.model, options, seed, foundation.mesh, below)
    if live and not is_narrow(foundation):
        put_arrays(model, live, nnx.LoRAParam)
        live = {}
    held = lora.ranks_below(below)
    warm = is_warm(context)
    return StageState(foundation, model, frozen, origin, before, resumed, masters=live, below=held, warm=warm)


def load_trained(context: Context) -> tuple[Foundation, TrainingState]:
    """Load the model with the checkpoint's weights, and the checkpoint's state, for stages that do not train."""
    with context.doing(TimeClass.MODEL):
        foundation = foundation_of(context)
        before = restored(context, foundation)
        model = with_weights(foundation, before.weights)
    return dataclasses.replace(foundation, model=model), before


def foundation_of(context: Context) -> Foundation:
    """Load the model that the pipeline's `model:` describes, untrained."""
    foundation = load(context.model, context.inputs, context.scratch)
    if foundation.stand_in:
        context.pins.stand_ins.add("model")
    if context.checkpoint is None or is_resumed(context):  # logged about once per session: later stages inherit
        context.say(foundation.note.replace(f"{context.inputs}/", ""))
    return foundation


def is_resumed(context: Context) -> bool:
    """Return whether the checkpoint is of this stage."""
    return context.checkpoint is not None and context.checkpoint.cursor.stage == context.spec.name


def is_warm(context: Context) -> bool:
    """Return whether the checkpoint is another run's, of which not everything is taken over."""
    return context.checkpoint is not None and context.checkpoint.warm


def restored(context: Context, foundation: Foundation) -> TrainingState:
    """Read the state in the checkpoint, or return that of an untrained model; raises StageFailed if
    the model has changed since."""
    made = made_of(foundation.model)
    wanted = foundation.options.sha256
    if wanted not in ("", made):
        raise StageFailed(
            "model-changed",
            f"base-weight checksum mismatch: model.sha256 is {wanted} and the weights have {made}: "
            "update model.sha256 or restore the weights",
        )
    if context.checkpoint is None:
        context.say(f"base weights have sha256 {made}")
        _check_tokenizer(context, foundation)
        return TrainingState(Weights(), made)
    with context.doing(TimeClass.RESTORE):
        state = checkpoints.read(context.checkpoint.directory)
    if name := checkpoints.not_finite(state):
        place = f"{context.checkpoint.cursor.stage} step {context.checkpoint.cursor.step}"
        raise StageFailed(
            "checkpoint-not-finite", f"{name} of the checkpoint {place} is not finite: resume from an older one"
        )
    if is_warm(context):
        state = checkpoints.without_history(state)
    if state.made != made:
        began = "the checkpoint to begin from was trained from" if is_warm(context) else "this run started from"
        raise StageFailed("model-changed", f"the pipeline's model does not have the weights that {began}: restore them")
    context.pins.recall(state.data)
    _check_tokenizer(context, foundation)
    return state


def _check_tokenizer(context: Context, foundation: Foundation) -> None:
    """Check the tokenizer separately: the weights' digest does not cover it, and another one
    would tokenize differently."""
    if not context.pins.same(checkpoints.TOKENIZER_PIN, foundation.tokenizer.sha256):
        raise StageFailed(
            "model-changed", "the pipeline's model no longer has the tokenizer that this run started with: restore it"
        )


_MADE: dict[tuple[Any, ...], str] = {}
"""Cache of SHA-256 digests, by the bit sums of the weights."""


def made_of(model: nnx.Module) -> str:
    """Return the SHA-256 of the loaded weights (`checkpoints.tree_digest`).

    Every stage of a session loads the same weights. If their bit sums, which the accelerator computes quickly, equal
    those of weights hashed before, the cached digest is returned without copying the weights to the host.
    """
    arrays = arrays_of(model)
    sums = _checksums(arrays)
    known = tuple((name, sums[name], str(array.dtype), array.shape) for name, array in arrays.items())
    if known not in _MADE:
        if name := next((name for name, array in arrays.items() if not_finite({name: on_host(array)})), ""):
            raise StageFailed(
                "model-not-finite", f"{name} in the model's files is not finite: name other files in model.source"
            )
        _MADE[known] = checkpoints.tree_digest(arrays)
    return _MADE[known]


def is_narrow(foundation: Foundation) -> bool:
    """Return whether the model's type is too coarse to train in, or to merge an adapter in."""
    return bool(jnp.dtype(foundation.options.dtype) != jnp.float32)


def with_weights(foundation: Foundation, weights: Weights, scale: float = 1.0) -> nnx.Module:
    """Put these weights into a freshly loaded model: adapters are merged in float32, or kept
    separate in a narrower type."""
    if not is_narrow(foundation) or not weights.adapters:
        put_weights(foundation.model, weights)
        return foundation.model
    put_weights(foundation.model, Weights(weights.base))
    return lora.with_stack(foundation.model, weights.adapters, foundation.mesh, scale)


def put_weights(model: nnx.Module, weights: Weights) -> float:
    """Put these weights into a freshly loaded model, with the adapters merged.

    Sums are computed in float32 and rounded to the model's type once. Returns the share of the adapters' contribution
    that is lost to rounding, as a ratio of Euclidean norms; 0 without adapters.
    """
    if weights == Weights():
        return 0.0
    now, rounded = arrays_of(model), {}
    lost = added = 0.0
    for name, exact in whole(model, weights):
        rounded[name] = exact.astype(now[name].dtype)
        if weights.adapters and rounded[name].dtype != exact.dtype:
            start = _base_weight(name, now, weights)
            added += float(jnp.sum((exact - start) ** 2))
            lost += float(jnp.sum((rounded[name].astype(jnp.float32) - exact) ** 2))
    put_arrays(model, rounded)
    return float((lost / added) ** 0.5) if added else 0.0


def whole(model: nnx.Module, weights: Weights) -> Iterator[tuple[str, jax.Array]]:
    """Yield name and value of each weight in float32, adapters merged, one at a time, in the model's layout."""
    now = arrays_of(model)
    for name in now:
        yield name, lora.merged(name, _base_weight(name, now, weights), weights.adapters)


def _base_weight(name: str, now: Arrays, weights: Weights) -> jax.Array:
    """Return a weight in float32, before any adapter."""
    array = now[name] if weights.base is None else placed(weights.base[name], now[name].sharding)
    return array.astype(jnp.float32)


def equip(trainer: Any, standing: StageState, options: TrainingOptions, steps: int) -> None:
    """Give a Tunix trainer the stage's optimizer, restored from the checkpoint if the stage is resumed.

    It replaces the trainer's own, made from `optax.identity()` in the model's type, in
    which small updates would be lost.
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
        moments = dict(standing.before.optimizer or {})
        if standing.warm:
            begun = arrays_of(trainer.optimizer, nnx.optimizer.OptState)
            moments |= {name: begun[name] for name in schedule_counts(moments) if name in begun}
        put_arrays(trainer.optimizer, moments, nnx.optimizer.OptState)


class FrozenWeightsCheck:
    """Checks that training an adapter changes the adapter and nothing else. Call `look` with each step's metrics."""

    def __init__(self, standing: StageState, options: TrainingOptions) -> None:
        self._standing = standing
        self._steps_seen = 0
        self._before = self._frozen_sums() if options.mode == "lora" else None

    def look(self, metrics: Mapping[str, float]) -> None:
        """Raise StageFailed if, after a few steps, the adapter is still zero or the frozen weights have changed.

        A step without a gradient, such as a reinforcement learning step whose groups were all idle, is not counted.
        """
        self._steps_seen += metrics.get("grad_norm", 1.0) > 0 and metrics.get("idle_groups", 0.0) < 1.0
        if self._before is None or self._steps_seen != LOOK_AFTER_STEPS:
            return
        arrays = arrays_of(self._standing.model, nnx.LoRAParam)
        live = {name: live_part(name, array, self._standing.below) for name, array in arrays.items()}
        lora.check_moved({name: array for name, array in live.items() if array.size})
        if self._frozen_sums() != self._before:
            raise StageFailed("base-moved", "training the adapter has changed the frozen weights below it")

    def _frozen_sums(self) -> Mapping[str, int]:
        """Return the bit sums of everything frozen: the weights, and the ranks of earlier adapters beside them."""
        model, below = self._standing.model, self._standing.below
        arrays = arrays_of(model, nnx.LoRAParam) if below else {}
        return _checksums(
            {**arrays_of(model), **{name: held_part(name, array, below) for name, array in arrays.items()}}
        )


def _checksums(arrays: Arrays) -> Mapping[str, int]:
    """Return the sum of each array's bits, read as integers: a single flipped bit changes it."""
    return {name: int(value) for name, value in jax.device_get(_jitted_sums(arrays)).items()}


def _sums_of_bits(values: Arrays) -> Arrays:
    whole = {2: jnp.uint16, 4: jnp.uint32}
    return {
        name: jnp.sum(jax.lax.bitcast_convert_type(value, whole[value.dtype.itemsize]), dtype=jnp.uint32)
        for name, value in values.items()
    }


_jitted_sums = jax.jit(_sums_of_bits)  # jitted once at module level, so that it is compiled once


def state_of(standing: StageState, options: TrainingOptions, optimizer: Any, *, keeps_origin: bool) -> TrainingState:
    """Return the state to save now: the trained weights, always in float32, and the optimizer's moments."""
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


def _prepare_full(
    context: Context, foundation: Foundation, origin: Weights, before: TrainingState, needs_origin: bool
) -> StageState:
    model = copy_of(foundation.model) if needs_origin else foundation.model
    masters = dict(whole(model, before.weights)) if is_narrow(foundation) else {}
    lost = put_weights(model, before.weights)
    if masters and before.weights.adapters:
        context.say(
            f"merging {len(before.weights.adapters)} adapters: rounding to {foundation.options.dtype} loses "
            f"{lost:.1%} of their contribution in the weights that the model computes with; "
            "the float32 master weights keep all of it"
        )
    if needs_origin:
        put_weights(foundation.model, origin)
    resumed, warm = is_resumed(context), is_warm(context)
    return StageState(foundation, model, foundation.model, origin, before, resumed, masters=masters, warm=warm)
