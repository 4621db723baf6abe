"""A stage of the user's own with JAX: any tree of arrays comes back exactly, and a cut changes no bit."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest

from orchestrator.pipeline.loader import load
from stages.stage import StageFailed
from stages.training.state_io import load_state, save_state
from tests.unit.counting_runs import ROOT

PROGRAM = """
import json, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/examples"]
import own_jax_stage
from stages.contract import Cursor, StageSpec
from stages.stage import Next, OpenedCheckpoint

class Session:
    def __init__(self, root, begin, stop):
        self.spec, self.seed, self.stop, self.root = StageSpec(name="line", kind="", steps=9), 5, stop, root
        self.start_step = begin
        self.checkpoint = OpenedCheckpoint(Cursor(stage="line", step=begin), root / str(begin)) if begin else None
        self.seen = {}
    def step_done(self, step, metrics):
        self.seen[step] = float(metrics["loss"]).hex()
        return Next.STOP if step == self.stop else Next.GO_ON
    def save(self, step, write):
        (self.root / str(step)).mkdir()
        self.digests = write(self.root / str(step))()

session = Session(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
own_jax_stage.train(session)
print(json.dumps([session.seen, session.digests]))
"""


def session(root: Path, begin: int, stop: int) -> tuple[dict[str, str], dict[str, str]]:
    """Steps of the example in a process of its own: each loss bit for bit, and the digests at the end."""
    root.mkdir(exist_ok=True)
    command = [sys.executable, "-c", PROGRAM, str(ROOT), str(root), str(begin), str(stop)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen, digests = json.loads(done.stdout)
    return seen, digests


@pytest.mark.slow
def test_the_example_computes_the_same_bits_however_it_is_cut(tmp_path: Path) -> None:
    whole, digests = session(tmp_path / "whole", 0, 9)
    seen: dict[str, str] = {}
    for begin, stop in ((0, 1), (1, 4), (4, 9)):
        part, ended = session(tmp_path / "cut", begin, stop)
        seen |= part
    assert seen == whole
    assert ended == digests


def test_the_example_asks_for_what_training_needs() -> None:
    assert load(ROOT / "examples" / "own_jax_stage.yaml").needs_jax


@pytest.mark.slow
def test_an_optimizers_state_comes_back_with_its_types(tmp_path: Path) -> None:
    weights = {"layer": {"w": jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3)}, "b": (jnp.ones(2), None)}
    optimizer = optax.adamw(1e-3)
    state = {"weights": weights, "optimizer": optimizer.init(weights), "seen": 7, "mask": np.array([True, False])}
    slope = jax.tree.map(jnp.ones_like, weights)
    _, state["optimizer"] = optimizer.update(slope, state["optimizer"], weights)
    save_state(tmp_path, state)
    found = load_state(tmp_path, jax.tree.map(lambda leaf: leaf, state))
    assert jax.tree.structure(found) == jax.tree.structure(state)

    def same(one: Any, other: Any) -> None:
        assert type(one) is type(other)
        if hasattr(one, "dtype"):
            assert one.dtype == other.dtype and np.asarray(one).tobytes() == np.asarray(other).tobytes()
        else:
            assert one == other

    jax.tree.map(same, found, state)
    assert np.asarray(found["weights"]["layer"]["w"]).dtype == ml_dtypes.bfloat16


def test_an_array_that_would_come_back_with_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"state\['x'\] has no type of its own"):
        save_state(tmp_path, {"x": jnp.asarray(1.0)})


@pytest.mark.slow
def test_a_random_key_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"state\['key'\] is no array and no plain value"):
        save_state(tmp_path, {"key": jax.random.key(0)})
