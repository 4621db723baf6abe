"""Section `ssh` of a pipeline file: the machine that sessions run on, and with what."""

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, Field

from orchestrator.pipeline.environments import HOUR_S, Hardware
from orchestrator.pipeline.sections import STRICT
from stages.contract import Accelerator

FIGURES = {"tpu": ("TpuV5E8", "TpuV6E8"), "gpu": ("NvidiaTeslaT4",), "cpu": ("cpu",)}
"""Accelerators whose figures a forecast may take, by what the machine offers: relay knows the speed of no other."""
LIMIT_S_MAX = 30 * 24 * HOUR_S
"""Longest session on a machine, in seconds."""
HOST = re.compile(r"[^\s\x00-\x1f/-][^\s\x00-\x1f/]*")


class SshOptions(BaseModel):
    """Machine of the sessions, reached with SSH; only with `platform: ssh`."""

    model_config = STRICT

    host: str = ""
    """Machine as `ssh` takes it: a name in `~/.ssh/config`, a host or user@host, with a key that needs no password."""
    folder: str = ""
    """Folder on the machine, as an absolute path there; relay keeps sessions, checkpoints and environments below it. Its
    disk should outlive the machine if that may be taken away."""
    tpus: Annotated[int, Field(ge=0)] = 0
    """Number of the machine's TPU devices, all of which a session uses, such as 8 on a `v5litepod-8`."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """Number of the machine's GPUs, all of which a session uses."""
    jobs: Annotated[int, Field(ge=1)] = 1
    """Sessions that may run on the machine at once, over all runs; a TPU or GPU serves one."""
    python: str = "python3"
    """Python of 3.11 or newer on the machine; packages go into environments that relay makes with it, once for each set."""
    setup: tuple[str, ...] = ()
    """Lines of shell that run before each session, such as `export LIBTPU_INIT_ARGS=…`."""
    signal_s: Annotated[int, Field(ge=0, le=65535)] = 60
    """Seconds before the time limit at which a session is asked to save and end. 0: it is not asked, and it
    ends by its own clock, which begins with its script."""

    @property
    def offered(self) -> str:
        """Kind of device that the machine offers: `tpu`, `gpu` or `cpu`."""
        return "tpu" if self.tpus else "gpu" if self.gpus else "cpu"

    @property
    def hardware(self) -> Hardware:
        """Promises of a session to its stages, and its limits; there is no quota."""
        return Hardware(Accelerator(platform=self.offered, devices=self.tpus or self.gpus), LIMIT_S_MAX, self.jobs, "")

    def problems(self, accelerator: str, limit_s: float | None, kaggle_sources: bool) -> Iterator[str]:
        """Yield each mistake of a pipeline on a machine, as a sentence that begins with its key."""
        if not HOST.fullmatch(self.host):
            yield "ssh.host should be the machine as ssh takes it: a name in ~/.ssh/config, a host or user@host"
        if not self.folder.startswith("/") or "\n" in self.folder:
            yield "ssh.folder should be the absolute path of a folder on the machine"
        if self.tpus and self.gpus:
            yield "ssh.gpus: a session uses TPUs or GPUs: leave one of ssh.tpus and ssh.gpus out"
        if accelerator not in FIGURES[self.offered]:
            yield (
                f"accelerator is {accelerator}, and with ssh.tpus {self.tpus} and ssh.gpus {self.gpus} a session has "
                f"{'none' if self.offered == 'cpu' else self.offered.upper() + 's'}: write "
                f"{' or '.join(FIGURES[self.offered])}, whose figures forecasts then take"
            )
        if limit_s is None:
            yield "session.limit_s is missing: write the time limit of a session in seconds"
        elif self.signal_s >= limit_s:
            yield (
                f"ssh.signal_s is {self.signal_s}, and a session has only {limit_s:g} s: write 0, or a longer session.limit_s"
            )
        if kaggle_sources:
            yield "inputs: a machine mounts no datasets, models or wheels of Kaggle: take files, or a model by its folder or hub name"
        if self.python.startswith("-") or not re.fullmatch(r"[^\s\x00-\x1f]+", self.python):
            yield f"ssh.python: {self.python!r} should be one word without spaces that does not begin with a hyphen"

    def machine(self) -> dict[str, Any]:
        """Return the values that the platform is made from, by name."""
        return self.model_dump(exclude={"tpus", "gpus"})
