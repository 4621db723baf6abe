"""Place and resources of a cluster's jobs, as the pipeline file states them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Values of the pipeline file's section `slurm`, see `orchestrator.pipeline.slurm_section`."""

    shared: str
    login: str = ""
    partition: str = ""
    account: str = ""
    gpus: int = 0
    gres: str = ""
    cpus: int | None = None
    memory: str = ""
    python: str = "python3"
    setup: tuple[str, ...] = ()
    signal_s: int = 60
    options: tuple[str, ...] = ()

    def sbatch(self, limit_s: int | None) -> list[str]:
        """Return the options of sbatch that ask for the machine and its time; Slurm counts whole minutes."""
        found = ["--no-requeue", "--nodes=1", "--ntasks=1"]
        if limit_s is not None:
            found += [f"--time={max(1, -(-limit_s // 60))}"]
        if self.signal_s:
            found += [f"--signal=B:USR1@{self.signal_s}"]
        asked = {"partition": self.partition, "account": self.account, "gres": self.gres, "mem": self.memory}
        found += [f"--{name}={value}" for name, value in asked.items() if value]
        found += [f"--gpus={self.gpus}"] if self.gpus and not self.gres else []
        found += [f"--cpus-per-task={self.cpus}"] if self.cpus else []
        return [*found, *self.options]
