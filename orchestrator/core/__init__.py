"""Pure functions of a run's state: the next command, session plans, waits, retention and forecasts."""
