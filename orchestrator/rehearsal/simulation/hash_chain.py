"""Hash chain that stands for a model's weights: each step extends it, so a missing or repeated step changes the end."""

import hashlib

from orchestrator.pipeline.model import Pipeline
from stages.contract import Cursor, Manifest

BEGIN = "begin"


def after(digest: str, position: int) -> str:
    """Return the digest of the state after step `position` of the pipeline."""
    return hashlib.sha256(f"{digest}/{position}".encode()).hexdigest()


def uncut(pipeline: Pipeline) -> tuple[str, ...]:
    """Return the digest after each number of steps, from 0 to all, of a run that was never cut."""
    found = [BEGIN]
    for position in range(1, pipeline.total_steps + 1):
        found.append(after(found[-1], position))
    return tuple(found)


def digest_of(manifest: Manifest) -> str:
    """Return the digest of the state that a checkpoint holds."""
    return manifest.digests["state"]


def cursor_at(pipeline: Pipeline, position: int) -> Cursor:
    """Return the cursor after `position` steps. A boundary belongs to the stage that ends there."""
    for stage in pipeline.stages:
        if position <= stage.steps:
            return Cursor(stage=stage.name, step=position)
        position -= stage.steps
    raise AssertionError("beyond the end")
