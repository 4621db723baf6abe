"""Writes a checkpoint from all processes of a session: each one writes the parts of the arrays that its devices hold.

No process ever holds the whole state, except the first one, which reads the files back to compute their digests. The folder
must be one that all processes see.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import orbax.checkpoint as ocp

from stages.stage import StageFailed
from stages.training import checkpoints
from stages.training.checkpoints import TrainingState


def begin(state: TrainingState, directory: Path, after: str) -> Callable[[], dict[str, str]]:
    """Copy this process's part of the state, which the next step changes, and start writing it.

    All processes must call this with the same arguments. Returns the function that waits until all parts are written and, in
    the first process, completes the checkpoint as `checkpoints.write` does and returns its digests; elsewhere it returns none.
    """
    saves = checkpoints.save_args(state)
    checkpointer = ocp.AsyncCheckpointer(checkpoints.handler(saves))
    checkpointer.save((directory / "arrays").absolute(), args=ocp.args.Composite(**saves))
    return partial(_finish, state, directory, after, checkpointer)


def _finish(state: TrainingState, directory: Path, after: str, checkpointer: ocp.AsyncCheckpointer) -> dict[str, str]:
    checkpointer.wait_until_finished()
    checkpointer.close()
    if jax.process_index() != 0:
        return {}
    checkpoints.describe(state, directory)
    stored = checkpoints.read(directory, alone=True)
    if name := checkpoints.not_finite(stored):
        raise StageFailed("not-a-number", checkpoints.NOT_FINITE.format(name=name, after=after))
    arrays = replace(state, weights=stored.weights, origin=stored.origin, optimizer=stored.optimizer)
    return checkpoints.digests(arrays)
