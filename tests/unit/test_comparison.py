"""A comparison of runs: every number in it is computed here a second time, and what cannot be compared is said."""

import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.base.disk import private_folder
from orchestrator.engine.home import HomeLayout
from orchestrator.pipeline.model import Pipeline
from orchestrator.views.comparison_text import (
    accuracy_text,
    cell_text,
    gain_text,
    p_text,
    significance_text,
    weights_text,
)
from orchestrator.views.history.compared_pipelines import pipeline_differences
from orchestrator.views.history.compared_weights import compare_weights
from orchestrator.views.history.quota_clock import QuotaClock
from orchestrator.views.history.verdicts import verdicts_in
from orchestrator.views.pages import render
from orchestrator.views.run_comparison import read_comparison
from state.facts.run import RunFinished
from state.model.metrics import StepSeen
from state.store import Store
from tests.unit.histories import EVIL, TINY, Told
from tests.unit.test_report import Page

HOUR_S = 3600.0


def trained_run(
    run: str, pipeline: Pipeline = TINY, sessions: int = 3, lasts_s: float = 3600.0, better: float = 0.0
) -> Told:
    """A finished run, all of whose evaluations are better by so much."""
    found = Told(run=run, pipeline=pipeline)
    total = pipeline.total_steps
    for number in range(1, sessions + 1):
        found.session(total * number // sessions, lasts_s=lasts_s, first_s=600.0, last_s=lasts_s - 300.0)
    found.metrics = [
        replace(one, value=0.5 * one.value + better) if one.name == "accuracy" else one for one in found.metrics
    ]
    found.happen(RunFinished(), after_s=5)
    return found


def changed(**changes: Any) -> Pipeline:
    """The tiny pipeline with other keys; `stages` takes a function of the list of stages."""
    value = json.loads(TINY.canonical())
    if "stages" in changes:
        value["stages"] = changes.pop("stages")(value["stages"])
    return Pipeline.from_canonical(json.dumps({**value, **changes}))


def verdict_lines(rights: Mapping[str, bool]) -> str:
    return "".join(json.dumps({"key": key, "set": "gsm8k", "right": right}) + "\n" for key, right in rights.items())


def compared(
    home: Path, *runs: Told, verdicts: Mapping[tuple[str, str], Mapping[str, bool]] | None = None
) -> dict[str, Any]:
    """The document of these runs, with verdicts by run and evaluation."""
    for run in runs:
        run.keep(home).close()
    for (run_id, stage), rights in (verdicts or {}).items():
        folder = private_folder(HomeLayout(home).artifacts(run_id))
        (folder / f"verdicts-{stage}.jsonl").write_text(verdict_lines(rights), encoding="utf-8")
    reader = Store.at(home)
    try:
        now = max(run.now for run in runs) + timedelta(hours=1)
        return read_comparison(reader, HomeLayout(home), [run.run for run in runs], now)
    finally:
        reader.close()


# --- verdicts -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ('{"key": "a", "set": "s", "right": true}\n{"key": "b", "right": false}\n', {"a": True, "b": False}),
        (
            '{"key": "a", "right": true}\nnot json\n[1]\n{"key": 3, "right": true}\n{"key": "b", "right": 1}\n',
            {"a": True},
        ),
        ('{"key": "a", "right": true}\n{"key": "a", "right": true}\n', {"a": True}),
        ('{"key": "a", "right": true}\n{"key": "a", "right": false}\n{"key": "a", "right": true}\n', {}),
    ],
)
def test_verdicts_are_read_and_lines_that_are_none_are_skipped(text: str, found: dict[str, bool]) -> None:
    assert verdicts_in(text) == found


@given(st.dictionaries(st.text("0123456789abcdef", min_size=16, max_size=16), st.booleans()))
def test_verdicts_come_back_as_they_were_written(rights: dict[str, bool]) -> None:
    assert verdicts_in(verdict_lines(rights)) == rights


@given(st.text())
def test_no_text_keeps_verdicts_from_being_read(text: str) -> None:
    assert all(isinstance(right, bool) for right in verdicts_in(text).values())


# --- evaluations --------------------------------------------------------------------


