"""Sessions as Slurm jobs: an implementation of `orchestrator.platforms.port.Platform` with Slurm's own commands."""
