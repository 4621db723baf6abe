"""Evidence is kept per account, survives damage with one sentence, and is handed to others without names."""

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.app import evidence as book
from orchestrator.app.settings import Settings
from orchestrator.app.workspace import Workspace
from orchestrator.base.errors import BadInput
from orchestrator.cli import main
from orchestrator.core import evidence_document
from orchestrator.core.assumptions import ASSUMPTIONS, Evidence, Verdict
from orchestrator.engine.evidence_files import EvidenceFiles, account
from state.facts.run import RunStarted
from state.store import Store

AT = datetime(2026, 11, 29, 13, 45, 12, 345, tzinfo=UTC)
SEEN = Evidence(key="processing-time", verdict=Verdict.CONFIRMED, seen_at=AT, numbers={"processing_s": 61.5})


def at(home: Path) -> Workspace:
    return Workspace(Settings(home, {}))


def with_detail(detail: str) -> Evidence:
    return replace(SEEN, detail=detail)


def begun(home: Path) -> str:
    """Begin a run of the account in a home folder, and return its id."""
    started = RunStarted(
        run="gsm8k-sft-3f9a",
        pipeline_name="gsm8k-sft",
        owner="alice",
        accelerator="cpu",
        pipeline="{}",
        pipeline_path="gsm.yaml",
        pipeline_digest="0" * 64,
    )
    return Store.at(home).begin_run(started, AT).run.id


def test_what_was_added_is_read_by_the_account_alone(tmp_path: Path) -> None:
    workspace = at(tmp_path)
    later = replace(SEEN, seen_at=AT.replace(hour=14), verdict=Verdict.REFUTED)
    book.add(workspace, "alice", [later])
    book.add(workspace, "alice", [SEEN])
    assert book.own(workspace, "alice") == book.own(workspace, "Alice") == [SEEN, later]
    assert book.own(workspace, "bob") == EvidenceFiles(tmp_path).others() == []
    assert "alice" not in str(sorted(tmp_path.rglob("*"))).removeprefix(str(tmp_path))
    assert (tmp_path / "evidence" / account("alice")).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("url", "counts"),
    [
        ("", True),
        ("https://www.kaggle.com", True),
        ("http://127.0.0.1:8000", False),
        ("https://kaggle.com.example", False),
        ("http://[", False),
    ],
)
def test_what_was_seen_elsewhere_says_nothing_about_kaggle(url: str, counts: bool, tmp_path: Path) -> None:
    seen_at = Workspace(Settings(tmp_path, {"RELAY_KAGGLE_URL": url}))
    book.add(seen_at, "alice", [SEEN])
    assert [seen.key for seen in book.own(seen_at, "alice")] == ["processing-time"]
    assert bool(book.own(at(tmp_path), "alice")) is bool(EvidenceFiles(tmp_path).only_account()) is counts
    book.export(seen_at, "alice", tmp_path / "e.json")
    book.import_others(at(tmp_path), tmp_path / "e.json")
    assert bool(EvidenceFiles(tmp_path).others()) is counts


def test_two_processes_that_add_at_once_lose_nothing(tmp_path: Path) -> None:
    files = EvidenceFiles(tmp_path)
    threads = [
        threading.Thread(target=files.add, args=("alice", [with_detail(f"probe {number}")])) for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {seen.detail for seen in files.own("alice")} == {f"probe {number}" for number in range(8)}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a JSON document"),
        (b"\xff", "not a JSON document"),
        (b"[1]", "not a file of evidence"),
        (b'{"kind": "relay-evidence", "format": 2}', "another version"),
        (b'{"kind": "relay-evidence", "format": 1, "evidence": 3}', "not a list"),
        (b'{"kind": "relay-evidence", "format": 1, "evidence": [3]}', "lacks a value"),
        (b'{"kind": "relay-evidence", "format": 1, "evidence": [{"key": "internet"}]}', "lacks a value"),
        (b'{"kind": "relay-evidence", "format": 1, "evidence": [{"key": []}]}', "lacks a value"),
        (b'{"kind": "relay-evidence", "format": 1, "evidence": [{}]}', "lacks a value"),
    ],
)
def test_a_damaged_file_is_named_in_one_sentence(tmp_path: Path, data: bytes, why: str) -> None:
    workspace = at(tmp_path)
    book.add(workspace, "alice", [SEEN])
    (path,) = (tmp_path / "evidence").rglob("*.json")
    path.write_bytes(data)
    with pytest.raises(BadInput, match=why) as caught:
        book.own(workspace, "alice")
    assert str(path) in str(caught.value)
    assert "relay probe PIPELINE" in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(
    st.binary(max_size=60)
    | st.lists(st.none() | st.text(max_size=8) | st.floats()).map(lambda v: json.dumps(v).encode())
)
def test_no_bytes_raise_anything_but_one_sentence(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^it(s| is)|^an entry"):
        evidence_document.read(data)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2),
    max_leaves=4,
)
GOOD = evidence_document.document([SEEN])["evidence"][0]


