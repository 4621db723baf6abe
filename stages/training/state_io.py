"""State handling for the user's own stages: saves a mapping of arrays and plain values, and restores it exactly.

    def train(context):
        carry_on(context, {"weights": np.zeros(3)}, one_step)

    def one_step(state, step, seed):
        ...
        return {"weights": weights}, {"loss": loss}

NumPy is imported only if the state has arrays, JAX only if the stage has imported it.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from stages.stage import Context, Next, StageFailed
from stages.training.finite import not_finite

VALUES_NAME = "values.json"
ARRAYS_NAME = "arrays.npz"
FORMAT = 1
PLAIN = (bool, int, float, str, type(None))

OneStep = Callable[[Any, int, int], tuple[Any, Mapping[str, float]]]
"""Function from (state, step, seed) to (next state, metrics). It must not depend on anything else, so that a
resumed run gives the same result."""


def carry_on(context: Context, begin: Any, one_step: OneStep) -> None:
    """Run the stage's remaining steps; `begin` is the state before the first step, and defines the state's structure.

    The state is a mapping by name; if JAX is imported it may be any tree of arrays, such as one with an optimizer's
    state. A stage that follows another stage starts from `begin` too.
    """
    state = resumed(context, begin)
    for step in range(context.start_step + 1, context.spec.steps + 1):
        state, metrics = one_step(state, step, context.seed)
        numbers = {name: float(value) for name, value in metrics.items()}  # float() waits for the device
        answer = context.step_done(step, numbers)
        if answer is not Next.GO_ON:
            context.save(step, partial(_begin_to_save, state=state, after=f"{context.spec.name} step {step}"))
        if answer is Next.STOP:
            return


def resumed(context: Context, begin: Any) -> Any:
    """Return the state of the stage's own checkpoint, in the structure of `begin`; `begin`
    itself if there is none yet."""
    if context.checkpoint is None or context.start_step == 0:
        return begin
    return load_state(context.checkpoint.directory, begin)


def save_state(directory: Path, state: Any) -> dict[str, str]:
    """Write a state into an empty directory; returns its digest, which is equal for equal states.

    Raises StageFailed `own-state`, and `not-a-number` if an array contains a non-finite number. Scalars, both plain
    values and arrays without dimensions, may be infinite: a minimum loss starts that way.
    """
    return _begin_to_save(directory, state)()


def _begin_to_save(directory: Path, state: Any, after: str = "this step") -> Callable[[], dict[str, str]]:
    """Copy the state, which the next step may change in place; returns the function that writes the copy."""
    leaves, _ = _flattened(state)
    values: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    about: dict[str, dict[str, Any]] = {}
    for name, leaf in leaves.items():
        if type(leaf) in PLAIN:  # not isinstance: NumPy's float64 is a subclass of float with other arithmetic
            values[name] = leaf
        else:
            arrays[name], about[name] = _encoded(leaf, name)
    return partial(_write, directory, values, arrays, about, after)


def _write(
    directory: Path,
    values: Mapping[str, Any],
    arrays: Mapping[str, Any],
    about: Mapping[str, Mapping[str, Any]],
    after: str,
) -> dict[str, str]:
    if name := _not_finite({name: arrays[name].view(_dtype(about[name]["dtype"])) for name in arrays}, about):
        raise StageFailed(
            "not-a-number",
            f"state{name} is not finite after {after}, so no checkpoint is made of it: "
            "lower the stage's learning rate, or keep what may be infinite as a plain value",
        )
    text = json.dumps({"format": FORMAT, "values": values, "arrays": about}, sort_keys=True)
    (directory / VALUES_NAME).write_text(text, encoding="ascii")
    digest = hashlib.sha256(text.encode())
    if arrays:
        import numpy as np

        with (directory / ARRAYS_NAME).open("wb") as file:
            np.savez(file, **{f"a{number}": arrays[name] for number, name in enumerate(sorted(arrays))})
    for name in sorted(arrays):
        digest.update(arrays[name].data)
    return {"state": digest.hexdigest()}


def load_state(directory: Path, begin: Any) -> Any:
    """Read what `save_state` wrote, in the structure of `begin`; raises StageFailed
    `own-state` if the structures differ."""
    if not (directory / VALUES_NAME).is_file():
        raise StageFailed("own-state", "the checkpoint holds no state that stages.training.state_io wrote")
    found = json.loads((directory / VALUES_NAME).read_text(encoding="ascii"))
    if found.get("format") != FORMAT:
        raise StageFailed("own-state", f"the state has format {found.get('format')}, and this relay reads {FORMAT}")
    arrays = _arrays(directory, found["arrays"])
    if name := _not_finite(arrays, found["arrays"]):
        raise StageFailed(
            "checkpoint-not-finite", f"state{name} of the checkpoint is not finite: resume from an older one"
        )
    leaves: dict[str, Any] = {**found["values"], **arrays}
    wanted, unflatten = _flattened(begin)
    if wanted.keys() != leaves.keys():
        other = ", ".join(sorted(wanted.keys() ^ leaves.keys()))
        raise StageFailed("own-state", f"the checkpoint's state and the stage's differ in {other}")
    return unflatten([leaves[name] for name in wanted])


def _not_finite(arrays: Mapping[str, Any], about: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the first array that is not finite, or the first scalar array that is NaN; empty if there is none."""
    found = not_finite({name: array for name, array in arrays.items() if about[name]["shape"]})
    alone = (name for name, array in arrays.items() if not about[name]["shape"] and bool((array != array).any()))
    return found or next(alone, "")


