"""A model of many layers is planned from few only where they tell enough."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.preflight.memory.depths import SAMPLES, WHOLE, Sample, extrapolated, samples_of
from orchestrator.preflight.memory.programs import Program

PROGRAM = Program("sft", 1024, rank=8, targets=".*q_einsum")
LAYERS = 26


def answer(sample: Sample, logits: int, each: int = 100, layers: int | None = None) -> dict[str, Any]:
    """Made-up needs: at the turn 100 bytes of temporaries a layer and 30, or the logits and `each` a layer."""
    count = sample.layers if layers is None else layers
    vocabulary = 64 if sample.narrow else 4096
    peak = max(logits * vocabulary // 4096 + each * count, 30 + 100 * count)
    weights = vocabulary + 7 * count
    sizes = {"weights": [weights, 8 * weights], "largest": [vocabulary, 8 * vocabulary]}
    return {"sizes": sizes, "part": {"rows": 8, "temporaries": peak, "cache": 3 * count}, "layers": count}


@pytest.mark.parametrize(
    ("logits", "each", "tells"),
    [
        (0, 100, True),
        (5000, 100, True),  # what every layer adds is the same at both moments
        (400, 5, True),  # the layers need more from the start
        (450, 5, True),
        (1000, 5, False),  # the layers need more from the eleventh on: how much more is not seen
        (5000, 5, False),
    ],
)
def test_few_layers_tell_all_unless_logits_hide_what_layers_need(logits: int, each: int, tells: bool) -> None:
    found = extrapolated({sample: answer(sample, logits, each) for sample in SAMPLES}, LAYERS)
    assert (found is not None) == tells
    if found is not None:
        whole = answer(WHOLE, logits, each, layers=LAYERS)
        assert (found["sizes"], found["layers"]) == (whole["sizes"], LAYERS)
        assert found["part"] == pytest.approx(whole["part"], rel=0.02)


def test_a_plan_of_few_layers_is_never_below_that_of_all_and_at_most_the_allowed_gap_above() -> None:
    answers = {sample: answer(sample, 1000, 5) for sample in SAMPLES}
    needed = answer(WHOLE, 1000, 5, layers=LAYERS)["part"]["temporaries"]
    assert extrapolated(answers, LAYERS, gap_bytes=500) is None
    found = extrapolated(answers, LAYERS, gap_bytes=700)
    assert found is not None and needed < found["part"]["temporaries"] <= needed + 700


@pytest.mark.parametrize(
    ("program", "layers", "vocabulary", "wanted"),
    [
        (PROGRAM, 26, 256_000, SAMPLES),
        (PROGRAM, 9, 256_000, (WHOLE,)),
        (PROGRAM, 26, 8192, (WHOLE,)),
        (replace(PROGRAM, targets="layers/2/.*"), 26, 256_000, (WHOLE,)),
        (replace(PROGRAM, targets=r"layers/\d/.*"), 26, 256_000, (WHOLE,)),
    ],
)
def test_small_models_and_layers_that_differ_are_lowered_whole(
    program: Program, layers: int, vocabulary: int, wanted: tuple[Sample, ...]
) -> None:
    assert samples_of(program, layers, vocabulary, 8) == wanted