@pytest.mark.slow
def test_answers_to_the_same_problems_are_paired_and_tested_by_mcnemar(tmp_path: Path) -> None:
    from scipy import stats  # takes seconds

    draw = random.Random(5)
    keys = [f"{number:016x}" for number in range(300)]
    first = {key: draw.random() < 0.4 for key in keys[:250]}
    second = {key: draw.random() < 0.6 for key in keys[40:]}
    verdicts = {("tiny-a", "after-grpo"): first, ("tiny-b", "after-grpo"): second}
    found = compared(tmp_path, trained_run("tiny-a"), trained_run("tiny-b"), verdicts=verdicts)
    test = next(one for one in found["tests"] if one["stage"] == "after-grpo")
    shared = [key for key in keys if key in first and key in second]
    better = [key for key in shared if second[key] > first[key]]
    worse = [key for key in shared if second[key] < first[key]]
    assert test["paired"]
    assert (test["problems"], test["asked"], test["asked_with"]) == (210, 260, 250)
    assert (test["only_run"], test["only_with"]) == (len(better), len(worse))
    assert test["p"] == pytest.approx(stats.binomtest(len(better), len(better) + len(worse)).pvalue)
    rate = [sum(rights[key] for key in shared) / 210 for rights in (second, first)]
    assert test["difference"] == pytest.approx(rate[0] - rate[1])
    assert "McNemar" in significance_text(test)
    assert "210 same problems (of 260 and 250 asked)" in significance_text(test)


@pytest.mark.slow
def test_without_verdicts_two_shares_are_compared_and_that_is_said(tmp_path: Path) -> None:
    from scipy import stats  # takes seconds

    found = compared(tmp_path, trained_run("tiny-a"), trained_run("tiny-b", better=0.25))
    test = next(one for one in found["tests"] if one["stage"] == "after-continued")
    values = next(row["values"] for row in found["evaluations"] if row["stage"] == "after-continued")
    right = [round(64 * value["accuracy"]) for value in values]
    assert test["p"] == pytest.approx(stats.fisher_exact([[right[1], 64 - right[1]], [right[0], 64 - right[0]]]).pvalue)
    assert test["difference"] == pytest.approx(0.25)
    assert (test["paired"], test["test"]) == (False, "Fisher's exact test")
    assert "unpaired, 64 and 64 answers" in significance_text(test)
    assert test["notes"] == [
        "tiny-b has no verdicts of after-continued here; tiny-a has no verdicts of after-continued here"
    ]


@pytest.mark.slow
def test_evaluations_without_a_problem_in_common_are_not_paired(tmp_path: Path) -> None:
    verdicts = {("tiny-a", "after-sft"): {"x": True}, ("tiny-b", "after-sft"): {"y": True}}
    found = compared(tmp_path, trained_run("tiny-a"), trained_run("tiny-b"), verdicts=verdicts)
    test = next(one for one in found["tests"] if one["stage"] == "after-sft")
    assert not test["paired"]
    assert test["notes"] == ["no problem was asked in both, so the problems may differ in difficulty"]


def test_the_last_evaluations_are_compared_under_different_names_and_what_is_alone_is_said(tmp_path: Path) -> None:
    short = changed(stages=lambda stages: stages[:4])
    found = compared(tmp_path, trained_run("tiny-a"), trained_run("tiny-b", short))
    assert [(one["stage"], one["with_stage"]) for one in found["tests"]] == [
        ("after-sft", "after-sft"),
        ("after-grpo", "after-grpo"),
        ("after-grpo", "after-continued"),
    ]
    assert "only tiny-a has measured after-continued, not tiny-b" in found["not_compared"]
    assert "compare each with 0.05 / 3" in found["caveats"][-1]
    assert found["stages"] is None


@pytest.mark.slow
def test_an_unfinished_evaluation_is_named_with_its_progress(tmp_path: Path) -> None:
    half = Told(run="tiny-b")
    half.session(305, lasts_s=3600.0)
    found = compared(tmp_path, trained_run("tiny-a"), half)
    (test, *_) = found["tests"]
    assert test["notes"][-1] == "tiny-b has done 5 of 10 steps of after-sft"
    assert any(sentence.startswith("Not over yet: tiny-b.") for sentence in found["caveats"])
    assert "accuracy gained per hour by tiny-b: that takes two finished evaluations" in found["not_compared"]


