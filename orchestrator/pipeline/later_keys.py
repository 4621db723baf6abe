"""Keys of a pipeline that relay has not always had, each with the value that it then has: digests of older relays stay valid."""

from typing import Any

from orchestrator.pipeline.sections import Expect, OriginOptions
from orchestrator.pipeline.slurm_section import SlurmOptions
from orchestrator.pipeline.ssh_section import SshOptions

ON_KAGGLE: dict[str, Any] = {"platform": "kaggle", "slurm": SlurmOptions(), "ssh": SshOptions()}
"""Keys that say where a pipeline runs, of one that runs on Kaggle."""
LATER_KEYS_OF_SECTIONS = (("expect", "accelerator", None), ("slurm", "nodes", 1), ("slurm", "tasks_per_node", 1))
"""Sections, with a key of theirs, that the canonical text leaves out where it has this value."""

LATER_KEYS: dict[str, Any] = {
    "expect": Expect(),
    "origin": OriginOptions(),
    "fork_points": (),
    "exactness": "warn",
    "own_lock": "",
    **ON_KAGGLE,
}
"""Keys that the canonical text leaves out where they have these values."""
