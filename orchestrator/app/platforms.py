"""The platform of each run: the Kaggle account, or the Slurm cluster or the machine that its pipeline names."""

from collections.abc import Callable
from functools import lru_cache

from orchestrator.base.clock import Clock
from orchestrator.base.errors import BadInput
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.site import Site, account_text
from orchestrator.platforms.port import Platform
from state.model.run_state import Run


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

    def at(self, run: Run, number: int) -> Platform:
        """Return the platform with that number of a run (`Run.platform`), for its files only if the run has left it.

        Raises BadInput if the credentials there are now another account's.
        """
        if number >= run.platform:
            return self.of(Pipeline.from_canonical(run.pipeline))
        left = run.left_platforms[number]
        site = Site.parse(left.site)
        platform = self.of(site.pipeline)
        if (owner := platform.owner()) != left.owner:
            raise BadInput(
                f"run {run.id} has checkpoints of {account_text(site, left.owner)}, and the credentials are {owner}'s: use "
                "that account's"
            )
        return platform

    def require_kaggle(self, pipeline: Pipeline, what: str) -> None:
        """Raise BadInput for a pipeline whose sessions run elsewhere, which `what` is not for. The account is not asked."""
        if pipeline.platform != "kaggle":
            raise BadInput(
                f"{what} is for Kaggle, and the sessions of {pipeline.name} run on {self.of(pipeline).label}"
            )

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
