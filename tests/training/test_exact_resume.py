"""A run cut into sessions anywhere computes the same numbers, bit for bit, as the run that was never cut."""

import dataclasses
import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stages.catalog import KINDS
from tests.training.harness import ANSWERS, ROLLOUTS, TINY, Chain, Record, SmallContext, spec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_once")]

SFT = {"data": "sums:20", "batch": 8, "noise": 0.3, "noise_hard": 0.5, "warmup_steps": 2}

CHAINS = {
    "every weight, then adapters upon it": Chain(
        (
            spec("sft", "sft", 5, **SFT),
            spec("before", "evaluate", 3, **ANSWERS, batch=8),
            spec("grpo", "grpo", 4, **ROLLOUTS),
            spec("continued", "continued", 4, **ROLLOUTS),
            spec("after", "evaluate", 2, **ANSWERS, batch=8),
        )
    ),
    "an adapter, then every weight": Chain(
        (
            spec("sft", "sft", 4, **SFT, mode="lora", lora_rank=2),
            spec("grpo", "grpo", 4, **{**ROLLOUTS, "mode": "full"}),
            spec("continued", "continued", 3, **{**ROLLOUTS, "mode": "full", "beta": 0.0}),
        )
    ),
    "batches in parts": Chain(
        (
            spec("sft", "sft", 3, **SFT, accumulate=2),
            spec("grpo", "grpo", 3, **ROLLOUTS, accumulate=2),
        )
    ),
}


@pytest.fixture(scope="module", params=CHAINS)
def uncut(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, compiled_once: Path
) -> tuple[Chain, Record]:
    chain = CHAINS[request.param]
    return chain, chain.run(tmp_path_factory.mktemp("uncut"))


def test_a_run_cut_anywhere_computes_what_the_uncut_one_computes(uncut: tuple[Chain, Record], tmp_path: Path) -> None:
    chain, whole = uncut
    cuts = _random_cuts(chain, seed=len(chain.stages))
    print(f"cut after {cuts}")

    parts = chain.run(tmp_path, cuts)

    assert parts.metrics == whole.metrics
    assert {at: parts.digests[at] for at in whole.digests} == whole.digests


def test_sessions_in_processes_of_their_own_compute_what_one_process_computes(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, compiled_once: Path
) -> None:
    """Neither a stage nor a session leaves anything behind in a process that another one needs."""
    chain = CHAINS["every weight, then adapters upon it"]
    whole = chain.run(tmp_path_factory.mktemp("uncut"))
    parts = Record()

    for stage, stop_at in chain.sessions({"grpo": (2,)}):
        found = _in_a_process(chain, {"stage": stage.name, "stop_at": stop_at}, tmp_path, compiled_once)
        parts.metrics |= found.metrics
        parts.digests |= found.digests

    assert parts.metrics == whole.metrics
    assert {at: parts.digests[at] for at in whole.digests} == whole.digests


def test_a_save_on_the_way_changes_nothing_and_holds_what_a_cut_there_would(tmp_path: Path) -> None:
    chain = Chain((spec("grpo", "grpo", 3, **ROLLOUTS),))
    cut = chain.run(tmp_path / "cut", {"grpo": (2,)})

    saving = Record()
    context = SmallContext(chain.stages[0], TINY, 0, tmp_path / "saving", saving, None, 3, save_at=frozenset({1, 2}))
    KINDS["grpo"].load()(context)

    assert saving.metrics == cut.metrics
    assert {at: saving.digests[at] for at in cut.digests} == cut.digests


def test_another_seed_computes_something_else(uncut: tuple[Chain, Record], tmp_path: Path) -> None:
    """What the other tests compare is not the same whatever happens."""
    chain, whole = uncut
    first = dataclasses.replace(chain, stages=chain.stages[:1], seed=chain.seed + 1)

    other = first.run(tmp_path)

    assert not set(other.digests) - set(whole.digests)
    assert all(other.digests[at]["weights"] != whole.digests[at]["weights"] for at in other.digests)


def test_a_run_on_several_devices_can_be_cut_too(tmp_path: Path, compiled_once: Path) -> None:
    chain = Chain(
        (spec("sft", "sft", 3, **SFT), spec("grpo", "grpo", 3, **ROLLOUTS)),
        model={**TINY, "heads": 4, "kv_heads": 2, "mesh_fsdp": 2, "mesh_tp": 2},
    )
    devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    found = {}
    for name, cuts in (("whole", {}), ("parts", {"sft": [1], "grpo": [2]})):
        (tmp_path / name).mkdir()
        found[name] = _in_a_process(chain, {"cuts": cuts}, tmp_path / name, compiled_once, devices)

    assert found["parts"].metrics == found["whole"].metrics
    assert {at: found["parts"].digests[at] for at in found["whole"].digests} == found["whole"].digests


def _in_a_process(
    chain: Chain, asked: Mapping[str, Any], root: Path, compiled: Path, environment: Mapping[str, str] | None = None
) -> Record:
    stages = [stage.to_dict() for stage in chain.stages]
    order = {"stages": stages, "model": dict(chain.model), "seed": chain.seed, "root": str(root), **asked}
    caching = {"JAX_COMPILATION_CACHE_DIR": str(compiled), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    answer = root / "answer.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.harness", str(answer)],
        input=json.dumps(order),
        cwd=Path(__file__).parents[2],
        env={**os.environ, **caching, **(environment or {})},
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
