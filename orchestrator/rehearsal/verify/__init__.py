"""Proves on the user's machine that a run cut into sessions computes what the run that was never cut computes."""
