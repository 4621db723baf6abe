"""Modules that exist in notebooks only: they take the place of the runner, in which relay's stages otherwise run."""
