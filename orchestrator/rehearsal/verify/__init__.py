"""Checks, on the user's machine, that a run cut into sessions computes the same bits as the run that was never cut."""
