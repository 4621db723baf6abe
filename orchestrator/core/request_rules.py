"""States of a run in which a person may ask relay for something. Pure."""

ALLOWED = {
    "pause": ("active", "waiting"),
    "resume": ("parked", "waiting", "cancelled"),
    "retry": ("parked", "waiting"),
    "cancel": ("active", "waiting", "parked"),
    "edit": ("active", "waiting", "parked"),
}
"""States of a run in which each command is accepted, by the command's name."""


def actions_for(state: str) -> list[str]:
    """Return the commands that a run in this state accepts."""
    return [verb for verb, states in ALLOWED.items() if state in states]
