"""Training trains: what each stage is for shows in an evaluation on problems that it never saw."""

from collections.abc import Iterator

import jax
import pytest
import yaml

from benchmarks.learning import EXAMPLE, run, shortfalls

pytestmark = pytest.mark.slow

ASK = {"data": ["gsm8k", "mbpp"], "batch": 32, "max_prompt_length": 64, "max_completion_length": 28}


@pytest.fixture(autouse=True)
def optimized() -> Iterator[None]:
    """Programs as XLA usually makes them: here each runs hundreds of times."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def test_a_model_answers_in_the_shape_that_it_was_taught_and_did_not_before() -> None:
    """The first stage of the tiny pipeline, a fifth as long; the whole of it is the nightly test's."""
    pipeline = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    sft = pipeline["stages"][0]
    taught = {**sft, "steps": 60, "options": {**sft["options"], "batch": 16}}
    asked = [{"name": name, "kind": "evaluate", "steps": 1, "options": ASK} for name in ("before", "after")]
    short = {**pipeline, "stages": [asked[0], taught, asked[1]]}
    before, _, after = (dict(context.metrics) for context in run(short, "gemma2", 0))
    assert before["format"] == 0.0 and after["format"] > 0.5


@pytest.mark.nightly
def test_each_stage_of_the_tiny_pipeline_makes_the_model_better_at_what_it_is_for() -> None:
    """One seed of Gemma 2, in minutes; `benchmarks/learning.py` runs several, and Gemma 3."""
    pipeline = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    evaluations = [dict(context.metrics) for context in run(pipeline, "gemma2", 0) if context.spec.kind == "evaluate"]
    assert not shortfalls(evaluations), evaluations
