"""Rehearsals without Kaggle: a local Kaggle server, thousands of simulated chains, and `relay verify-resume`."""
