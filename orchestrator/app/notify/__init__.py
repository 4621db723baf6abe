"""Notifications to a person: a run needs attention, is finished, or lost a session."""
