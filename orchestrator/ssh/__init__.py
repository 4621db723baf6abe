"""Sessions as processes of one machine: an implementation of `orchestrator.platforms.port.Platform` with SSH alone."""
