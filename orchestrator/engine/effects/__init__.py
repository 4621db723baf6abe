"""Effects: one function per command. Each looks before it creates, so repeating one after a crash is safe."""

from orchestrator.engine.effects.context import EffectContext, EffectResult
from orchestrator.engine.effects.dispatch import Effect, perform
from orchestrator.engine.effects.publish import publish

__all__ = ["Effect", "EffectContext", "EffectResult", "perform", "publish"]
