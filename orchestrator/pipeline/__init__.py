"""The pipeline file: its model, its loader, its reference, the data that it brings, and `relay init`, which writes one."""
