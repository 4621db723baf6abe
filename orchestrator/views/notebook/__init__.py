"""Notebooks that train a pipeline on Kaggle without relay: the code of its stages as cells, and their text."""
