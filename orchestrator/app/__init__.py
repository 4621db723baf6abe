"""The application layer for one home folder: commands, Python API, dashboard, notifications, service, doctor."""
