"""Simulates thousands of chains: the real core, engine and store, a local Kaggle, seeded faults and crashes."""
