"""relay wired to one home folder: what each command does, the Python API, the dashboard, messages, the service, the doctor."""
