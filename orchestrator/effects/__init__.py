"""One function for each command that touches the world. Each looks before it makes, so doing it again after a crash is safe."""

from orchestrator.effects.performing import Effect, perform
from orchestrator.effects.publishing import publish
from orchestrator.effects.shell import Result, Shell

__all__ = ["Effect", "Result", "Shell", "perform", "publish"]
