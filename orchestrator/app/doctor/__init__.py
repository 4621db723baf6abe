"""`relay doctor`: everything that can be wrong on this machine and beside it, each with its remedy."""
