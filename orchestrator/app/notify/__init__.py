"""Messages to a person: that a run needs somebody, is finished, or lost a session."""
