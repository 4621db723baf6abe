"""Float32 master weights for models that compute in a narrower type (arXiv:1710.03740).

In bfloat16 a weight of 0.02 changes by at least 0.0001 or not at all, so updates of 0.00001 would be lost silently. The
optimizer therefore updates a float32 copy, with moments and accumulated gradients in float32 too, and the model
receives the copy rounded after each update.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from stages.training.model import Arrays, arrays_of
from stages.training.spread import placed


class Master(nnx.Variable):  # type: ignore[misc]
    """Trained array, in float32."""


class Masters(nnx.Module):  # type: ignore[misc]
    """Trained arrays, by their names in the model."""

    def __init__(self, model: nnx.Module, kind: Any, below: Mapping[str, int], values: Mapping[str, Any]) -> None:
        for path, variable in nnx.to_flat_state(nnx.state(model, kind)):
            name = ".".join(map(str, path))
            now = live_part(name, variable.get_value(), below)
            if now.size:
                value = values.get(name, now)
                if isinstance(now, jax.Array) and not isinstance(now, jax.core.Tracer):
                    value = placed(value, now.sharding)
                setattr(self, name, Master(value.astype(jnp.float32), **variable.get_metadata()))


class MasterOptimizer(nnx.Module):  # type: ignore[misc]
    """Optimizer for master weights, with those methods and that state of `nnx.Optimizer` which Tunix's trainer uses."""

    def __init__(
        self,
        model: nnx.Module,
        transformation: Any,
        *,
        wrt: Any,
        below: Mapping[str, int],
        values: Mapping[str, Any],
    ) -> None:
        """`wrt` selects the model's trained variables; `below` as in `live_part`; `values` are
        float32 values, else the model's."""
        self.wrt = wrt
        self.below = tuple(sorted(below.items()))
        self.masters = Masters(model, wrt, below, values)
        self.inner = nnx.Optimizer(self.masters, transformation, wrt=Master)
        if values:
            self._round_into(model)

    @property
    def opt_state(self) -> Any:
        """Optimizer state in which Tunix's trainer finds the learning rate."""
        return self.inner.opt_state

    def update(self, model: nnx.Module, gradients: Any) -> None:
        """Update the master weights, and round them into the model."""
        below = dict(self.below)
        slopes = {
            ".".join(map(str, path)): leaf.get_value()
            for path, leaf in nnx.to_flat_state(nnx.state(gradients, self.wrt))
        }
        wanted = [
            ((name,), master.replace(live_part(name, slopes[name], below).astype(jnp.float32)))
            for (name,), master in nnx.to_flat_state(nnx.state(self.masters, Master))
        ]
        self.inner.update(self.masters, nnx.from_flat_state(wanted))
        self._round_into(model)

    def _round_into(self, model: nnx.Module) -> None:
        below, moved, changed = dict(self.below), arrays_of(self.masters, Master), []
        for path, leaf in nnx.to_flat_state(nnx.state(model, self.wrt)):
            name = ".".join(map(str, path))
            if name in moved:
                changed.append((path, leaf.replace(with_live_part(name, leaf.get_value(), moved[name], below))))
        nnx.update(model, nnx.from_flat_state(changed))


def optimizer_in_float32(
    model: nnx.Module, transformation: Any, *, dtype: str, below: Mapping[str, int], values: Mapping[str, Any]
) -> Any:
    """Create an optimizer for a model's adapter, or the whole model if it has none, that computes
    in float32 for any `dtype`."""
    trained = nnx.LoRAParam if arrays_of(model, nnx.LoRAParam) else nnx.Param
    if jnp.dtype(dtype) == jnp.float32:
        return nnx.Optimizer(model, transformation, wrt=trained)
    return MasterOptimizer(model, transformation, wrt=trained, below=below, values=values)


def masters_of(optimizer: Any) -> Arrays | None:
    """Return the master weights by their names in the model; None if the model itself is in float32."""
    return arrays_of(optimizer.masters, Master) if isinstance(optimizer, MasterOptimizer) else None


def live_part(name: str, array: Any, below: Mapping[str, int]) -> Any:
    """Return the trained part of an array. `below` is the number of ranks of a module's adapter that belong to
    earlier stages, by weight name."""
    held, last = below.get(name.rpartition("_lora_")[0], 0), name.endswith("_lora_a")
    return array if not held else array[..., held:] if last else array[held:]


def held_part(name: str, array: Any, below: Mapping[str, int]) -> Any:
    """Return the part of an adapter's factor that belongs to earlier stages: the complement of `live_part`."""
    held, last = below.get(name.rpartition("_lora_")[0], 0), name.endswith("_lora_a")
    return array[..., :held] if last else array[:held]


def with_live_part(name: str, array: jax.Array, live: jax.Array, below: Mapping[str, int]) -> jax.Array:
    """Return the array with its live part replaced, rounded to the array's type."""
    live = live.astype(array.dtype)
    if live.shape == array.shape:
        return live
    return jnp.concatenate([held_part(name, array, below), live], -1 if name.endswith("_lora_a") else 0)