def _flattened(state: Any) -> tuple[dict[str, Any], Callable[[list[Any]], Any]]:
    """Return the leaves by name, and a function that rebuilds the state from leaves."""
    jax = sys.modules.get("jax")
    if jax is not None:
        pairs, tree = jax.tree_util.tree_flatten_with_path(state, is_leaf=lambda leaf: leaf is None)
        return {jax.tree_util.keystr(path): leaf for path, leaf in pairs}, tree.unflatten
    if not isinstance(state, Mapping):
        raise StageFailed("own-state", f"a state is a mapping by name, and this one is a {type(state).__name__}")
    names = list(state)
    return {f"[{name!r}]": state[name] for name in names}, lambda leaves: dict(zip(names, leaves, strict=True))


def _encoded(leaf: Any, name: str) -> tuple[Any, dict[str, Any]]:
    """Return an array as plain bytes, which preserves types that NumPy files do not support, and
    the metadata to restore it."""
    import numpy as np

    if getattr(leaf, "weak_type", False):
        raise StageFailed(
            "own-state",
            f"state{name} has no type of its own (weak_type) and would be restored with one: give it a dtype",
        )
    try:
        array = np.asarray(leaf)
    except TypeError as error:
        raise StageFailed("own-state", f"state{name} is no array and no plain value: {error}") from error
    if array.dtype.hasobject:
        raise StageFailed("own-state", f"state{name} is a {type(leaf).__name__}, neither an array nor a plain value")
    of_jax = type(leaf).__module__.partition(".")[0] in ("jax", "jaxlib")
    about = {"dtype": str(array.dtype), "shape": list(array.shape), "jax": of_jax}
    return np.frombuffer(array.tobytes(), np.uint8), about


def _arrays(directory: Path, about: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    if not about:
        return {}
    import numpy as np

    found = {}
    with np.load(directory / ARRAYS_NAME, allow_pickle=False) as file:
        for number, name in enumerate(sorted(about)):
            array = np.frombuffer(file[f"a{number}"].tobytes(), _dtype(about[name]["dtype"]))
            array = array.reshape(about[name]["shape"]).copy()
            found[name] = _to_jax(array) if about[name]["jax"] else array
    return found


def _dtype(name: str) -> Any:
    import numpy as np

    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes  # provides bfloat16 and similar types; installed with JAX

        return np.dtype(getattr(ml_dtypes, name))


def _to_jax(array: Any) -> Any:
    """Move the array back to the device: the same arithmetic in NumPy could round differently."""
    import jax.numpy as jnp

    return jnp.asarray(array)
