"""A model of many layers is planned from few only where they tell enough."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.preflight.memory.depths import SAMPLES, WHOLE, Sample, extrapolated, samples_of
from orchestrator.preflight.memory.programs import Program

PROGRAM = Program("sft", 1024, rank=8, targets=".*q_einsum")
LAYERS = 26


def answer(sample: Sample, logits: int, embedding: int = 0, layers: int | None = None) -> dict[str, Any]:
    """Made-up needs: 100 bytes of temporaries a layer with its share of 30 at the turn, or the logits and 5 a layer."""
    count = sample.layers if layers is None else layers
    vocabulary = 64 if sample.narrow else 4096
    seen = logits * vocabulary // 4096
    peak = max(seen + 5 * count, 30 + 100 * count + embedding * vocabulary)
    weights = vocabulary + 7 * count
    sizes = {"weights": [weights, 8 * weights], "largest": [vocabulary, 8 * vocabulary]}
    return {"sizes": sizes, "part": {"rows": 8, "temporaries": peak, "cache": 3 * count}, "layers": count}


@pytest.mark.parametrize(("logits", "tells"), [(0, True), (400, True), (450, True), (1000, False), (5000, False)])
def test_few_layers_tell_all_unless_logits_hide_what_layers_need(logits: int, tells: bool) -> None:
    found = extrapolated({sample: answer(sample, logits) for sample in SAMPLES}, LAYERS, trains_all=False)
    assert (found is not None) == tells
    if found is not None:
        whole = answer(WHOLE, logits, layers=LAYERS)
        assert (found["sizes"], found["layers"]) == (whole["sizes"], LAYERS)
        assert found["part"] == pytest.approx(whole["part"], rel=0.02)


def test_the_gradient_of_the_embedding_counts_with_the_layers_where_all_weights_train() -> None:
    answers = {sample: answer(sample, 0, embedding=1) for sample in SAMPLES}
    assert extrapolated(answers, LAYERS, trains_all=False) is None
    found = extrapolated(answers, LAYERS, trains_all=True)
    assert found is not None and found["part"] == answer(WHOLE, 0, embedding=1, layers=LAYERS)["part"]


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
