"""Speed of this machine at the moment, and the session length that a rehearsal needs on it."""

import subprocess
import sys

from orchestrator.base.clock import monotonic_s
from orchestrator.pipeline.model import Pipeline

PROBE = "import stages.grpo, jax; jax.jit(lambda x: x @ x)(jax.numpy.ones((64, 64))).block_until_ready()"
"""Program that does what each session does first: import the training packages and compile."""
STARTS_PER_SESSION = 10.0
"""Shortest session, as a multiple of the probe's duration. An idle laptop runs the probe in about six seconds, so that
sessions of 60 seconds are left as they are; in less than half of that a session would compile, do a step and stop."""
LIMIT_S_MAX = 1200.0
"""Longest session limit, in seconds, that a rehearsal chooses by itself."""


def start_s() -> float:
    """Return the seconds that a Python process needs now to import the training packages and compile a program.

    0 if it fails: a session would then fail too, and says why.
    """
    began = monotonic_s()
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, check=False)
    return monotonic_s() - began if done.returncode == 0 else 0.0


def fitted(pipeline: Pipeline, start_s: float) -> Pipeline:
    """Return the pipeline with session times that suit a machine where a start takes `start_s` seconds.

    The limit becomes at least `STARTS_PER_SESSION` starts, and the margin and the save interval grow in proportion, so
    that a busy machine does not cut a rehearsal into sessions of one step. Results do not depend on where sessions end.
    """
    limit_s = float(min(LIMIT_S_MAX, round(STARTS_PER_SESSION * start_s)))
    if limit_s <= pipeline.limit_s:
        return pipeline
    times = pipeline.session.model_dump(include={"margin_s", "save_interval_s", "min_session_s"}, exclude_none=True)
    grown = {name: value * limit_s / pipeline.limit_s for name, value in times.items()}
    return pipeline.model_copy(update={"session": pipeline.session.model_copy(update={**grown, "limit_s": limit_s})})
