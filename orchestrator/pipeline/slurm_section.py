"""Section `slurm` of a pipeline file: where and with what the jobs of a cluster run."""

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, Field

from orchestrator.pipeline.environments import HOUR_S, Hardware
from orchestrator.pipeline.sections import STRICT
from stages.contract import Accelerator

GPU_FIGURES = "NvidiaTeslaT4"
"""Accelerator whose figures a forecast takes for a cluster's GPUs: the only GPU whose speed relay knows."""
LIMIT_S_MAX = 366 * 24 * HOUR_S
"""Longest session on a cluster that relay takes for meant, in seconds. The partition's own limit is for Slurm to enforce."""
SIGNAL_EARLY_S = 60.0
"""Seconds by which Slurm may send its signal too early (source: sbatch(1), `--signal`)."""
OWN_OPTIONS = re.compile(
    r"--(job-name|comment|time|signal|requeue|no-requeue|output|error|chdir|array|nodes|ntasks|ntasks-per-node|parsable|wrap|export\S*|open-mode)"
    r"(=.*)?|-[JtoeDaNn].*"
)
"""Options of sbatch that relay sets itself, or that would start more than one process of a session."""
WORD = re.compile(r"[^\s\x00-\x1f]+")


class SlurmOptions(BaseModel):
    """Place and resources of a Slurm cluster's jobs; only with `platform: slurm`."""

    model_config = STRICT

    shared: str = ""
    """Folder that all nodes of the cluster share, as an absolute path there; relay keeps sessions, checkpoints and
    environments below it."""
    login: str = ""
    """SSH name of a login node, as `ssh` takes it, with a key that needs no password; empty if relay runs on one."""
    partition: str = ""
    """Partition of the jobs; default: the cluster's own."""
    account: str = ""
    """Account that the time is charged to; default: the user's own."""
    nodes: Annotated[int, Field(ge=1)] = 1
    """Nodes of a session. With several nodes or tasks the processes of a session train one model together, through
    `jax.distributed`."""
    tasks_per_node: Annotated[int, Field(ge=1)] = 1
    """Processes of a session on each node; one can use all GPUs of its node."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """Number of GPUs of a session, equally many on each node and for each task; 0 for a session on the processor, where
    each task is one device."""
    gres: str = ""
    """Generic resources of each node in Slurm's words, such as `gpu:a100:4`, in place of `--gpus` for `gpus`."""
    cpus: Annotated[int, Field(ge=1)] | None = None
    """Processor cores of each task of a session; default: the cluster's own."""
    memory: str = ""
    """Memory of a session on each node in Slurm's words, such as `64G`; default: the cluster's own."""
    jobs: Annotated[int, Field(ge=1)] = 100
    """Sessions of this user that relay lets queue or run at once, over all runs."""
    python: str = "python3"
    """Python of 3.11 or newer on the nodes; packages go into environments that relay makes with it, once for each set."""
    setup: tuple[str, ...] = ()
    """Lines of shell that run before each session, such as `module load python/3.12`."""
    signal_s: Annotated[int, Field(ge=0, le=65535)] = 60
    """Seconds before the time limit at which Slurm asks a session to save and end; it may ask up to a minute earlier. 0: it does not ask, and the
    session ends by its own clock, which begins with the job."""
    options: tuple[str, ...] = ()
    """More options for sbatch, such as `--qos=long`, one in each entry."""

    @property
    def tasks(self) -> int:
        """Number of processes of a session."""
        return self.nodes * self.tasks_per_node

    @property
    def hardware(self) -> Hardware:
        """Promises of a session to its stages, and its limits; there is no quota that relay counts."""
        several = self.tasks if self.tasks > 1 else None
        promise = (
            Accelerator(platform="gpu", devices=self.gpus, processes=several)
            if self.gpus
            else Accelerator(platform="cpu", devices=several or 0, processes=several)
        )
        return Hardware(promise, LIMIT_S_MAX, self.jobs, "")

    def problems(self, accelerator: str, limit_s: float | None, kaggle_sources: bool) -> Iterator[str]:
        """Yield each mistake of a pipeline on a cluster, as a sentence that begins with its key."""
        if not self.shared.startswith("/") or "\n" in self.shared:
            yield "slurm.shared should be the absolute path of a folder that all nodes of the cluster share"
        fits = GPU_FIGURES if self.gpus else "cpu"
        if accelerator != fits:
            yield (
                f"accelerator is {accelerator}, and with slurm.gpus {self.gpus} a session has "
                f"{'GPUs' if self.gpus else 'none'}: write {fits}, whose figures forecasts then take"
            )
        if limit_s is None:
            yield "session.limit_s is missing: write the time limit of a job in seconds, which Slurm counts in whole minutes"
        elif self.signal_s and self.signal_s + SIGNAL_EARLY_S >= limit_s:
            yield (
                f"slurm.signal_s is {self.signal_s}, and Slurm may send it {SIGNAL_EARLY_S:g} s earlier, when a session of "
                f"{limit_s:g} s has hardly begun: write 0, or a longer session.limit_s"
            )
        if kaggle_sources:
            yield "inputs: a cluster mounts no datasets, models or wheels of Kaggle: take files, or a model by its folder or hub name"
        if self.gres and not self.gpus:
            yield "slurm.gpus is missing: beside slurm.gres, write how many devices that is"
        if self.gpus % self.tasks:
            yield (
                f"slurm.gpus is {self.gpus}, which slurm.nodes × slurm.tasks_per_node, {self.tasks}, does not divide: give each "
                "task equally many"
            )
        yield from self._problems_of_words()

    def _problems_of_words(self) -> Iterator[str]:
        words = {name: getattr(self, name) for name in ("login", "partition", "account", "gres", "memory", "python")}
        for name, value in words.items():
            if value and (value.startswith("-") or not WORD.fullmatch(value)):
                yield f"slurm.{name}: {value!r} should be one word without spaces that does not begin with a hyphen"
        for index, option in enumerate(self.options):
            if OWN_OPTIONS.fullmatch(option):
                yield f"slurm.options[{index}]: relay sets {option.partition('=')[0]} itself, or cannot do with it: leave it out"
            elif not option.startswith("-"):
                yield f"slurm.options[{index}]: {option!r} should be an option of sbatch, such as --qos=long"

    def cluster(self) -> dict[str, Any]:
        """Return the values that the platform is made from, by name."""
        return self.model_dump(exclude={"jobs"})
