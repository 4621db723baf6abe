"""Place and resources of a machine's sessions, as the pipeline file states them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """Values of the pipeline file's section `ssh`, see `orchestrator.pipeline.ssh_section`."""

    host: str
    """Name of the machine as `ssh` takes it; empty for this machine."""
    folder: str
    jobs: int = 1
    python: str = "python3"
    setup: tuple[str, ...] = ()
    signal_s: int = 60
