"""Checks before a run begins: the pipeline, the account, this machine, and the accelerator's memory."""
