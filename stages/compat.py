"""The one place that knows in what Tunix 0.1.5, which others have published results with, differs from 0.1.7.

| what | 0.1.5 | 0.1.7 |
|---|---|---|
| the module of Gemma 2 | `Transformer` | `Gemma` |
| Gemma 3's configurations | `gemma3_1b` | `gemma3_1b_it` |
| tokens of a rollout | one matrix, filled up with padding | a list, each as long as it is |
| the norm of the gradients | not among the metrics | `grad_norm` |
| GRPO's divergence, unless told | `low_var_kl`, always | `kl`, whose gradient is zero on average |
| log-probabilities in GRPO | of the logits as they are | of the logits divided by the temperature |
| the optimizer in Tunix's own checkpoints | missing | there |

The last one does not matter here: `stages.checkpoints` holds the optimizer. Neither does the second `<bos>` that 0.1.5 puts
before a prompt: `stages.tokenizer` adds none of its own. A run stays with the version it began with, which its pins see to.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from tunix.models.gemma import model as gemma2
from tunix.models.gemma3 import model as gemma3
from tunix.rl.grpo.grpo_learner import GRPOConfig


def gemma2_class() -> Any:
    """The Flax module of Gemma 2, made from `(config, rngs=…)`."""
    return getattr(gemma2, "Gemma", None) or gemma2.Transformer


def gemma3_config(name: str) -> Any:
    """Tunix's configuration of a Gemma 3 by the name it has in 0.1.7, such as `gemma3_1b_it`."""
    configs = gemma3.ModelConfig
    return getattr(configs, name, None) or getattr(configs, name.removesuffix("_it"))


def grpo_config(*, generations: int, beta: float, epsilon: float) -> GRPOConfig:
    """GRPO as in arXiv:2402.03300, whose equation 4 is what Tunix calls `low_var_kl`."""
    known = {field.name for field in fields(GRPOConfig)}
    divergence = {"kl_loss_mode": "low_var_kl"} if "kl_loss_mode" in known else {}
    return GRPOConfig(num_generations=generations, beta=beta, epsilon=epsilon, **divergence)


def answer_tokens(tokens: Sequence[Any], padding: int) -> list[np.ndarray]:
    """The tokens of each answer of a rollout, as many as the answer has (an end that was drawn is not among them)."""
    return [np.trim_zeros(np.asarray(row) - padding, "b") + padding for row in tokens]
