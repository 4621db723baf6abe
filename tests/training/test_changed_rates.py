"""A learning rate and a number of steps that were changed midway compute, bit for bit, what the changed pipeline computes uncut."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.pipeline.changes import RunProgress, merged
from orchestrator.pipeline.loader import check
from stages.catalog import KINDS
from stages.contract import Cursor
from tests.training import harness
from tests.training.harness import TINY, Chain, Record, SmallContext, spec

pytestmark = pytest.mark.slow

SFT = {"data": ["magpie"], "batch": 8, "max_seq_length": 96, "warmup_steps": 2, "learning_rate": 0.003}
GRPO = {
    **harness.ROLLOUTS,
    "rewards": {"tests.training.odd_rewards:by_hash": 1.0},
    "num_iterations": 2,
    "warmup_steps": 2,
    "learning_rate": 0.003,
}


def pipeline(kind: str, steps: int, options: dict[str, Any]) -> Any:
    known = {name: value for name, value in options.items() if name != "rewards"}
    stages = [{"name": kind, "kind": kind, "steps": steps, "options": known}]
    return check({"name": "small", "model": {"kind": "gemma2"}, "stages": stages}, "p.yaml")


@pytest.mark.parametrize(("kind", "options"), [("sft", SFT), ("grpo", GRPO)])
def test_a_stage_goes_on_with_a_changed_rate_as_if_it_had_always_been_planned(
    kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    done, before, after = 2, 3, 5
    begun = Chain((spec(kind, kind, before, **options),))
    first = Record()
    KINDS[kind].load()(
        SmallContext(begun.stages[0], TINY, 0, tmp_path / "cut", first, None, done, begun.inputs, begun.stages)
    )

    progress = RunProgress(Cursor(stage=kind, step=done), frozenset({kind}))
    wanted = pipeline(kind, after, {**options, "learning_rate": 0.0007})
    (changed,) = merged(pipeline(kind, before, options), wanted, progress, "small-1").stages
    assert changed.options["learning_rate_after"] == {"2": 0.0007}
    assert changed.options["decay_steps"] == before
    chain = Chain((spec(kind, kind, after, **{**options, **changed.options}),))
    rest, whole = chain.run(tmp_path / "cut"), chain.run(tmp_path / "uncut")

    assert {**first.metrics, **rest.metrics} == whole.metrics
    assert {**first.seen, **rest.seen} == whole.seen
    assert {at: rest.digests[at] for at in whole.digests} == whole.digests
    rates = [whole.value(kind, step, "learning_rate") for step in (done, done + 1)]
    assert rates[1] <= 0.0007 * (1 + 1e-6) < rates[0], "the rate before the change, and the one from it on"
