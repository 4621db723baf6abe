"""Options of each stage kind and of the model. Plain dataclasses, validated before anything runs."""

from stages.options.model import Model
from stages.options.probing import Measure, Probe
from stages.options.reading import Options, fit, mistakes
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
    "Measure",
    "Model",
    "Options",
    "Probe",
    "Sampling",
    "Sft",
    "TrainingOptions",
    "fit",
    "mistakes",
]
