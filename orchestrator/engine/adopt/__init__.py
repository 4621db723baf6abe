"""Adoption: rebuilds a run from what is on Kaggle alone, after its database was lost."""
