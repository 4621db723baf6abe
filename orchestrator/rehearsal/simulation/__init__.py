"""Simulates thousands of chains: the real core, engine and store against the local Kaggle, with seeded faults and
crashes.
"""