def test_a_run_that_has_just_begun_is_compared_without_a_blank(tmp_path: Path) -> None:
    found = compared(tmp_path, trained_run("tiny-a"), Told(run="tiny-b"))
    assert {"tiny-b has not evaluated yet", "tiny-b has not reported a step"} <= set(found["not_compared"])
    assert (found["curves"], found["tests"]) == ([], [])
    assert weights_text(found["weights"][0]) == "tiny-b and tiny-a: not compared, since tiny-b has no checkpoint"
    assert found["hours"][1]["stages"] == []


# --- hours --------------------------------------------------------------------------


def seen(session: int, stage: str, step: int, at_s: float) -> StepSeen:
    return StepSeen(session=session, attempt=1, stage=stage, step=step, at_s=at_s)


SESSIONS = [
    {"number": number, "attempt": 1, "seconds": seconds} for number, seconds in ((1, 100.0), (2, 50.0), (3, None))
]


@pytest.mark.parametrize(
    ("steps", "asked", "quota_s"),
    [
        ([seen(1, "a", 2, 20.0)], 2, 20.0),
        ([seen(1, "a", 2, 20.0), seen(2, "a", 4, 10.0)], 4, 110.0),
        ([seen(1, "a", 2, 20.0), seen(2, "a", 4, 10.0)], 3, 65.0),
        ([seen(1, "a", 2, 20.0), seen(1, "a", 3, 30.0), seen(2, "a", 3, 10.0)], 3, 110.0),
        ([seen(1, "a", 2, 20.0), seen(1, "a", 8, 80.0), seen(2, "a", 3, 10.0)], 8, 110.0),
        ([seen(1, "a", 5, 20.0)], 1, 20.0),
        ([seen(2, "a", 5, 999.0)], 5, 150.0),
        ([seen(9, "a", 5, 1.0)], 5, None),
        ([seen(1, "b", 5, 1.0)], 5, None),
    ],
    ids=["own", "later", "between", "repeated", "gone back", "before", "clock", "unknown session", "other stage"],
)
def test_the_quota_at_a_step_is_that_of_earlier_sessions_and_the_sessions_own(
    steps: Sequence[StepSeen], asked: int, quota_s: float | None
) -> None:
    clock = QuotaClock(SESSIONS, steps)
    assert clock.at("a", asked) == quota_s
    assert clock.total_s == 150.0


@pytest.mark.slow
def test_what_hours_bought_is_the_change_in_accuracy_over_the_quota_in_between(tmp_path: Path) -> None:
    found = compared(tmp_path, trained_run("tiny-a", sessions=1, lasts_s=47_300.0), trained_run("tiny-b"))
    gains = found["hours"][0]["gains"]
    assert [(gain["from"], gain["to"]) for gain in gains] == [
        ("after-sft", "after-grpo"),
        ("after-grpo", "after-continued"),
        ("after-sft", "after-continued"),
    ]
    step_s = (47_300.0 - 300.0 - 600.0) / 469  # the first of 470 steps ends after 600 s
    for gain, steps in zip(gains, (60, 100, 160), strict=True):
        assert gain["quota_s"] == pytest.approx(steps * step_s, abs=0.01)
        assert gain["per_hour"] == pytest.approx(gain["change"] / (steps * step_s / HOUR_S), rel=1e-4)
        assert "of quota: +" in gain_text(gain, "tiny-a")


@pytest.mark.slow
def test_the_quota_of_the_stages_adds_up_to_that_of_the_run(tmp_path: Path) -> None:
    found = compared(tmp_path, trained_run("tiny-a"), trained_run("tiny-b", sessions=5))
    for hours in found["hours"]:
        assert sum(stage["quota_s"] for stage in hours["stages"]) + hours["after_s"] == pytest.approx(hours["quota_s"])
    assert [hours["quota_s"] for hours in found["hours"]] == [3 * 3600.0, 5 * 3600.0]


# --- curves -------------------------------------------------------------------------


