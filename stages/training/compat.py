"""Differences between Tunix 0.1.5, with which results were published, and 0.1.7; no other module depends on them.

| what | 0.1.5 | 0.1.7 |
|---|---|---|
| the module of Gemma 2 | `Transformer` | `Gemma` |
| Gemma 3's configurations | `gemma3_1b` | `gemma3_1b_it` |
| the optimizer in Tunix's own checkpoints | missing | there |

The last difference is irrelevant here: `stages.training.checkpoints` stores the optimizer. So is the second `<bos>`
that 0.1.5 puts before a prompt: `stages.training.tokenizer` adds none of its own. The GRPO learners also differ (tokens
of a rollout, divergence, temperature, norm of the gradients), but losses, log-probabilities and generated tokens are
relay's own. A run keeps the version that it began with, because its pins require it.
"""

from typing import Any

from tunix.models.gemma import model as gemma2
from tunix.models.gemma3 import model as gemma3


def gemma2_class() -> Any:
    """Return the Flax module class of Gemma 2, constructed with `(config, rngs=…)`."""
    return getattr(gemma2, "Gemma", None) or gemma2.Transformer


def gemma3_config(name: str) -> Any:
    """Return Tunix's configuration of a Gemma 3 model by its name in 0.1.7, such as `gemma3_1b_it`."""
    configs = gemma3.ModelConfig
    return getattr(configs, name, None) or getattr(configs, name.removesuffix("_it"))
