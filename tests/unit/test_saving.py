"""A state of arrays and plain values comes back exactly as it was, or a sentence says why it cannot."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.saving import load_state, save_state
from stages.stage import StageFailed

STATE: dict[str, Any] = {
    "weights": np.array([[0.1, -2.5e-30, np.inf], [np.nan, 0.0, -0.0]]),
    "small": np.arange(5, dtype=np.int8),
    "none": np.zeros((0, 3), np.float32),
    "scalar": np.float64(0.1),
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
