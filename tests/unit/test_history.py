"""A run's history: every second of it is accounted for once, and what it says is what the facts and the sessions said."""

import itertools
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.home import HomeLayout
from orchestrator.rehearsal.simulation.chain import fast_folder
from orchestrator.rehearsal.simulation.plans import random_plan
from orchestrator.rehearsal.simulation.runner import Simulation
from orchestrator.views.history import curves, results, timeline
from orchestrator.views.history.document import HistorySources, history_document
from orchestrator.views.log_document import log_document
from orchestrator.views.run_document import run_document
from orchestrator.views.run_history import read_history
from state.facts.base import Fact
from state.facts.checkpoint import DamageFound
from state.facts.run import RunCancelled, RunParked, RunResumed, RunWaiting, RunWoken
from state.facts.session import OutputCollected
from state.model.metrics import CurvePoint
from tests.unit.histories import AT, TINY, Told, artifact, row, trained

HOUR_S = 3600.0
QUIET = {"to_do": {"message": "nothing to do", "command": None}, "failure": "", "retry_at": None}
"""What `status_document` adds to a run's document."""


def history(told: Told, home: Path, after_s: float = 0.0) -> dict[str, Any]:
    """The document of a run that was told, so long after the last thing happened."""
    store = told.keep(home)
    try:
        return read_history(store, HomeLayout(home), told.run, told.now + timedelta(seconds=after_s))
    finally:
        store.close()


def groups(found: dict[str, Any]) -> dict[str, float]:
    return {group["key"]: group["seconds"] for group in found["timeline"]["groups"]}


# --- time ------------------------------------------------------------------------


def test_a_sessions_time_is_told_by_what_it_did(tmp_path: Path) -> None:
    told = Told()
    told.session(30, lasts_s=100, first_s=20, last_s=90, lost=10)
    spent = groups(history(told, tmp_path))
    assert spent == {
        "training": 52.5,
        "startup": 20,
        "saving": 4,
        "wasted": 17.5,
        "after_report": 6,
        "handover": 30,
        "queue": 30,
        "quota_wait": 0,
        "parked": 0,
        "delay": 2,
    }


def test_waiting_for_quota_and_for_a_person_are_told_apart(tmp_path: Path) -> None:
    told = Told()
    told.session(100)
    told.happen(RunWaiting(until="2030-01-12T00:00:00+00:00", reason="the hours are spent"))
    told.happen(RunWoken(), after_s=4 * HOUR_S)
    told.happen(RunParked(reason="it broke", remedy="relay retry tiny-0001"), after_s=60)
    told.happen(RunResumed(), after_s=2 * HOUR_S)
    spent = groups(history(told, tmp_path, after_s=60))
    assert (spent["quota_wait"], spent["parked"]) == (4 * HOUR_S, 2 * HOUR_S)


@pytest.mark.slow
@pytest.mark.parametrize("waits", [1, 40, 160])
def test_every_second_of_a_run_is_accounted_for_once_however_long_it_is(tmp_path: Path, waits: int) -> None:
    told = Told(pipeline=TINY)
    for number in range(waits):
        told.session(1 + number, lasts_s=9 * HOUR_S, first_s=600, last_s=8 * HOUR_S)
        told.happen(RunWaiting(until="2040-01-01T00:00:00+00:00", reason="the hours are spent"))
        told.happen(RunWoken(), after_s=30 * HOUR_S)
    found = history(told, tmp_path)["timeline"]
    assert sum(group["seconds"] for group in found["groups"]) == pytest.approx(found["seconds"])
    assert len(found["rows"]) <= timeline.ROWS_MAX
    for line in found["rows"][:-1]:
        assert sum(part["share"] for part in line["stretches"]) == pytest.approx(1, abs=1e-3)
    for line in found["rows"]:
        assert all(a["at"] < b["at"] for a, b in itertools.pairwise(line["stretches"]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 7))
