"""`relay doctor`: checks of the database, this machine and Kaggle, each problem with its remedy."""