@pytest.mark.slow
def test_curves_lie_over_each_other_by_step_and_by_quota_hour(tmp_path: Path) -> None:
    found = compared(tmp_path, trained_run("tiny-a"), trained_run("tiny-b", lasts_s=7200.0))
    loss = next(curve for curve in found["curves"] if curve["name"] == "loss")
    assert {(line["run"], line["stage"]) for line in loss["lines"]} == {
        (run, stage) for run in ("tiny-a", "tiny-b") for stage in ("sft", "grpo", "curate", "continued")
    }
    for line in loss["lines"]:
        assert line["hours"] == sorted(line["hours"])
        assert len(line["hours"]) == len(line["at"]) == len(line["value"])
    first = {line["run"]: line for line in loss["lines"] if line["stage"] == "sft"}
    assert first["tiny-a"]["at"] == first["tiny-b"]["at"]
    assert first["tiny-a"]["hours"][0] == pytest.approx(600 / HOUR_S, abs=1e-5)
    assert first["tiny-b"]["hours"][-1] > 1.9 * first["tiny-a"]["hours"][-1]
    assert found["stages"] is not None


@pytest.mark.slow
def test_a_metric_of_one_run_alone_is_named_and_not_drawn(tmp_path: Path) -> None:
    first, second = trained_run("tiny-a"), trained_run("tiny-b")
    second.metrics = [one for one in second.metrics if one.name not in ("kl", "reward")]
    found = compared(tmp_path, first, second)
    assert "only tiny-a has reported reward, kl" in found["not_compared"]
    assert {curve["name"] for curve in found["curves"]}.isdisjoint({"kl", "reward"})


# --- pipelines and weights ------------------------------------------------------------


def stage(name: str, kind: str = "counting", steps: int = 3, **options: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "steps": steps, "options": options}


@pytest.mark.parametrize(
    ("pipelines", "differing"),
    [
        ([{"stages": [stage("a")]}, {"stages": [stage("a")]}], []),
        ([{"seed": 0, "stages": []}, {"seed": 1, "stages": []}], [("seed", [0, 1])]),
        ([{"stages": [stage("a")]}, {"stages": [stage("a", step_s=0.0)]}], []),
        (
            [{"stages": [stage("a")]}, {"stages": [stage("a", step_s=0.5)]}],
            [("stages.a.options.step_s", [0.0, 0.5])],
        ),
        (
            [{"stages": [stage("a"), stage("b")]}, {"stages": [stage("a")]}],
            [("order of stages", ["a b", "a"]), ("stages.b", ["counting, 3 steps", None])],
        ),
        (
            [{"stages": [stage("a"), stage("b")]}, {"stages": [stage("b"), stage("a")]}],
            [("order of stages", ["a b", "b a"])],
        ),
        (
            [{"stages": [stage("a", "my.stage:train", x=1)]}, {"stages": [stage("a", "my.stage:train")]}],
            [("stages.a.options.x", [1, None])],
        ),
        (
            [{"stages": [stage("a", odd=1)]}, {"stages": [stage("a", odd=2)]}],
            [("stages.a.options.odd", [1, 2])],
        ),
        (
            [{"seed": seed, "stages": []} for seed in (0, 0, 2)],
            [("seed", [0, 0, 2])],
        ),
    ],
)
def test_pipelines_differ_in_what_is_in_force(
    pipelines: list[dict[str, Any]], differing: list[tuple[str, list[Any]]]
) -> None:
    assert [(row["key"], row["values"]) for row in pipeline_differences(pipelines)] == differing


def test_a_long_text_is_told_by_its_length_and_digest() -> None:
    pipelines = [{"stages": [], "sources": {"mine.py": text * 300}} for text in ("a", "b")]
    (row,) = pipeline_differences(pipelines)
    assert row["key"] == "sources.mine.py"
    assert [value.split(",")[0] for value in row["values"]] == ["300 characters"] * 2
    assert row["values"][0] != row["values"][1]


def checkpoint(place: str, contents: dict[str, str], status: str = "published") -> dict[str, Any]:
    name, _, step = place.partition(":")
    return {"stage": name, "step": int(step), "contents": contents, "status": status}


def run_of(run: str, *checkpoints: dict[str, Any]) -> dict[str, Any]:
    return {"id": run, "checkpoints": list(checkpoints)}