def test_a_simulated_chains_time_is_accounted_for_though_much_goes_wrong(seed: int) -> None:
    plan = random_plan(seed)
    with fast_folder() as home:
        simulation = Simulation(plan, home, None)
        simulation.run()
        chain = simulation.chain
        state, now, facts = chain.state, chain.clock.now(), chain.store.facts(chain.run)
        metrics = chain.store.last_metrics(chain.run)
        run = {**run_document(state, metrics, now), **log_document(state, facts, metrics), **QUIET}
        found = history_document(run, HistorySources(facts=facts, edges=chain.store.step_edges(chain.run)), now)
    assert sum(group["seconds"] for group in found["timeline"]["groups"]) == pytest.approx(found["timeline"]["seconds"])
    # Looks are rare in the queue: a session that was seen to run late says itself that it ran for longer.
    lasted_s = sum(max(session["seconds"] or 0, sum(session["accounted"].values())) for session in run["sessions"])
    assert found["hours"]["total_s"] == pytest.approx(lasted_s, abs=0.01)
    for each in found["hours"]["sessions"].values():
        assert all(spent >= 0 for spent in each["classes"].values())
        assert sum(each["groups"].values()) == pytest.approx(sum(each["classes"].values()))


def test_a_clock_that_was_set_back_loses_no_time_and_counts_none_twice(tmp_path: Path) -> None:
    told = Told()
    told.session(100)
    told.now -= timedelta(hours=1)
    told.session(200)
    found = history(told, tmp_path, after_s=2 * HOUR_S)["timeline"]
    assert sum(group["seconds"] for group in found["groups"]) == pytest.approx(found["seconds"])


def test_the_hours_of_a_session_are_start_up_training_lost_steps_the_last_save_and_the_tail(tmp_path: Path) -> None:
    told = Told()
    told.session(30, lasts_s=100, first_s=20, last_s=90, lost=10)
    found = history(told, tmp_path)["hours"]
    spent = {kind["key"]: kind["seconds"] for kind in found["classes"]}
    assert spent == {"startup": 20, "training_step": 52.5, "wasted": 17.5, "checkpoint_save": 4, "idle_tail": 6}
    assert found["estimated"] == ["tiny-0001-s0001"]
    assert sum(kind["share"] for kind in found["classes"]) == pytest.approx(1)
    assert sum(found["sessions"]["tiny-0001-s0001"]["classes"].values()) == found["total_s"] == 100


def test_a_live_session_counts_as_far_as_it_is(tmp_path: Path) -> None:
    told = Told()
    told.running()
    found = history(told, tmp_path, after_s=45)
    assert found["hours"]["total_s"] == 45
    assert groups(found)["startup"] == 45
    assert found["headline"]["session"]["phase"] == "running"


# --- curves ----------------------------------------------------------------------


@pytest.mark.slow
def test_a_curve_goes_over_the_whole_pipelines_steps_and_says_what_it_shows(tmp_path: Path) -> None:
    found = {curve["name"]: curve for curve in history(trained(), tmp_path)["curves"]}
    assert list(found)[:4] == ["loss", "reward", "accuracy", "format"]
    assert found["format"]["title"] == "Parse rate"
    assert "accuracy_low" not in found, "the end of an interval is no curve of its own"
    grpo = next(line for line in found["reward"]["lines"] if line["stage"] == "grpo")
    assert (grpo["at"][0], grpo["at"][-1]) == (311, 360)
    assert found["loss"]["sentence"].startswith("Loss over the pipeline's steps. sft from 6 to 0.02;")
    assert found["reward"]["table"][0] | {"value": 0, "low": 0, "high": 0} == {
        "stage": "grpo",
        "step": 1,
        "value": 0,
        "low": 0,
        "high": 0,
    }


