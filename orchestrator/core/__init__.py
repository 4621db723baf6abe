"""The decisions, as pure functions of the run's state: what to do next, session plans, waits, retention, forecasts."""
