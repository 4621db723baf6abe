"""Kaggle client: the `Gateway` port, and the only module in relay that imports kagglesdk."""
