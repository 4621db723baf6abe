"""The laptop's side: decides what a run needs next and carries it out against Kaggle."""
