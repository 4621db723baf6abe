"""A Kaggle that runs on this machine: its rules, its HTTP server and the sandboxes that run pushed kernels."""
