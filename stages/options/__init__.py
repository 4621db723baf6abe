"""Options of each stage kind and of the model. Plain dataclasses, validated before anything runs."""

from stages.options.model import Model
from stages.options.reading import Options, fit
from stages.options.training import (
    Answer,
    Asking,
    Continued,
    Counting,
    Curate,
    Evaluate,
    Export,
    Filtered,
    Grpo,
    Sampling,
    Sft,
    TrainingOptions,
)

__all__ = [
    "Answer",
    "Asking",
    "Continued",
    "Counting",
    "Curate",
    "Evaluate",
    "Export",
    "Filtered",
    "Grpo",
    "Model",
    "Options",
    "Sampling",
    "Sft",
    "TrainingOptions",
    "fit",
]
