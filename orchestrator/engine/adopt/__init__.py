"""Adoption: a run is made again from what is on Kaggle alone, after its database was lost."""
