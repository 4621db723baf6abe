"""The platform of each run: the Kaggle account, or the Slurm cluster or the machine that its pipeline names."""

from collections.abc import Callable
from functools import lru_cache

from orchestrator.base.clock import Clock
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.port import Platform


class Platforms:
    """Makes the platform of a pipeline, on first use. `kaggle` returns the account and may raise BadInput."""

    def __init__(self, kaggle: Callable[[], Platform], clock: Clock) -> None:
        self._kaggle, self._clock = kaggle, clock
        self._of_slurm = lru_cache(maxsize=64)(self._slurm)
        self._of_ssh = lru_cache(maxsize=64)(self._ssh)

    def of(self, pipeline: Pipeline) -> Platform:
        """Return the platform that the pipeline's sessions run on."""
        match pipeline.platform:
            case "kaggle":
                return self._kaggle()
            case "slurm":
                return self._of_slurm(pipeline.slurm.model_dump_json())
            case "ssh":
                return self._of_ssh(pipeline.ssh.model_dump_json())

    def _slurm(self, section: str) -> Platform:
        from orchestrator.pipeline.slurm_section import SlurmOptions
        from orchestrator.slurm.options import ClusterOptions
        from orchestrator.slurm.platform import SlurmPlatform

        options = ClusterOptions(**SlurmOptions.model_validate_json(section).cluster())
        return SlurmPlatform(options, sleep=self._clock.sleep)

    def _ssh(self, section: str) -> Platform:
        from orchestrator.pipeline.ssh_section import SshOptions
        from orchestrator.ssh.options import MachineOptions
        from orchestrator.ssh.platform import SshPlatform

        options = MachineOptions(**SshOptions.model_validate_json(section).machine())
        return SshPlatform(options, sleep=self._clock.sleep)
