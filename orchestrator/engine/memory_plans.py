"""Keeps the peaks that `relay plan --memory` planned, by pipeline, so that a run that runs out of memory can name them."""

import json
from collections.abc import Mapping

from orchestrator.base.disk import ignore_full_disk, private_folder, write_whole
from orchestrator.engine.home import HomeLayout

Planned = Mapping[str, Mapping[str, int]]
"""Planned peaks in bytes by stage, and then by `device` (of one chip) and `host`."""


def keep_planned(home: HomeLayout, digest: str, planned: Planned) -> None:
    """Keep the plan of the pipeline with this digest; does nothing if the disk is full."""
    with ignore_full_disk():
        private_folder(home.memory_plans)
        write_whole(home.memory_plan(digest), json.dumps(planned).encode())


def planned_in(home: HomeLayout, digest: str) -> Planned:
    """Return what was planned for the pipeline with this digest; empty if nothing was, or if it cannot be read."""
    try:
        found = json.loads(home.memory_plan(digest).read_bytes())
        return {stage: {name: int(value) for name, value in peaks.items()} for stage, peaks in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
