"""The one place that knows in what Tunix 0.1.5, which others have published results with, differs from 0.1.7.

| what | 0.1.5 | 0.1.7 |
|---|---|---|
| the module of Gemma 2 | `Transformer` | `Gemma` |
| Gemma 3's configurations | `gemma3_1b` | `gemma3_1b_it` |
| the optimizer in Tunix's own checkpoints | missing | there |

The last one does not matter here: `stages.training.checkpoints` holds the optimizer. Neither does the second `<bos>` that 0.1.5 puts
before a prompt: `stages.training.tokenizer` adds none of its own. Nor what their GRPO learners differ in (tokens of a rollout, divergence,
temperature, norm of the gradients): losses, log-probabilities and the tokens that were drawn are relay's own. A run stays with the version it began with, which its pins see to.
"""

from typing import Any

from tunix.models.gemma import model as gemma2
from tunix.models.gemma3 import model as gemma3


def gemma2_class() -> Any:
    """The Flax module of Gemma 2, made from `(config, rngs=…)`."""
    return getattr(gemma2, "Gemma", None) or gemma2.Transformer


def gemma3_config(name: str) -> Any:
    """Tunix's configuration of a Gemma 3 by the name it has in 0.1.7, such as `gemma3_1b_it`."""
    configs = gemma3.ModelConfig
    return getattr(configs, name, None) or getattr(configs, name.removesuffix("_it"))
