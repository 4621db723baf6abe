"""Each assumption is stated whole, and the evidence that counts is the newest that says something."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.assumptions import ASSUMPTIONS, Assumption, Evidence, Observation, Verdict, fold, measured
from orchestrator.views.assumptions_page import filled

DOCS = Path(__file__).parents[3] / "docs"
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def test_the_page_has_the_table() -> None:
    page = (DOCS / "kaggle.md").read_text(encoding="utf-8")
    assert filled(page) == page, "run: make reference"
    links = set(re.findall(r"\[(\d+)\]", " ".join(assumption.source for assumption in ASSUMPTIONS.values())))
    assert links == {number for number in links if f"\n[{number}]: https" in page}
    assert all(page.count(f"| `{key}`") == 1 for key in ASSUMPTIONS)


def seen(key: str = "internet", verdict: str = "confirmed", hour: int = 0, **numbers: float) -> Evidence:
    return Evidence(key=key, verdict=Verdict(verdict), seen_at=NOON + timedelta(hours=hour), numbers=numbers)


@pytest.mark.parametrize("assumption", ASSUMPTIONS.values(), ids=ASSUMPTIONS)
def test_each_assumption_is_stated_in_whole_sentences(assumption: Assumption) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", assumption.key)
    for sentence in (assumption.assumes, assumption.if_refuted):
        assert sentence.endswith(".")
        assert len(sentence) < 180
        assert "|" not in sentence
    assert assumption.source
    assert not (assumption.copes and assumption.stops), "what relay copes with stops no run"
    assert assumption.observed_by
    assert Observation.NOT not in assumption.observed_by or len(assumption.observed_by) == 1
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in assumption.numbers)


def test_a_probe_sees_what_the_table_says_and_nothing_else() -> None:
    places = ("stages/probing/*.py", "orchestrator/app/probe/*.py", "orchestrator/core/probe_evidence.py")
    code = "".join(path.read_text(encoding="utf-8") for place in places for path in DOCS.parent.glob(place))
    probes = {Observation.CPU_PROBE, Observation.TPU_PROBE}
    told = {key for key, assumption in ASSUMPTIONS.items() if probes & {*assumption.observed_by}}
    assert told == {key for key in ASSUMPTIONS if f'"{key}"' in code}


def test_an_ordinary_run_keeps_evidence_of_what_the_table_says_and_nothing_else() -> None:
    core = DOCS.parent / "orchestrator" / "core"
    code = "".join((core / name).read_text(encoding="utf-8") for name in ("probe_evidence.py", "run_evidence.py"))
    told = {key for key, assumption in ASSUMPTIONS.items() if Observation.RUNS in assumption.observed_by}
    assert told == {key for key in ASSUMPTIONS if f'"{key}"' in code} - {"log-kept", "dataset-version-mounts"}, (
        "a log is read while it is written, and only probes name a version"
    )


def test_a_key_names_one_assumption() -> None:
    assert all(key == assumption.key for key, assumption in ASSUMPTIONS.items())
    assert len({assumption.assumes for assumption in ASSUMPTIONS.values()}) == len(ASSUMPTIONS)


@pytest.mark.parametrize(
    ("verdicts", "counts"),
    [
        (["confirmed"], 0),
        (["unknown"], 0),
        (["unknown", "confirmed"], 1),
        (["confirmed", "unknown"], 0),
        (["confirmed", "refuted"], 1),
        (["refuted", "confirmed"], 1),
        (["refuted", "unknown", "unknown"], 0),
        (["unknown", "unknown"], 1),
    ],
)
def test_the_newest_evidence_that_says_something_counts(verdicts: list[str], counts: int) -> None:
    ordered = [seen(verdict=verdict, hour=hour) for hour, verdict in enumerate(verdicts)]
    assert fold(ordered) == {"internet": ordered[counts]}
    assert fold(reversed(ordered)) == {"internet": ordered[counts]}


def test_keys_are_folded_apart() -> None:
    found = fold([seen("internet", "refuted"), seen("queue-time", "unknown", 1)])
    assert {key: each.verdict.value for key, each in found.items()} == {"internet": "refuted", "queue-time": "unknown"}


@given(st.permutations([seen(verdict=v, hour=h) for h, v in enumerate(["unknown", "confirmed", "refuted", "unknown"])]))
def test_the_order_of_evidence_changes_nothing(given_order: list[Evidence]) -> None:
    assert fold(given_order)["internet"].verdict is Verdict.REFUTED


def test_measured_numbers_are_read_oldest_first() -> None:
    evidence = [
        seen("queue-time", "unknown", 3, cpu_s=9.0),
        seen("queue-time", hour=1, tpu_s=600.0, cpu_s=4.0),
        seen("queue-time", hour=2),
        seen("session-limit", cpu_s=1.0),
    ]
    assert measured(evidence, "queue-time", "cpu_s") == [4.0, 9.0]
    assert measured(evidence, "queue-time", "gpu_s") == []


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"key": "no-such"}, "no such assumption"),
        ({"seen_at": datetime(2026, 1, 1)}, "not in UTC"),  # noqa: DTZ001
        ({"detail": "two\nlines"}, "not one line"),
        ({"detail": "\u202eback"}, "not one line"),
        ({"detail": "x" * 301}, "not one line"),
        ({"numbers": {"cpu_s": 1.0}}, "no number cpu_s"),
        ({"key": "queue-time", "numbers": {"cpu_s": float("nan")}}, "not finite"),
        ({"key": "queue-time", "numbers": {"cpu_s": -1.0}}, "negative"),
    ],
)
def test_evidence_that_cannot_be_is_refused(values: dict[str, object], why: str) -> None:
    usual = {"key": "internet", "verdict": Verdict.CONFIRMED, "seen_at": NOON}
    with pytest.raises(ValueError, match=why):
        Evidence(**{**usual, **values})  # type: ignore[arg-type]
