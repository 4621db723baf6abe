"""A run cut into sessions anywhere computes the same numbers, bit for bit, as the run that was never cut."""

import dataclasses
import functools
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.rehearsal.local_kaggle.stand_ins.model import write_model
from orchestrator.rehearsal.local_kaggle.stand_ins.sets import write_sets
from orchestrator.rehearsal.local_kaggle.stand_ins.tokenizer import VOCABULARY, write_tokenizer
from stages.catalog import KINDS
from tests.training import harness
from tests.training.harness import ANSWERS, SMALL, TINY, Chain, Record, SmallContext, spec
from tests.training.models import devices

pytestmark = pytest.mark.slow

ROLLOUTS = {**harness.ROLLOUTS, "rewards": {"tests.training.odd_rewards:by_hash": 1.0}}
"""With the usual rewards a model that knows nothing would have nothing to learn from, and GRPO would do nothing."""
NOW_AND_THEN = {"tests.training.odd_rewards:now_and_then": 1.0}
UNUSUAL = {
    "num_iterations": 2,
    "epsilon_high": 0.28,
    "dynamic_sampling": 2,
    "scale_rewards": "none",
    "overlong_buffer": 4,
}
SFT = {"data": ["magpie", "ultrafeedback"], "batch": 8, "max_seq_length": 96, "warmup_steps": 2}
CURATE = {**ANSWERS, "batch": 3, "num_generations": 2, "hard_min": 4}

CHAINS = {
    "every weight, then adapters upon it": Chain(
        (
            spec("sft", "sft", 3, **SFT),
            spec("grpo", "grpo", 3, **ROLLOUTS),
            spec("curate", "curate", 2, **CURATE),
            spec("continued", "continued", 2, **ROLLOUTS),
            spec("after", "evaluate", 2, **ANSWERS, batch=4),
        )
    ),
    "an adapter, then every weight": Chain(
        (
            spec("sft", "sft", 2, **SFT, mode="lora", lora_rank=2),
            spec("curate", "curate", 2, **CURATE),
            spec("continued", "continued", 2, **{**ROLLOUTS, "mode": "full", "beta": 0.0}),
        )
    ),
    "in bfloat16: every weight, then adapters upon adapters, then every weight": Chain(
        (
            spec("sft", "sft", 2, **SFT, gradient_accumulation_steps=2),
            spec("taught", "sft", 2, **SFT, mode="lora", lora_rank=2),
            spec("grpo", "grpo", 2, **{**ROLLOUTS, "lora_alpha": 6.0}),
            spec("more", "sft", 2, **SFT),
        ),
        {**TINY, "dtype": "bfloat16"},
    ),
    "batches in parts": Chain(
        (
            spec("sft", "sft", 3, **SFT, gradient_accumulation_steps=2),
            spec("grpo", "grpo", 3, **{**ROLLOUTS, "max_completion_length": 64}, gradient_accumulation_steps=4),
        )  # the parts have two shapes
    ),
    "updates, rounds and penalties beyond the usual": Chain(
        (
            spec("grpo", "grpo", 3, **{**ROLLOUTS, "rewards": NOW_AND_THEN}, **UNUSUAL),
            spec(
                "full",
                "grpo",
                2,
                **{**ROLLOUTS, "mode": "full"},
                **UNUSUAL,
                loss_type="dr_grpo",
                gradient_accumulation_steps=2,
            ),
        )
    ),
}


Wholes = Callable[[str], Record]


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> Wholes:
    """What the uncut run of a chain computes, which is found out once."""
    return functools.cache(lambda name: CHAINS[name].run(tmp_path_factory.mktemp("uncut")))


@pytest.fixture(params=CHAINS, scope="module")  # so that the tests of one chain follow each other, on one worker
def uncut(request: pytest.FixtureRequest, wholes: Wholes) -> tuple[Chain, Record]:
    return CHAINS[request.param], wholes(request.param)


def test_a_run_cut_anywhere_computes_what_the_uncut_one_computes(uncut: tuple[Chain, Record], tmp_path: Path) -> None:
    chain, whole = uncut
    cuts = _random_cuts(chain, seed=len(chain.stages))
    print(f"cut after {cuts}")

    parts = chain.run(tmp_path, cuts)

    assert_same(parts, whole)


def test_sessions_in_processes_of_their_own_compute_what_one_process_computes(tmp_path: Path, wholes: Wholes) -> None:
    """Neither a stage nor a session leaves anything behind in a process that another one needs."""
    name = "an adapter, then every weight"
    chain, whole, parts = CHAINS[name], wholes(name), Record()

    for stage, stop_at in chain.sessions({"continued": (1,)}):
        found = _in_a_process(chain, {"stage": stage.name, "stop_at": stop_at}, tmp_path)
        parts.metrics |= found.metrics
        parts.digests |= found.digests
        parts.seen |= found.seen

    assert_same(parts, whole)


