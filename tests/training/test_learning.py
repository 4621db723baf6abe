"""Training trains: what each stage is for shows in an evaluation on problems that it never saw."""

from collections.abc import Iterator

import jax
import pytest
import yaml

from benchmarks.learning import EXAMPLE, run, shortfalls

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def optimized() -> Iterator[None]:
    """Programs as XLA usually makes them: here each runs hundreds of times."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def test_each_stage_of_the_tiny_pipeline_makes_the_model_better_at_what_it_is_for() -> None:
    """One seed of Gemma 2, in minutes; `benchmarks/learning.py` runs several, and Gemma 3."""
    pipeline = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    evaluations = [dict(context.metrics) for context in run(pipeline, "gemma2", 0) if context.spec.kind == "evaluate"]
    assert not shortfalls(evaluations), evaluations
