"""Names that differ between versions of Tunix; no other module depends on them."""

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


def gemma3_shard() -> Any:
    """Return the function that lays out Gemma 3's activations; looked up anew, since `relay plan --memory` replaces it."""
    return getattr(gemma3, "sharding_utils", gemma3).shard
