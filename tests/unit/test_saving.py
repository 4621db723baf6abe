"""A state of arrays and plain values comes back exactly as it was, or a sentence says why it cannot."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.stage import StageFailed
from stages.training.state_io import ARRAYS_NAME, load_state, save_state

STATE: dict[str, Any] = {
    "weights": np.array([[0.1, -2.5e-30, 1.7e308], [5e-324, 0.0, -0.0]]),
    "small": np.arange(5, dtype=np.int8),
    "none": np.zeros((0, 3), np.float32),
    "scalar": np.float64(0.1),
    "least": np.float64(np.inf),
    "none so far": math.inf,
    "count": 10**30,
    "share": 0.1 + 0.2,
    "name": "größer",
    "on": True,
    "nothing": None,
}


def test_a_state_comes_back_bit_for_bit_and_type_for_type(tmp_path: Path) -> None:
    save_state(tmp_path, STATE)
    found = load_state(tmp_path, dict.fromkeys(STATE, 0))
    assert found.keys() == STATE.keys()
    for name, value in STATE.items():
        if isinstance(value, np.ndarray | np.generic):
            assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
            assert found[name].tobytes() == value.tobytes()
        else:
            assert (type(found[name]), found[name]) == (type(value), value)


def test_equal_states_have_equal_digests_and_equal_files(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    assert save_state(one, STATE) == save_state(other, dict(reversed(STATE.items())))
    assert {path.name: path.read_bytes() for path in one.iterdir()} == {p.name: p.read_bytes() for p in other.iterdir()}


@pytest.mark.parametrize(
    "change",
    [{"small": np.arange(5, dtype=np.uint8)}, {"small": np.array([0, 1, 2, 3, 5], np.int8)}, {"count": 3}, {"on": 1}],
)
def test_another_state_has_another_digest(change: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert save_state(tmp_path / "other", {**STATE, **change}) != save_state(tmp_path, STATE)


def test_a_state_of_another_shape_is_not_taken(tmp_path: Path) -> None:
    save_state(tmp_path, {"old": 1, "same": 2})
    with pytest.raises(StageFailed, match=r"differ in \['new'\], \['old'\]"):
        load_state(tmp_path, {"new": 1, "same": 2})


def test_a_checkpoint_of_another_kind_of_stage_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="holds no state that"):
        load_state(tmp_path, {})


@pytest.mark.parametrize("value", [object(), {"a"}, [1, object()]])
def test_what_cannot_be_kept_is_refused_by_name(value: object, tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"state\['odd'\].* is a .*, neither an array nor a plain value"):
        save_state(tmp_path, {"odd": value})


@pytest.mark.parametrize(
    "value", [np.array([1.0, np.nan]), np.array([[np.inf]], np.float16), np.float32("nan"), np.array([1, 1j * np.nan])]
)
def test_no_checkpoint_is_made_of_an_array_that_is_not_finite(value: Any, tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"state\['weights'\] is not finite after this step") as failed:
        save_state(tmp_path, {**STATE, "weights": value})
    assert failed.value.cause == "not-a-number"
    assert not list(tmp_path.iterdir())


def test_a_state_that_was_saved_when_it_was_not_finite_is_not_gone_on_from(tmp_path: Path) -> None:
    save_state(tmp_path, {"weights": np.ones(2)})
    np.savez(tmp_path / ARRAYS_NAME, a0=np.frombuffer(np.array([1.0, -np.inf]).tobytes(), np.uint8))
    with pytest.raises(StageFailed, match=r"state\['weights'\] of the checkpoint is not finite") as failed:
        load_state(tmp_path, {"weights": np.ones(2)})
    assert failed.value.cause == "checkpoint-not-finite"
