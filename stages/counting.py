"""Counting instead of training: the state is a hash chain, so a skipped, repeated or reordered step changes it."""

import hashlib
import time
from functools import partial
from pathlib import Path

from stages import options
from stages.stage import Context, Next

STATE_NAME = "count.txt"
PAYLOAD_NAME = "payload.bin"


def train(context: Context) -> None:
    """Count to the target; a stage that inherits a checkpoint continues the chain of the stage before it."""
    wanted = options.fit(options.Counting, context.spec.options, f"stage {context.spec.name}")
    state = _read(context)
    for step in range(context.start_step + 1, context.spec.steps + 1):
        time.sleep(wanted.step_s)
        state = _one_step(state, context.seed, context.spec.name, step)
        answer = context.step_done(step, {"loss": 1.0 / step, "count": float(step)})
        if answer is not Next.GO_ON:
            context.save(step, partial(_write, state, wanted.payload_bytes))
        if answer is Next.STOP:
            return


def _one_step(state: str, seed: int, stage: str, step: int) -> str:
    return hashlib.sha256(f"{state} {seed} {stage} {step}".encode()).hexdigest()


def _read(context: Context) -> str:
    if context.checkpoint is None:
        return hashlib.sha256(str(context.seed).encode()).hexdigest()
    return (context.checkpoint.directory / STATE_NAME).read_text()


def _write(state: str, payload_bytes: int, directory: Path) -> dict[str, str]:
    (directory / STATE_NAME).write_text(state)
    (directory / PAYLOAD_NAME).write_bytes(_payload(state, payload_bytes))
    return {"state": state}


def _payload(state: str, size_bytes: int) -> bytes:
    """Return that many bytes derived from the state, so that no two checkpoints have the same content."""
    return hashlib.shake_256(state.encode()).digest(size_bytes)
