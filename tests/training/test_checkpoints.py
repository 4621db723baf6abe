"""What is written is read back bit for bit, and digests tell what was computed, not how it was filed."""

import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore

from stages.stage import StageFailed
from stages.training.checkpoints import CHUNK_BYTES, TrainingState, Weights, digests, read, tree_digest, write
from stages.training.lora import Adapter

pytestmark = pytest.mark.slow

ADAPTER = Adapter(2, 4.0, {"layers.0.w_lora_a": jnp.ones((3, 2)), "layers.0.w_lora_b": jnp.zeros((2, 3))})
LATER = Adapter(1, 0.5, {"layers.0.w_lora_a": jnp.full((3, 1), 2.0), "layers.0.w_lora_b": jnp.ones((1, 3))})
BASE = {
    "embedder.input_embedding": jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3),
    "layers.0.w": jnp.array([[np.nextafter(np.float32(1), np.float32(2)), -0.0], [1e-42, 3.4e38]], jnp.float32),
}
MOMENTS = {"opt_state.1.0.count": jnp.array(7, jnp.int32), "opt_state.1.0.mu.layers.0.w": jnp.full((2, 2), 1e-42)}

STATES = {
    "every weight": TrainingState(Weights(BASE), "made", None, MOMENTS),
    "adapters upon made weights": TrainingState(Weights(None, (ADAPTER, LATER)), "made", None, MOMENTS),
    "adapters upon trained weights": TrainingState(Weights(BASE, (ADAPTER,)), "made", None, MOMENTS),
    "with a reference": TrainingState(Weights(BASE), "made", Weights(None, (ADAPTER, LATER)), MOMENTS),
    "with a trained reference": TrainingState(Weights(BASE), "made", Weights({"other": jnp.ones(1)}), MOMENTS),
    "with a made reference": TrainingState(Weights(BASE), "made", Weights(), MOMENTS),
    "nothing but counters": TrainingState(Weights(), "made", counters={"seen": 3}),
    "with pins of its data": TrainingState(Weights(), "made", data={"gsm8k train": {"rows": 1, "read": {"1": "ab"}}}),
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_what_is_written_is_read_back_bit_for_bit(state: TrainingState, tmp_path: Path) -> None:
    told = write(state, tmp_path)
    back = read(tmp_path)

    assert told == digests(state) == digests(back)
    assert (back.made, dict(back.counters), back.data) == (state.made, dict(state.counters), state.data)
    assert [(a.rank, a.alpha) for a in back.weights.adapters] == [(a.rank, a.alpha) for a in state.weights.adapters]
    assert (back.origin is None) == (state.origin is None)
    if state.origin is not None and back.origin is not None:
        assert digests(TrainingState(state.origin, "")) == digests(TrainingState(back.origin, ""))
    assert (back.weights.base is None) == (state.weights.base is None)


def test_a_digest_sees_every_bit_every_name_every_shape_and_every_type() -> None:
    array = np.arange(6, dtype=np.float32)
    flipped = array.copy()
    flipped.view(np.uint32)[5] ^= 1
    seen: list[dict[str, Any]] = [
        {"a": array},
        {"a": flipped},
        {"b": array},
        {"a": array.reshape(2, 3)},
        {"a": array.view(np.int32)},
        {},
    ]
    assert len({tree_digest(arrays) for arrays in seen}) == len(seen)


def test_a_digest_does_not_see_order_layout_or_device() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    one = tree_digest({"a": array, "b": np.float32(1)})
    assert one == tree_digest({"b": jnp.float32(1), "a": jnp.asarray(array)})
    assert one == tree_digest({"a": np.asfortranarray(array), "b": np.float32(1)})


def test_the_digest_of_the_weights_depends_on_the_made_ones_and_on_how_adapters_count() -> None:
    state = STATES["adapters upon made weights"]
    other_base = dataclasses.replace(state, made="other")
    louder = dataclasses.replace(state, weights=Weights(None, (ADAPTER, dataclasses.replace(LATER, alpha=1.0))))
    found = {digests(each)["weights"] for each in (state, other_base, louder)}
    assert len(found) == 3
    assert digests(state)["adapter"] == tree_digest(LATER.arrays)


def test_a_state_of_a_later_relay_is_refused(tmp_path: Path) -> None:
    write(STATES["nothing but counters"], tmp_path)
    about = tmp_path / "state.json"
    about.write_text(about.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(StageFailed, match="format 2"):
        read(tmp_path)


def test_a_large_array_is_stored_in_chunks_so_that_some_rows_can_be_read_without_the_others(tmp_path: Path) -> None:
    array = np.arange(40_000 * 512, dtype=np.float32).reshape(40_000, 512)
    assert array.nbytes > CHUNK_BYTES
    state = TrainingState(Weights({"embedder.input_embedding": array}), "made")
    write(state, tmp_path)
    stored = {"driver": "ocdbt", "base": f"file://{tmp_path}/arrays/base/", "path": "embedder.input_embedding/"}
    found = tensorstore.open({"driver": "zarr", "kvstore": stored}).result()
    rows, columns = found.chunk_layout.read_chunk.shape
    assert (rows * columns * 4 <= CHUNK_BYTES, columns) == (True, 512)
    assert digests(read(tmp_path)) == digests(state)
