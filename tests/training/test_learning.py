"""Training trains: what each stage is for shows in an evaluation on problems that it never saw."""

from pathlib import Path

import pytest
import yaml

from stages.contract import StageSpec
from tests.training.harness import Chain

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_once")]

EXAMPLE = Path(__file__).parents[2] / "examples" / "tiny.yaml"


def test_each_stage_of_the_tiny_pipeline_makes_the_model_better_at_what_it_is_for(tmp_path: Path) -> None:
    """One seed; `benchmarks/learning.py` runs several."""
    pipeline = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    chain = Chain(tuple(StageSpec.from_dict(stage) for stage in pipeline["stages"]), pipeline["model"])
    record = chain.run(tmp_path)

    evaluations = [stage for stage in chain.stages if stage.kind == "evaluate"]
    well_formed, accuracy, hard = (
        [record.value(stage.name, stage.steps, metric) for stage in evaluations]
        for metric in ("format", "accuracy", "hard_accuracy")
    )
    assert min(well_formed) >= 0.95
    assert accuracy[1] >= accuracy[0] + 0.08
    assert hard[2] > hard[1]
    assert accuracy[2] >= accuracy[1] - 0.03
