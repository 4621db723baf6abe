"""Metrics of a run where people already look: files, TensorBoard, Weights & Biases, trackio."""
