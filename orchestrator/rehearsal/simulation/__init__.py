"""Whole chains by the thousand: the real core, shell and store against the local Kaggle, with seeded faults and crashes."""
