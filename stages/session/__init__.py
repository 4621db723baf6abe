"""Session on Kaggle: set-up, time budget, parent checkpoint, saving and the report. Imports only the
standard library at module top."""
