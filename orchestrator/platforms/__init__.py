"""The port to whatever runs sessions: Kaggle, or a Slurm cluster. `port` says what relay needs of it."""
