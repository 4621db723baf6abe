"""Stages of `relay probe`: what a session sees of Kaggle, and how long a pipeline's steps take on its accelerator."""
