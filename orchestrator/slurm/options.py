"""Place and resources of a cluster's jobs, as the pipeline file states them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Values of the pipeline file's section `slurm`, see `orchestrator.pipeline.slurm_section`."""

    shared: str
    login: str = ""
    partition: str = ""
    account: str = ""
    nodes: int = 1
    tasks_per_node: int = 1
    gpus: int = 0
    gres: str = ""
    cpus: int | None = None
    memory: str = ""
    python: str = "python3"
    setup: tuple[str, ...] = ()
    signal_s: int = 60
    options: tuple[str, ...] = ()

    @property
    def tasks(self) -> int:
        """Number of processes of a session."""
        return self.nodes * self.tasks_per_node

    def sbatch(self, limit_s: int | None) -> list[str]:
        """Return the options of sbatch that ask for the machine and its time; Slurm counts whole minutes."""
        found = ["--no-requeue", f"--nodes={self.nodes}", f"--ntasks={self.tasks}"]
        found += [f"--ntasks-per-node={self.tasks_per_node}"] if self.tasks > 1 else []
        if limit_s is not None:
            found += [f"--time={max(1, -(-limit_s // 60))}"]
        if self.signal_s:
            found += [f"--signal=B:USR1@{self.signal_s}"]
        asked = {"partition": self.partition, "account": self.account, "gres": self.gres, "mem": self.memory}
        found += [f"--{name}={value}" for name, value in asked.items() if value]
        if self.gpus and not self.gres:
            found += [f"--gpus={self.gpus}" if self.nodes == 1 else f"--gpus-per-node={self.gpus // self.nodes}"]
        found += [f"--cpus-per-task={self.cpus}"] if self.cpus else []
        return [*found, *self.options]
