"""`relay probe`: finds out on the user's own account whether Kaggle behaves as relay assumes."""
