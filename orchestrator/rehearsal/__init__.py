"""Rehearsals without Kaggle: a local Kaggle, simulated chains by the thousand, and `relay verify-resume`."""
