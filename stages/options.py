"""The options of each kind of stage and of a model: plain dataclasses, so the laptop checks what the session will read."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Counting:
    """Counts. Rehearses a chain without JAX."""

    step_s: float = 0.0
    """Seconds that each step takes."""
    payload_bytes: int = 64
    """Size of the state that each checkpoint carries."""
