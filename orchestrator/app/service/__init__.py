"""relay as a service of the user's own system: a systemd unit or a launchd agent that starts the daemon."""
