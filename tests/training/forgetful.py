"""A stage with the fault that `relay verify-resume` is for: the next step depends on something that no checkpoint holds."""

import hashlib
import time
from pathlib import Path

from stages.stage import Context, Next

STEP_S = 0.02


def train(context: Context) -> None:
    """Keep a sum from step to step, and a momentum that is lost with the session."""
    total = 0 if context.checkpoint is None else int((context.checkpoint.directory / "total").read_text(), 2)
    momentum = 0
    for step in range(context.start_step + 1, context.spec.steps + 1):
        time.sleep(STEP_S)
        context.saw(step, "batch", [context.seed, step])
        momentum = momentum // 2 + step
        total += momentum
        context.saw(step, "rollouts", lambda answer=total: f"the sum is {answer}")
        answer = context.step_done(step, {"loss": float(total), "check_start": float(context.start_step)})
        if answer is not Next.GO_ON:
            context.save(step, lambda directory, sum_=total: write(directory, sum_))
        if answer is Next.STOP:
            return


def write(directory: Path, total: int) -> dict[str, str]:
    """All but the momentum."""
    (directory / "total").write_text(f"{total:064b}")
    return {"total": hashlib.sha256(str(total).encode()).hexdigest()}
