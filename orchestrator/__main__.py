"""`python -m orchestrator` is `relay`."""

from orchestrator.cli import main

main(prog_name="relay")
