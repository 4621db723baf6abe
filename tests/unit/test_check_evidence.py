"""`relay check` shows what was seen on the account: what did not hold first, with what to do."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.core.assumptions import ASSUMPTIONS, Evidence, Verdict, fold
from orchestrator.engine.evidence_files import EvidenceFiles
from orchestrator.pipeline.loader import parse
from orchestrator.preflight.check import evidence
from orchestrator.preflight.check.findings import CheckSubject, Finding
from tests.simulation.pipelines import PIPELINE

AT = datetime(2026, 11, 29, 12, tzinfo=UTC)


def seen(key: str, verdict: Verdict, detail: str = "") -> Evidence:
    return Evidence(key=key, verdict=verdict, seen_at=AT, detail=detail)


def found(own: list[Evidence], others: list[Evidence]) -> list[Finding]:
    return list(evidence.findings_of(fold(own), fold(others), "relay probe sim.yaml"))


def subject(home: Path) -> CheckSubject:
    return CheckSubject(Path("sim.yaml"), parse(PIPELINE, "sim.yaml"), home, home, {}, AT)


def test_what_did_not_hold_comes_first_and_says_what_to_do() -> None:
    first, second, held, unseen = found(
        [
            seen("internet", Verdict.REFUTED, "no answer from PyPI"),
            seen("mount-layout", Verdict.REFUTED),
            seen("output-kept", Verdict.CONFIRMED),
            seen("version-label", Verdict.UNKNOWN),
        ],
        [],
    )
    assert (first.state, second.state, held.state, unseen.state) == ("warning", "note", "ok", "note")
    told = "internet did not hold on 2026-11-29 (no answer from PyPI), which stops a run. Assumed: A session"
    assert first.sentence.startswith(told)
    assert first.remedy == ASSUMPTIONS["internet"].if_refuted.removesuffix(".")
    assert "relay copes: The session searches all of `/kaggle/input`" in second.sentence
    assert held.sentence == "1 assumption held on this account, the last one on 2026-11-29"
    assert unseen.remedy.startswith("relay probe sim.yaml")


def test_unknown_ones_are_counted_until_they_are_seen() -> None:
    (before,) = found([], [])
    (after,) = found([seen("version-label", Verdict.UNKNOWN)], [])
    total = int(before.sentence.split()[0])
    assert before.sentence == after.sentence
    *_, one_less = found([seen("version-label", Verdict.CONFIRMED)], [])
    assert one_less.sentence.startswith(f"{total - 1} of {total} assumptions")


@pytest.mark.parametrize(
    ("own", "told"),
    [([], True), ([seen("internet", Verdict.UNKNOWN)], True), ([seen("internet", Verdict.CONFIRMED)], False)],
)
def test_what_others_saw_is_told_only_where_this_account_saw_nothing(own: list[Evidence], told: bool) -> None:
    others = [seen("internet", Verdict.REFUTED)]
    said = [finding.sentence for finding in found(own, others) if "of others" in finding.sentence]
    assert said == (["on the accounts of others this did not hold: internet"] if told else [])


def test_offline_it_is_the_evidence_of_the_only_account(tmp_path: Path) -> None:
    files = EvidenceFiles(tmp_path)
    files.add("alice", [seen("internet", Verdict.REFUTED)])
    assert [finding.state for finding in evidence.offline(subject(tmp_path))] == ["warning", "note"]
    files.add("bob", [replace(seen("internet", Verdict.CONFIRMED))])
    assert [finding.state for finding in evidence.offline(subject(tmp_path))] == ["note"]


def test_a_damaged_file_is_one_warning_with_the_remedy(tmp_path: Path) -> None:
    EvidenceFiles(tmp_path).add("alice", [seen("internet", Verdict.REFUTED)])
    (path,) = (tmp_path / "evidence").rglob("*.json")
    path.write_text("{", encoding="utf-8")
    (finding,) = evidence.offline(subject(tmp_path))
    assert finding.state == "warning"
    assert str(path) in finding.sentence
    assert finding.remedy == "delete it, and relay probe PIPELINE collects evidence anew"