W, V = {"weights": "w", "optimizer": "1"}, {"weights": "v", "optimizer": "1"}


@pytest.mark.parametrize(
    ("mine", "others", "equal", "last_equal"),
    [
        ([("a:1", W)], [("a:1", W)], True, "a:1"),
        ([("a:1", W)], [("b:9", {"weights": "w", "optimizer": "2"})], True, None),
        ([("a:1", W)], [("a:1", V)], False, None),
        ([("a:1", W), ("a:2", W)], [("a:1", W), ("a:2", V)], False, "a:1"),
        ([("a:1", {})], [("a:1", W)], None, None),
        ([], [("a:1", W)], None, None),
        ([("a:1", {"state": "1"})], [("a:1", {"state": "1"})], True, "a:1"),
        ([("a:1", {"state": "1"})], [("a:1", {"state": "2"})], False, None),
    ],
)
def test_weights_are_equal_where_their_digests_are(
    mine: list[tuple[str, dict[str, str]]],
    others: list[tuple[str, dict[str, str]]],
    equal: bool | None,
    last_equal: str | None,
) -> None:
    runs = [run_of(run, *(checkpoint(*one) for one in found)) for run, found in (("r", mine), ("o", others))]
    found = compare_weights(*runs)
    place = found["last_equal"]
    assert found["equal"] is equal
    assert (place and f"{place['stage']}:{place['step']}") == last_equal
    said = weights_text(found)
    assert ("the same weights" in said, "different weights" in said, "not compared" in said) == (
        equal is True,
        equal is False,
        equal is None,
    )


def test_a_damaged_checkpoint_says_nothing_about_weights() -> None:
    found = compare_weights(
        run_of("r", checkpoint("a:1", W), checkpoint("a:2", V, "damaged")), run_of("o", checkpoint("a:1", W))
    )
    assert found["equal"] is True
    assert found["newest"] == {"stage": "a", "step": 1}


# --- words and pages ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), ("word", "word"), (0.0001, "0.0001"), ([1, "a"], '[1, "a"]'), (True, "true")]
)
def test_a_value_of_a_pipeline_is_shown_as_it_is_written(value: object, text: str) -> None:
    assert cell_text(value) == text


@pytest.mark.parametrize(("p", "text"), [(1.0, "p = 1"), (0.0312, "p = 0.031"), (0.00002, "p < 0.0001")])
def test_a_p_value_has_two_digits(p: float, text: str) -> None:
    assert p_text(p) == text


def test_an_accuracy_is_shown_with_its_interval_and_its_problems() -> None:
    value = {"accuracy": 0.5, "low": 0.38, "high": 0.62, "asked": 64.0, "done": 1, "target": 10}
    assert accuracy_text(value) == "50.0 % (38.0 to 62.0 %) of 64, so far"
    assert accuracy_text(None) == "–"


@pytest.mark.slow
def test_the_page_is_whole_asks_for_nothing_and_shows_hostile_names_as_text(tmp_path: Path) -> None:
    found = compared(tmp_path, trained_run("tiny-a"), trained_run("tiny-b", changed(seed=3)))
    found["not_compared"].append(EVIL)
    found["differences"].append({"key": EVIL, "values": [EVIL, None]})
    found["curves"][0]["lines"][0]["stage"] = EVIL
    text = render.comparison_page(found)
    page = Page(text)
    assert page.open == [], "an element is not closed"
    asked = [value for _, attrs in page.tags for key, value in attrs.items() if key in ("src", "href") and value]
    assert [value for value in asked if not value.startswith("#")] == []
    assert "<script>window.hacked" not in text
    assert "img" not in [tag for tag, _ in page.tags]
    assert "window.hacked = true" in page.text
    axes = [attrs["data-axis"] for _, attrs in page.tags if attrs.get("data-curve") == "loss"]
    assert axes == ["at", "hours"]


def test_lines_of_two_dozen_runs_differ_in_colour_or_in_dashes_and_neighbours_in_both() -> None:
    styles = [(one["stroke"], one["dashes"]) for one in render.line_styles([str(number) for number in range(24)])]
    assert len(set(styles)) == 24
    for one, other in itertools.pairwise(styles):
        assert one[0] != other[0]
        assert one[1] != other[1]
