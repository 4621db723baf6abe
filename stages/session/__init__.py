"""One session on Kaggle: set-up, time budget, the parent checkpoint, what is saved, and the report. Standard library only at import."""
