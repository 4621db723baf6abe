"""The pipeline file: its model, loader, reference and own data, and `relay init`, which writes one."""
