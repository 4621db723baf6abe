"""Where a stage stands when it is called: resumed from its own checkpoint, inheriting from the stage before, or at the start.

A stage always starts from files or from the pipeline's `model:`, never from what another stage left in memory, so it makes
no difference whether the stage before it ran in this session or in another one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from stages import checkpoints, lora
from stages.accounting import Spent
from stages.checkpoints import State, Weights
from stages.data import derive_seed
from stages.lora import Adapter
from stages.model import Arrays, Foundation, arrays_of, copy_of, load, put_arrays
from stages.options import Trained
from stages.stage import Context, StageFailed


@dataclass(frozen=True)
class Standing:
    """A model ready to train. `frozen` is what the stage began with: the base of an adapter, or a reference model."""

    foundation: Foundation
    model: nnx.Module
    frozen: nnx.Module
    origin: Weights
    before: State
    resumed: bool


def stand(context: Context, options: Trained, *, needs_origin: bool = False) -> Standing:
    """The stage's model with the checkpoint's weights in it. `needs_origin`: full training keeps what it began with."""
    foundation = foundation_of(context)
    before = restored(context, foundation)
    resumed = is_resumed(context)
    seed = derive_seed(context.seed, context.spec.name, "adapter")
    if options.mode == "full":
        origin = (before.origin or Weights()) if resumed else before.weights
        return _full(foundation, origin, before, resumed, needs_origin)
    live = before.weights.adapters[-1] if resumed else None
    origin = Weights(before.weights.base, before.weights.adapters[:-1]) if resumed else before.weights
    put_weights(foundation.model, origin)
    model = lora.with_adapter(foundation.model, options, seed, foundation.mesh)
    if live is not None:
        put_arrays(model, live.arrays, nnx.LoRAParam)
    return Standing(foundation, model, foundation.model, origin, before, resumed)


def as_trained(context: Context) -> tuple[Foundation, State]:
    """The model with the checkpoint's weights in it, and what else the checkpoint holds: for stages that train nothing."""
    with context.doing(Spent.MODEL):
        foundation = foundation_of(context)
        before = restored(context, foundation)
        put_weights(foundation.model, before.weights)
    return foundation, before


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


def restored(context: Context, foundation: Foundation) -> State:
    """The state in the checkpoint, or the one of an untrained model; raises StageFailed where the model has changed since."""
    made = made_of(foundation.model)
    wanted = foundation.options.sha256
    if wanted not in ("", made):
        raise StageFailed("model-changed", f"model.sha256 is {wanted} and the weights have {made}: mend one of them")
    if context.checkpoint is None:
        context.say(f"base weights have sha256 {made}")
        _hold_tokenizer(context, foundation)
        return State(Weights(), made)
    with context.doing(Spent.RESTORE):
        state = checkpoints.read(context.checkpoint.directory)
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
    arrays, sums = arrays_of(model), _checksums(model)
    known = tuple((name, sums[name], str(array.dtype), array.shape) for name, array in arrays.items())
    if known not in _MADE:
        _MADE[known] = checkpoints.tree_digest(arrays)
    return _MADE[known]


def put_weights(model: nnx.Module, weights: Weights) -> None:
    """Bring a freshly made model to these weights, adapters merged in."""
    if weights.base is not None:
        put_arrays(model, weights.base)
    for adapter in weights.adapters:
        lora.merge(model, adapter)


class Frozen:
    """Sees to it that training an adapter moves the adapter and nothing else. `look` is called with each step's metrics."""

    def __init__(self, standing: Standing, options: Trained) -> None:
        self._standing = standing
        self._looks = 0
        self._before = _checksums(standing.frozen) if options.mode == "lora" else None

    def look(self, metrics: Mapping[str, float]) -> None:
        """Raise StageFailed where after a few steps the adapter is still zero, or the weights below it have changed.

        A step in which all groups were idle has no gradient, and counts for nothing.
        """
        self._looks += metrics.get("idle_groups", 0.0) < 1.0
        if self._before is None or self._looks != LOOK_AFTER_STEPS:
            return
        lora.check_moved(arrays_of(self._standing.model, nnx.LoRAParam))
        if _checksums(self._standing.model) != self._before:
            raise StageFailed("base-moved", "training the adapter has changed the weights below it, which are frozen")


LOOK_AFTER_STEPS = 3


def _checksums(module: nnx.Module) -> Mapping[str, int]:
    """The sum of all bits of each array, read as whole numbers: one flipped bit changes it."""
    return {name: int(value) for name, value in jax.device_get(_totals(arrays_of(module))).items()}


def _sums_of_bits(values: Arrays) -> Arrays:
    whole = {2: jnp.uint16, 4: jnp.uint32}
    return {
        name: jnp.sum(jax.lax.bitcast_convert_type(value, whole[value.dtype.itemsize]), dtype=jnp.uint32)
        for name, value in values.items()
    }


_totals = jax.jit(_sums_of_bits)  # once, so that it is compiled once


def state_of(standing: Standing, options: Trained, optimizer: nnx.Optimizer | None, *, keeps_origin: bool) -> State:
    """What to save now."""
    model, made, papers = standing.model, standing.before.made, standing.before.papers
    moments = None if optimizer is None else arrays_of(optimizer, nnx.optimizer.OptState)
    if options.mode == "full":
        origin = standing.origin if keeps_origin else None
        return State(Weights(arrays_of(model)), made, origin, moments, papers=papers)
    live = Adapter(options.lora_rank, options.lora_alpha, arrays_of(model, nnx.LoRAParam))
    origin = standing.origin
    return State(Weights(origin.base, (*origin.adapters, live)), made, None, moments, papers=papers)


def _full(foundation: Foundation, origin: Weights, before: State, resumed: bool, needs_origin: bool) -> Standing:
    model = copy_of(foundation.model) if needs_origin else foundation.model
    put_weights(model, before.weights)
    if needs_origin:
        put_weights(foundation.model, origin)
    return Standing(foundation, model, foundation.model, origin, before, resumed)
