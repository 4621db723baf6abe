"""Where a stage stands when it is called: resumed from its own checkpoint, inheriting from the stage before, or at the start.

A stage always starts from files or from the pipeline's `model:`, never from what another stage left in memory, so it makes
no difference whether the stage before it ran in this session or in another one.
"""

from dataclasses import dataclass

from flax import nnx

from stages import checkpoints, lora
from stages.checkpoints import State, Weights
from stages.data import derive_seed
from stages.lora import Adapter
from stages.model import Foundation, arrays_of, copy_of, load, put_arrays
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
    foundation = load(context.model)
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


def is_resumed(context: Context) -> bool:
    """Whether the checkpoint is of this stage."""
    return context.checkpoint is not None and context.checkpoint.cursor.stage == context.spec.name


def restored(context: Context, foundation: Foundation) -> State:
    """The state in the checkpoint, or the one of an untrained model; raises StageFailed where the model has changed since."""
    made = checkpoints.tree_digest(arrays_of(foundation.model))
    if context.checkpoint is None:
        return State(Weights(), made)
    state = checkpoints.read(context.checkpoint.directory)
    if state.made != made:
        raise StageFailed(
            "model-changed", "the pipeline's model no longer has the weights that this run started from: put it back"
        )
    return state


def put_weights(model: nnx.Module, weights: Weights) -> None:
    """Bring a freshly made model to these weights, adapters merged in."""
    if weights.base is not None:
        put_arrays(model, weights.base)
    for adapter in weights.adapters:
        lora.merge(model, adapter)


def state_of(standing: Standing, options: Trained, optimizer: nnx.Optimizer | None, *, keeps_origin: bool) -> State:
    """What to save now."""
    model, made = standing.model, standing.before.made
    moments = None if optimizer is None else arrays_of(optimizer, nnx.optimizer.OptState)
    if options.mode == "full":
        origin = standing.origin if keeps_origin else None
        return State(Weights(arrays_of(model)), made, origin, moments)
    live = Adapter(options.lora_rank, options.lora_alpha, arrays_of(model, nnx.LoRAParam))
    origin = standing.origin
    return State(Weights(origin.base, (*origin.adapters, live)), made, None, moments)


def _full(foundation: Foundation, origin: Weights, before: State, resumed: bool, needs_origin: bool) -> Standing:
    model = copy_of(foundation.model) if needs_origin else foundation.model
    put_weights(model, before.weights)
    if needs_origin:
        put_weights(foundation.model, origin)
    return Standing(foundation, model, foundation.model, origin, before, resumed)
