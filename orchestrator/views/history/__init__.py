"""What happened to a run, as one document of plain values: what pages draw. Pure."""