@pytest.mark.slow
def test_each_metric_that_people_plot_is_a_curve_in_the_order_in_which_they_look(tmp_path: Path) -> None:
    found = {curve["name"]: curve for curve in history(trained(), tmp_path)["curves"]}
    assert list(found)[4:] == [
        "kl", "grad_norm", "learning_rate", "idle_groups", "mean_length", "max_length", "truncated_share", "logprob",
        "tokens_per_s", "examples_per_s", "memory_bytes", "asked",
    ]  # fmt: skip
    assert "sft from 2.994e-05 to 1.085e-05" in found["learning_rate"]["sentence"]
    assert found["truncated_share"]["share"] and found["idle_groups"]["share"]
    assert "highest 12.5." in found["memory_bytes"]["sentence"]
    assert not {"tokens", "examples"} & found.keys(), "counts are there for their rates"


@pytest.mark.slow
def test_speed_memory_and_lengths_are_no_rates_of_an_evaluation(tmp_path: Path) -> None:
    names = [rate["name"] for rate in history(trained(), tmp_path)["evaluations"]["rates"]]
    assert names == ["accuracy", "format", "truncated_share"]


@pytest.mark.slow
def test_a_curve_as_a_table_holds_its_ends_and_is_short(tmp_path: Path) -> None:
    loss = history(trained(), tmp_path)["curves"][0]
    steps = [found["step"] for found in loss["table"] if found["stage"] == "sft"]
    assert (steps[0], steps[-1]) == (1, 300)
    assert len(steps) == curves.TABLE_ROWS_MAX


def test_values_far_apart_get_a_logarithmic_scale_unless_one_is_not_positive() -> None:
    def loss(*values: float) -> bool:
        points = [
            CurvePoint(stage="sft", name="loss", step=step, value=value, low=value, high=value)
            for step, value in enumerate(values, 1)
        ]
        stages = [{"name": "sft", "target": 9}]
        return bool(curves.curves(points, stages, {"sft": 0})[0]["logarithmic"])

    assert loss(5.0, 0.01)
    assert not loss(5.0, 1.0)
    assert not loss(5.0, -0.01)
    assert not loss(5.0, 0.0)


@pytest.mark.slow
@given(st.integers(1, 500), st.integers(2, 60))
def test_thinning_keeps_both_ends_and_no_more_than_asked(count: int, most: int) -> None:
    kept = curves.thin_indices(count, most)
    assert len(kept) <= most
    assert (kept[0], kept[-1]) == (0, count - 1)
    assert kept == sorted(set(kept))


# --- results ---------------------------------------------------------------------


@pytest.mark.slow
def test_evaluations_stand_side_by_side_with_their_intervals_and_the_change(tmp_path: Path) -> None:
    found = history(trained(), tmp_path)["evaluations"]
    assert [stage["name"] for stage in found["stages"]] == ["after-sft", "after-grpo", "after-continued"]
    rate = found["rates"][0]
    assert rate["label"] == "Accuracy"
    assert rate["values"][0] == {"value": 310 / 470, "low": 310 / 470 * 0.9, "high": 310 / 470 * 1.1}
    assert rate["change"] == pytest.approx(160 / 470)
    assert [rate["label"] for rate in found["rates"]] == ["Accuracy", "Parse rate", "Answers cut off"]


def test_the_same_problem_stands_beside_itself_what_was_learned_first() -> None:
    before = artifact([row("same", True), row("learned", False), row("only-before", False)])
    after = artifact([row("same", True), row("only-after", False), row("learned", True)])
    run = {"stages": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}
    found = results.samples(run, {"a": before, "b": artifact([]), "c": after})
    assert found is not None
    assert (found["before"], found["after"], found["shared"]) == ("a", "c", 2)
    assert [problem["question"] for problem in found["problems"]] == ["What is learned + 1?", "What is same + 1?"]
    assert [found["problems"][0][side]["right"] for side in ("before", "after")] == [False, True]


def test_evaluations_that_kept_different_problems_show_their_own() -> None:
    run = {"stages": [{"name": "a"}, {"name": "b"}]}
    found = results.samples(run, {"a": artifact([row("1", False)]), "b": artifact([row("2", False)])})
    assert found is not None
    assert [(bool(p["before"]), bool(p["after"])) for p in found["problems"]] == [(True, False), (False, True)]


