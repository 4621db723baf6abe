"""Looks, before a run begins, at everything that can stop it; nothing is created, here or on Kaggle."""
