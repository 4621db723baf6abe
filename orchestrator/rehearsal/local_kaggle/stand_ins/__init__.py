"""Generates small stand-ins for what real training downloads: a tokenizer, a model and data sets."""