def test_a_save_on_the_way_changes_nothing_and_holds_what_a_cut_there_would(tmp_path: Path) -> None:
    chain = Chain((spec("grpo", "grpo", 3, **ROLLOUTS),))
    cut = chain.run(tmp_path / "cut", {"grpo": (2,)})

    saving = Record()
    places = frozenset({1, 2})
    context = SmallContext(
        chain.stages[0], TINY, 0, tmp_path / "saving", saving, None, 3, chain.inputs, chain.stages, save_at=places
    )
    KINDS["grpo"].load()(context)

    assert saving.metrics == cut.metrics
    assert {at: saving.digests[at] for at in cut.digests} == cut.digests


def test_every_step_of_reinforcement_learning_learns_something(uncut: tuple[Chain, Record]) -> None:
    """Else its steps would be equal for want of anything that could differ."""
    chain, whole = uncut
    for stage in (stage for stage in chain.stages if stage.kind == "grpo"):
        steps = range(1, stage.steps + 1)
        answers = {whole.seen[f"{stage.name}-{step}-rollouts"] for step in steps}
        assert len(answers) == len(steps), "no step answers like another"
        assert all(whole.value(stage.name, step, "idle_groups") < 1.0 for step in steps)


@pytest.mark.parametrize("name", ["batches in parts", "updates, rounds and penalties beyond the usual"])
def test_another_seed_computes_something_else(name: str, wholes: Wholes, tmp_path: Path) -> None:
    """What the other tests compare is not the same whatever happens: neither examples nor answers."""
    chain, whole = CHAINS[name], wholes(name)
    first = dataclasses.replace(chain, stages=chain.stages[:1], seed=chain.seed + 1)

    other = first.run(tmp_path)

    assert not set(other.digests) - set(whole.digests)
    assert all(other.digests[at]["weights"] != whole.digests[at]["weights"] for at in other.digests)


def test_a_run_on_several_devices_can_be_cut_too(tmp_path: Path) -> None:
    fsdp, tp = 2, 2  # two ways of the batch, two of each layer
    chain = Chain(
        (spec("sft", "sft", 2, **SFT), spec("grpo", "grpo", 2, **ROLLOUTS)),
        model={**TINY, "mesh_fsdp": fsdp, "mesh_tp": tp},
        inputs=wide_inputs(tmp_path / "inputs"),
    )
    found = {}
    for name, cuts in (("whole", {}), ("parts", {"sft": [1], "grpo": [1]})):
        (tmp_path / name).mkdir()
        found[name] = _in_a_process(chain, {"cuts": cuts}, tmp_path / name, devices(fsdp * tp))

    assert_same(found["parts"], found["whole"])


def wide_inputs(inputs: Path) -> Path:
    """A model whose heads can be split, and the data sets."""
    folder = inputs / "models" / SMALL["gemma2"]
    folder.mkdir(parents=True)
    sizes = {"width": 16, "hidden": 32, "heads": 4, "kv_heads": 2, "head_width": 8}
    write_model(folder, "gemma2", "flax", vocabulary=len(VOCABULARY), **sizes)
    write_tokenizer(folder / "tokenizer.model")
    write_sets(inputs / "sets")
    return inputs


def assert_same(parts: Record, whole: Record) -> None:
    """Losses, batches, rollouts and every checkpoint that the uncut run made: bit for bit."""
    assert parts.metrics == whole.metrics
    assert parts.seen == whole.seen
    assert {at: parts.digests[at] for at in whole.digests} == whole.digests


def _in_a_process(
    chain: Chain, asked: Mapping[str, Any], root: Path, environment: Mapping[str, str] | None = None
) -> Record:
    stages = [stage.to_dict() for stage in chain.stages]
    order = {
        "stages": stages,
        "model": dict(chain.model),
        "seed": chain.seed,
        "root": str(root),
        "inputs": str(chain.inputs),
        **asked,
    }
    answer = root / "answer.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.harness", str(answer)],
        input=json.dumps(order),
        cwd=Path(__file__).parents[2],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == "", "the libraries' chatter does not belong in a session's log"
    return Record(**json.loads(answer.read_text()))


def _random_cuts(chain: Chain, seed: int) -> dict[str, tuple[int, ...]]:
    draw = random.Random(seed)
    return {stage.name: (draw.randrange(1, stage.steps),) for stage in chain.stages}
