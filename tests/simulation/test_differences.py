"""Where Kaggle differs from an assumption, an ordinary chain copes or is parked with what to do, as the table of assumptions says."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.core.assumptions import ASSUMPTIONS
from orchestrator.kaggle.gateway import Access
from orchestrator.pipeline.loader import parse
from orchestrator.rehearsal.local_kaggle.differences import DIFFERENCES, differing
from orchestrator.rehearsal.local_kaggle.faults import FaultPlan
from orchestrator.rehearsal.local_kaggle.rules import PerKind, Rules
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, final_digest
from state.model.statuses import RunStatus
from tests.simulation.parked_runs import parked
from tests.simulation.pipelines import PIPELINE, expected_digest

pytestmark = pytest.mark.slow

USUAL = Rules(queue_s=PerKind.all(60.0))
HANDOFF = f"{PIPELINE}handoff: kernel-output\n"
ONLY_REAL_SESSIONS = {"accelerator-devices", "internet", "mount-layout", "model-mounted"}
"""Differences that a scripted session cannot notice (see tests/rehearsal/test_differing.py)."""

PARKED = {
    "title-is-slug": "renamed",
    "source-size": "too large",
    "output-size": "output",
    "new-script-status": "waited 6 h",
    "output-listed-complete": "made no progress",
    "unknown-suffix-kept": "damaged",
    "name-length": "characters",
    "private-storage": "storage",
    "dataset-size": "top-level files",
    "api-shapes": "not JSON",
}
"""Differences over which a chain is parked, and a word of the reason."""


def chain_where(key: str, folder: Path) -> Chain:
    """A short counting run on a Kaggle that differs."""
    pipeline = parse(HANDOFF if key == "kernel-output-mounted" else PIPELINE, "sim.yaml")
    found = differing(USUAL, FaultPlan(differs=(key,)))
    return Chain(SimulatedKaggle(pipeline, found.faults, found.rules), folder)


@pytest.mark.parametrize("key", [key for key in DIFFERENCES if key not in {*PARKED, *ONLY_REAL_SESSIONS}])
def test_relay_copes_and_trains_the_same_bits(key: str, tmp_path: Path) -> None:
    chain = chain_where(key, tmp_path)
    state = chain.drive()
    assert state.run.status is RunStatus.FINISHED, (state.run.reason, state.run.remedy)
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline)
    assert not ASSUMPTIONS[key].stops or key == "model-licence"


@pytest.mark.parametrize(("key", "word"), PARKED.items())
def test_relay_parks_with_what_to_do(key: str, word: str, tmp_path: Path) -> None:
    state = parked(chain_where(key, tmp_path)).state
    assert state.run.status is RunStatus.PARKED
    assert word in state.run.reason
    assert re.match(r"relay \w+ sim-0001", state.run.remedy), state.run.remedy
    assert ASSUMPTIONS[key].stops
    assert not ASSUMPTIONS[key].copes


def test_the_table_says_which_differences_can_be_rehearsed() -> None:
    assert {key for key, assumption in ASSUMPTIONS.items() if assumption.rehearsed} == set(DIFFERENCES)


def sessions_and_days(key: str, folder: Path) -> tuple[int, timedelta]:
    chain = (
        chain_where(key, folder) if key else Chain(SimulatedKaggle(parse(PIPELINE, "sim.yaml"), rules=USUAL), folder)
    )
    began = chain.clock.now()
    return len(chain.drive().sessions), chain.clock.now() - began


@pytest.mark.parametrize(
    "key",
    [
        "declined-push-has-error",
        "late-push",
        "queue-time",
        "session-limit",
        "processing-time",
        "sessions-at-once",
        "output-kept",
        "kernel-output-mounted",
        "limit-ends-cancelled",
        "sentinel-mounted",
        "rejected-source-named",
    ],
)
def test_a_difference_is_noticed(key: str, tmp_path: Path) -> None:
    sessions, took = sessions_and_days(key, tmp_path / "differs")
    usual_sessions, usually = sessions_and_days("", tmp_path / "usual")
    assert sessions > usual_sessions or took > usually + timedelta(minutes=5)


def test_a_list_without_accelerators_or_with_gaps_is_seen_as_one(tmp_path: Path) -> None:
    chain = chain_where("kernels-sorted", tmp_path / "unnamed")
    chain.drive()
    page = chain.kaggle.gateway().recent_kernels()
    assert page.kernels
    assert {kernel.machine_shape for kernel in page.kernels} == {""}
    chain = chain_where("lists-complete", tmp_path / "gaps")
    state = chain.drive()
    listed = chain.kaggle.gateway().list_kernels("sim-")
    assert 0 < len(listed) < len(state.sessions)


def test_a_licence_that_was_not_accepted_denies_the_model(tmp_path: Path) -> None:
    kaggle = chain_where("model-licence", tmp_path).kaggle
    ref = "google/gemma-2/flax/gemma2-2b-it/1"
    kaggle.world.offer_model(ref, {})
    assert kaggle.gateway().see_model(ref).access is Access.DENIED


def test_differences_add_up_and_keep_the_plans_own_faults() -> None:
    keys = ("output-size", "late-push", "output-size", "internet")
    own = replace(DIFFERENCES["log-kept"].faults, seed=7, differs=keys)
    both = differing(USUAL, own)
    assert both.rules == replace(USUAL, output_bytes_max=1000)
    assert both.faults.sessions == own.sessions
    assert both.faults.pushes == DIFFERENCES["late-push"].faults.pushes
    assert both.faults.seed == 7
    assert "HTTPS_PROXY" in both.environment