@settings(max_examples=100, deadline=None)
@given(st.lists(ANY | st.fixed_dictionaries({name: ANY | st.just(value) for name, value in GOOD.items()}), max_size=2))
def test_entries_with_any_values_are_read_or_refused_in_one_sentence(entries: list[object]) -> None:
    document = {"kind": evidence_document.KIND, "format": evidence_document.FORMAT, "evidence": entries}
    try:
        found = evidence_document.read(json.dumps(document).encode())
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert len(found.evidence) + found.unknown == len(entries)


def test_entries_of_a_newer_relay_are_counted_and_left_out(tmp_path: Path) -> None:
    found = evidence_document.document([SEEN])
    found["evidence"].append({"key": "of-tomorrow"})
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(found), encoding="utf-8")
    read = book.import_others(at(tmp_path / "home"), path)
    assert (read.evidence, read.unknown) == ((SEEN,), 1)


def test_evidence_of_others_is_kept_apart_and_once(tmp_path: Path) -> None:
    theirs, mine = at(tmp_path / "theirs"), at(tmp_path / "mine")
    book.add(theirs, "bob", [SEEN])
    book.add(mine, "alice", [replace(SEEN, verdict=Verdict.REFUTED)])
    file = tmp_path / "for-alice.json"
    assert book.export(theirs, "bob", file) == 1
    for _ in range(2):
        book.import_others(mine, file)
    book.add(theirs, "bob", [replace(SEEN, key="internet", numbers={})])
    book.export(theirs, "bob", file)
    book.import_others(mine, file)
    assert [seen.verdict for seen in book.own(mine, "alice")] == [Verdict.REFUTED]
    assert sorted(seen.key for seen in EvidenceFiles(mine.home.path).others()) == ["internet", "processing-time"]
    assert EvidenceFiles(mine.home.path).only_account() == book.own(mine, "alice")


def test_an_export_has_days_and_numbers_and_nothing_of_the_account(tmp_path: Path) -> None:
    run = begun(tmp_path)
    workspace = at(tmp_path)
    details = [
        "jax 0.10.2, libtpu 0.0.42.1, 8 devices",
        "mounted as datasets/{owner}/{slug} below /kaggle/input",
        "seen by Alice",
        f"the run is {run}",
        "pipeline gsm8k-sft",
        "the kernel is other-1f2e-s0001",
        f"written to {tmp_path}/runs",
        "the dataset is someone/their-set",
        "ask someone@example.org",
        "https://example.org",
        "digest 0123abcd0123abcd",
    ]
    book.add(workspace, "alice", [with_detail(detail) for detail in details])
    book.export(workspace, "alice", tmp_path / "export.json")
    text = (tmp_path / "export.json").read_text(encoding="utf-8")
    found = evidence_document.read(text.encode()).evidence
    assert sorted(seen.detail for seen in found if seen.detail) == sorted(details[:2])
    assert {seen.seen_at for seen in found} == {datetime(2026, 11, 29, tzinfo=UTC)}
    assert all(seen.numbers == {"processing_s": 61.5} for seen in found)
    for name in ("alice", run, "gsm8k-sft", str(tmp_path), account("alice")):
        assert name not in text.casefold()


