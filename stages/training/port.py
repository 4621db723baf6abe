"""Parts of Tunix that a family of models is built and loaded with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from stages.options import Model
from stages.options.families import Sizes


@dataclass(frozen=True)
class Port:
    """Parts of Tunix that build and load one family."""

    module_class: Any
    """Flax module, constructed with `(config, rngs=…)`."""
    config: Callable[[Sizes, Model], Any]
    """Function to Tunix's `ModelConfig` of a size, with the options' type and rematerialisation."""
    safetensors: ModuleType
    """Tunix's module whose `create_model_from_safe_tensors` reads the layout of Hugging Face."""
    shards: str
    """Name of the module whose function `shard` lays out the model's activations."""
    flax: Callable[[Path, Sizes], dict[str, Any]] | None = None
    """Function that reads Kaggle's Orbax checkpoints; None if the family has none."""
