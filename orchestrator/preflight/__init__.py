"""What is looked at before a run begins: the pipeline against the account, the machine and the accelerator's memory."""