WORDS = st.text(st.characters(categories=("L", "N", "P", "Zs")), max_size=12)
NAMES = st.text(st.characters(categories=("Ll", "Lu", "Nd")), min_size=1, max_size=8)


@given(NAMES, st.sampled_from([str.lower, str.upper, str.title]), WORDS, WORDS, st.sampled_from(sorted(ASSUMPTIONS)))
def test_no_name_survives_an_export(name: str, cased: object, before: str, after: str, key: str) -> None:
    spoken = before + cased(name) + after  # type: ignore[operator]
    if not spoken.isprintable():
        return
    seen = Evidence(key=key, verdict=Verdict.REFUTED, seen_at=AT, detail=spoken)
    anonymous = evidence_document.written(evidence_document.anonymous([seen], [name, cased(name)]))  # type: ignore[operator]
    assert anonymous == evidence_document.written(evidence_document.anonymous([replace(seen, detail="")], []))


def test_an_export_without_evidence_or_over_another_file_is_refused(tmp_path: Path) -> None:
    workspace = at(tmp_path / "home")
    with pytest.raises(BadInput, match="relay probe PIPELINE collects it"):
        book.export(workspace, "alice", tmp_path / "export.json")
    book.add(workspace, "alice", [SEEN])
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(BadInput, match="no file of evidence: name another file"):
        book.export(workspace, "alice", tmp_path / "thesis.txt")
    with pytest.raises(BadInput, match="name a file that relay probe --export wrote"):
        book.import_others(workspace, tmp_path / "nothing.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "thesis.txt"]


def test_an_export_into_no_folder_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for folder in ("none", "file"):
        with pytest.raises(BadInput, match=f"there is no folder {tmp_path / folder}: create it, or name another"):
            book.refuse_target(tmp_path / folder / "x.json")
        ran = CliRunner().invoke(
            main, ["--home", str(tmp_path / "home"), "probe", "--export", f"{tmp_path}/{folder}/x.json"]
        )
        assert (ran.exit_code, f"there is no folder {tmp_path / folder}" in " ".join(ran.output.split())) == (2, True)
    with pytest.raises(BadInput, match="name another file"):
        book.refuse_target(tmp_path / ("x" * 300))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_is_no_evidence_is_refused_with_the_remedy_for_imports(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    with pytest.raises(BadInput, match="not a JSON document: name a file that relay probe --export wrote"):
        book.import_others(at(tmp_path / "home"), tmp_path / "photo.png")
    (tmp_path / "large.json").write_bytes(b" " * (4 * 2**20 + 1))
    with pytest.raises(BadInput, match="more than 4,194,304 bytes: name a file that relay probe --export wrote"):
        book.import_others(at(tmp_path / "home"), tmp_path / "large.json")


def test_a_file_of_others_in_the_home_is_imported_again(tmp_path: Path) -> None:
    files = EvidenceFiles(tmp_path)
    files.add_others([SEEN])
    (path,) = (tmp_path / "evidence").rglob("*.json")
    path.write_bytes(b"{")
    with pytest.raises(BadInput, match="delete it, and import its evidence again with relay probe --import FILE"):
        files.others()


@pytest.mark.parametrize("kind", ["folder", "link", "fifo", "device"])
def test_what_is_no_regular_file_is_refused_with_the_remedy_of_its_place(tmp_path: Path, kind: str) -> None:
    files = EvidenceFiles(tmp_path)
    path = tmp_path / "evidence" / account("alice") / "x.json"
    path.parent.mkdir(parents=True)
    makers: dict[str, Callable[[], object]] = {
        "folder": path.mkdir,
        "link": lambda: path.symlink_to(tmp_path / "nothing"),
        "fifo": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
    }
    makers[kind]()
    with pytest.raises(BadInput, match="delete it, and relay probe PIPELINE collects evidence anew"):
        files.own("alice")
    assert files.for_forecast("alice") == []
    with pytest.raises(BadInput, match="name a file that relay probe --export wrote"):
        book.import_others(at(tmp_path), path)
    if kind != "link":
        with pytest.raises(BadInput, match="is no file of evidence: name another file"):
            book.refuse_target(path)
