"""Plans the memory of a model of many layers from models of few. Pure.

A program's temporaries peak at one of a few moments: at the logits, or at the turn from the forward to the backward
pass. Each is a linear function of the number of layers, so the peak is the largest of a few lines, and a line through
two models of few layers can be the wrong one. A model with a small vocabulary has small logits, so its line is that of
the layers. With it the needs of all layers have a lower and an upper bound:

- lower: the model with the small vocabulary, and its growth by each further layer;
- upper: the model of as many layers with the whole vocabulary, and the same growth.

Where both agree, the upper bound is the plan; where they do not, the model is lowered with all its layers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.preflight.memory.programs import Program

FEW, MORE = 2, 4
"""Numbers of layers of the small models: multiples of Gemma 2's pair of a local and a global layer."""
LAYERS_MIN = 10
"""Smallest number of layers that is planned from small models: with fewer, lowering all is as fast."""
NARROW_PER_CHIP = 512
"""Tokens per chip of the small vocabulary, so that every mesh divides it."""
NARROW_SHARE_MAX = 1 / 8
"""Largest share of the vocabulary that counts as small."""
GAP_MAX = 0.02
"""Largest difference between the bounds, as a share of the temporaries."""


@dataclass(frozen=True)
class Sample:
    """A model to lower instead of the whole one."""

    layers: int = 0
    """Number of the first layers; 0: all."""
    narrow: bool = False
    """True for the small vocabulary."""


WHOLE = Sample()
SAMPLES = (Sample(MORE), Sample(MORE, narrow=True), Sample(FEW, narrow=True))


def samples_of(program: Program, layers: int, vocabulary: int, chips: int) -> tuple[Sample, ...]:
    """Return the models to lower for a program. Layers that an adapter treats differently are not extrapolated."""
    narrow = vocabulary * NARROW_SHARE_MAX >= narrow_vocabulary(chips)
    alike = re.search(r"\d|\\d", program.targets) is None
    return SAMPLES if layers >= LAYERS_MIN and narrow and alike else (WHOLE,)


def narrow_vocabulary(chips: int) -> int:
    """Return the number of tokens of the small vocabulary."""
    return NARROW_PER_CHIP * chips


def extrapolated(found: Mapping[Sample, Mapping[str, Any]], layers: int, trains_all: bool) -> dict[str, Any] | None:
    """Return the answer for all `layers` from the answers for `SAMPLES`, or None if the bounds of its temporaries differ.

    An answer has `sizes` (name → bytes on one chip and in total) and `part` (name → bytes). `trains_all`: the gradient
    of the embedding exists from the logits to the end, so that it belongs to the lower bound, too.
    """
    whole, narrow, few = (found[sample] for sample in SAMPLES)

    def grown(at: int, small: int, smaller: int) -> int:
        return at + (small - smaller) * (layers - MORE) // (MORE - FEW)

    part = {name: grown(value, narrow["part"][name], few["part"][name]) for name, value in whole["part"].items()}
    sizes = {
        name: [grown(*three) for three in zip(values, narrow["sizes"][name], few["sizes"][name], strict=True)]
        for name, values in whole["sizes"].items()
    }
    embedding = whole["sizes"]["weights"][0] - narrow["sizes"]["weights"][0] if trains_all else 0
    gap = whole["part"]["temporaries"] - narrow["part"]["temporaries"] - embedding
    if gap > GAP_MAX * part["temporaries"]:
        return None
    return {"sizes": sizes, "part": part | {"rows": whole["part"]["rows"]}, "layers": layers}
