"""A Kaggle that runs on this machine: its rules, its HTTP face and the sandbox that runs pushed kernels."""