def test_a_line_that_is_no_answer_is_passed_over_and_a_long_one_is_cut() -> None:
    odd = ["not json", "[1]", '{"key": 3}', json.dumps(row("1", False, answer="x" * 10_000)), '{"key": "2", "question"']
    found = results.samples({"stages": [{"name": "a"}]}, {"a": "{}\n" + "\n".join(odd)})
    assert found is not None
    (problem,) = found["problems"]
    assert problem["before"]["text"].endswith("(6,000 more characters)")
    assert problem["after"] is None


# --- checkpoints, versions, the beginning -----------------------------------------------


@pytest.mark.slow
def test_the_chain_is_whole_as_long_as_every_parent_is_known(tmp_path: Path) -> None:
    told = trained(4)
    told.happen(DamageFound(checkpoint="tiny-0001-c0002", file="state.bin", place="disk", problem="other bytes"))
    whole = history(told, tmp_path / "whole")["checkpoints"]
    assert (whole["whole"], whole["length"]) == (True, 4)
    assert [found["parent"] for found in whole["checkpoints"]] == [None, *(f"tiny-0001-c000{n}" for n in (1, 2, 3))]
    assert [found["damage"] for found in whole["checkpoints"]] == [0, 1, 0, 0]
    assert whole["checkpoints"][0]["places"] == ["this machine", "Kaggle: me/tiny-0001-c0001"]
    orphan = Told()
    orphan.session(10)
    orphan.past = [(at, _of_unknown_parent(fact)) for at, fact in orphan.past]
    assert history(orphan, tmp_path / "orphan")["checkpoints"]["whole"] is False


def _of_unknown_parent(fact: Fact) -> Fact:
    return (
        replace(fact, manifest=replace(fact.manifest, parent="f" * 64)) if isinstance(fact, OutputCollected) else fact
    )


@pytest.mark.slow
def test_a_version_that_changed_in_between_has_a_row_for_each(tmp_path: Path) -> None:
    told = trained(3)
    slug, last = told.reports[-1]
    told.reports[-1] = (slug, replace(last, versions={**last.versions, "jax": "0.11.0"}))
    found = [found for found in history(told, tmp_path)["versions"] if found["name"] == "jax"]
    assert [(f["version"], f["first"], f["last"]) for f in found] == [
        ("0.10.2", "s0001", "s0002"),
        ("0.11.0", "s0003", "s0003"),
    ]


@pytest.mark.slow
def test_a_report_of_another_session_says_nothing_here(tmp_path: Path) -> None:
    told = trained(2)
    told.reports[0] = (told.reports[0][0], replace(told.reports[0][1], session=7))
    assert [found["sessions"] for found in history(told, tmp_path)["versions"]] == [1, 1]


def test_a_run_that_has_just_begun_has_a_history(tmp_path: Path) -> None:
    found = history(Told(), tmp_path)
    assert found["headline"]["to_do"]["command"] == "relay daemon"
    assert (found["curves"], found["samples"], found["versions"]) == ([], None, [])
    assert found["checkpoints"]["checkpoints"] == []


@pytest.mark.slow
def test_what_to_do_is_what_the_status_says(tmp_path: Path) -> None:
    told = Told()
    told.failure("Traceback\nValueError: no data")
    told.happen(RunParked(reason="it broke", remedy="relay retry tiny-0001", excerpt="ValueError: no data"))
    head = history(told, tmp_path / "parked")["headline"]
    assert (head["state"], head["to_do"]) == ("parked", {"message": "it broke", "command": "relay retry tiny-0001"})
    told.happen(RunCancelled(), after_s=60)
    head = history(told, tmp_path / "cancelled")["headline"]
    assert (head["to_do"]["command"], head["ended_at"]) == (None, (AT + timedelta(seconds=127)).isoformat())


def test_the_forecast_is_the_run_documents_own(tmp_path: Path) -> None:
    told = Told()
    told.session(200)
    head = history(told, tmp_path)["headline"]
    assert head["forecast"] is None
    assert "no time is known of" in head["forecast_problem"]
