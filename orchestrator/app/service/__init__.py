"""The daemon as a service of the user's system: a systemd unit or a launchd agent."""
