"""Plans the memory of a model of many layers from models of few. Pure.

A program's temporaries peak at one of a few moments: at the logits, or at the turn from the forward to the backward
pass. Each is a linear function of the number of layers, so the peak is the largest of a few lines, and a line through
two models of few layers can be the wrong one. A model with a small vocabulary has small logits, so its line is that of
the layers; the line of the logits is that through two models with the whole vocabulary. Both together bound the needs of
all layers:

- lower: the higher one of the two lines, at that number of layers;
- upper: the need of the larger model with the whole vocabulary, and the faster growth of the two lines.

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
SAMPLES = (Sample(MORE), Sample(FEW), Sample(MORE, narrow=True), Sample(FEW, narrow=True))


def samples_of(program: Program, layers: int, vocabulary: int, chips: int) -> tuple[Sample, ...]:
    """Return the models to lower for a program. Layers that an adapter treats differently are not extrapolated."""
    narrow = vocabulary * NARROW_SHARE_MAX >= narrow_vocabulary(chips)
    alike = re.search(r"\d|\\d", program.targets) is None
    return SAMPLES if layers >= LAYERS_MIN and narrow and alike else (WHOLE,)


def narrow_vocabulary(chips: int) -> int:
    """Return the number of tokens of the small vocabulary."""
    return NARROW_PER_CHIP * chips


def extrapolated(found: Mapping[Sample, Mapping[str, Any]], layers: int, gap_bytes: int = 0) -> dict[str, Any] | None:
    """Return the answer for all `layers` from the answers for `SAMPLES`, or None if the bounds of its temporaries differ
    by more than `GAP_MAX` of them, and by more than `gap_bytes`.

    An answer has `sizes` (name → bytes on one chip and in total) and `part` (name → bytes). Sizes, caches, inputs and
    outputs grow by the same with each layer, so that they are exact.
    """
    more, few, more_narrow, few_narrow = (found[sample] for sample in SAMPLES)

    def line(at: int, before: int) -> int:
        return at + (at - before) * (layers - MORE) // (MORE - FEW)

    part = {name: line(value, few["part"][name]) for name, value in more["part"].items()}
    sizes = {
        name: [line(*two) for two in zip(values, few["sizes"][name], strict=True)]
        for name, values in more["sizes"].items()
    }
    sizes["largest"] = more["sizes"]["largest"]
    needs = [each["part"]["temporaries"] for each in (more, few, more_narrow, few_narrow)]
    lower = max(line(*needs[:2]), line(*needs[2:]))
    upper = needs[0] + max(needs[0] - needs[1], needs[2] - needs[3]) * (layers - MORE) // (MORE - FEW)
    if upper - lower > max(GAP_MAX * upper, gap_bytes):
        return None
    return {"sizes": sizes, "part": part | {"temporaries": upper, "rows": more["part"]["rows"]}, "layers": layers}
