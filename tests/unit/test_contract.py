"""The documents between laptop and session: nothing is lost, nothing is misread, and every refusal is a sentence."""

import dataclasses
import json
import types
import typing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.app.publish.kaggle_model import PublishIntent
from stages.contract import (
    SECONDS_MAX,
    FileEntry,
    Manifest,
    Order,
    Progress,
    Report,
)
from stages.documents import FORMAT, ContractError, Document, NewerFormat, Versioned
from stages.file_names import stays_below
from stages.formats.export_manifest import ExportManifest
from stages.probing.findings import ProbeReport
from tests.unit.counting_runs import order

VERSIONED = (Order, Manifest, Report, Progress, ExportManifest, PublishIntent, ProbeReport)
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
NAMES = st.text(CHARACTERS, min_size=1, max_size=8)
TEXTS = st.text(CHARACTERS, max_size=8)
INTEGERS = st.integers(-(2**63) + 1, 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)


def documents(cls: Any) -> st.SearchStrategy[Any]:
    """Any document of a class, unknown fields included."""
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls) if field.name != "extra"]
    unknown = st.dictionaries(
        NAMES.filter(lambda name: name not in (*names, "format", "document")), JSON_VALUES, max_size=2
    )
    known = {name: values(hints[name]) for name in names}
    if cls is FileEntry:
        known |= {"path": st.sampled_from(["state.bin", "a/b.bin"]), "size_bytes": st.integers(0, 2**40)}
    if cls is Progress:
        known |= {"at_s": st.floats(-SECONDS_MAX, SECONDS_MAX)}
    return st.builds(cls, extra=unknown, **known)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a field's type."""
    arguments = typing.get_args(hint)
    match typing.get_origin(hint):
        case types.UnionType:
            return st.none() | values(arguments[0])
        case origin if origin is tuple:
            return st.lists(values(arguments[0]), max_size=2).map(tuple)
        case origin if origin is dict:
            return st.dictionaries(NAMES, values(arguments[1]), max_size=2)
    plain = {
        str: TEXTS,
        int: INTEGERS,
        float: FLOATS | st.integers(-9, 9),
        bool: st.booleans(),
        Any: JSON_VALUES,
    }
    return documents(hint) if dataclasses.is_dataclass(hint) else plain[hint]


@pytest.mark.slow
@pytest.mark.parametrize("cls", VERSIONED)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_document_survives_being_written_and_read(cls: type[Versioned], data: st.DataObject) -> None:
    document = data.draw(documents(cls))
    text = document.to_json()
    assert cls.from_json(text) == document
    assert cls.from_json(text).to_json() == text
    assert text.isascii() and "\n" not in text


@pytest.mark.slow
@settings(deadline=None)
@given(extra=st.dictionaries(NAMES, JSON_VALUES, min_size=1))
def test_fields_of_a_later_relay_are_passed_on_unchanged(extra: dict[str, Any]) -> None:
    value = json.loads(order().to_json())
    later = {**extra, **value, "start": {**extra, **value["start"]}}
    assert json.loads(Order.from_json(json.dumps(later)).to_json()) == later


def test_a_manifests_digest_covers_fields_that_this_relay_does_not_know() -> None:
    manifest = Manifest.from_dict(a_manifest())
    assert Manifest.from_dict({**a_manifest(), "later": 1}).digest != manifest.digest
    assert Manifest.from_json(manifest.to_json()).digest == manifest.digest


def test_a_document_of_a_newer_format_is_refused_with_what_to_do() -> None:
    newer = {**json.loads(order().to_json()), "format": FORMAT + 1}
    with pytest.raises(NewerFormat, match=f"has format {FORMAT + 1}, .* reads up to {FORMAT}: update relay to go on"):
        Order.from_json(json.dumps(newer))


@pytest.mark.parametrize("line", [Progress(number=0, event="step", at_s=1.0).line()])
def test_a_progress_line_of_a_newer_format_is_passed_by_since_a_log_may_say_anything(line: str) -> None:
    assert Progress.from_line(line) is not None
    assert Progress.from_line(line.replace('"format":1', '"format":9')) is None


@pytest.mark.parametrize("characters", [1, 1_000, 100_000])
def test_a_line_of_any_length_is_read_each_time_as_what_was_written(characters: int) -> None:
    events = [Progress(number=number, event="failed", at_s=1.0, note=number * characters * "x") for number in (1, 2)]
    for event in (*events, *events):
        assert Progress.from_line(event.line()) == event


@pytest.mark.parametrize(
    "line", ["", "epoch 1: loss 0.3", '@relay {"format":1,"document":"prog', "@relay {}", "@relay 5"]
)
def test_a_line_that_is_no_whole_event_is_for_people(line: str) -> None:
    assert Progress.from_line(line) is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"run": 5}, "order.run should be str, found 5"),
        ({"session": True}, "order.session should be int, found True"),
        ({"session": 1.5}, "order.session should be int, found 1.5"),
        ({"session": "1"}, "order.session should be int, found '1'"),
        ({"budget_s": "long"}, "order.budget_s should be float, found 'long'"),
        ({"budget_s": False}, "order.budget_s should be float, found False"),
        ({"budget_s": 10**400}, "this order is not JSON: a number in it is larger than any that relay knows"),
        ({"pins": "jax==1"}, "order.pins is not a list"),
        ({"pins": ["jax==1", 3]}, r"order.pins\[1\] should be str, found 3"),
        ({"model": []}, "order.model is not a JSON object"),
        ({"start": None}, "order.start is not a JSON object"),
        ({"start": {"stage": "first"}}, "order.start lacks step"),
        ({"stages": [{"name": "x", "kind": "counting"}]}, r"order.stages\[0\] lacks steps"),
        ({"parent": {"name": "c", "digest": 0}}, "order.parent.digest should be str, found 0"),
        ({"document": "report"}, "expected a order and found 'report'"),
        ({"format": None}, "does not say its format"),
        ({"format": True}, "does not say its format"),
        ({"format": 0}, "does not say its format"),
    ],
)
def test_a_field_that_does_not_fit_is_named(change: dict[str, Any], sentence: str) -> None:
    value = {**json.loads(order().to_json()), **change}
    with pytest.raises(ContractError, match=sentence):
        Order.from_json(json.dumps(value))


def test_only_what_is_required_is_missed() -> None:
    with pytest.raises(ContractError, match=r"^progress lacks number, event, at_s$"):
        Progress.from_dict({})


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", "null", "[" * 100_000, b"\xff\xfe", '{"format":NaN}', '{"format":1,"x":Infinity}']
)
def test_what_is_not_such_a_document_is_refused_as_one(text: str | bytes) -> None:
    with pytest.raises(ContractError, match="this order"):
        Order.from_json(text)


def test_what_is_not_a_number_is_never_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Progress(number=0, event="step", at_s=0.0, metrics={"loss": float("nan")}).to_json()


def test_whole_numbers_of_seconds_give_the_bytes_that_reading_them_gives() -> None:
    written = order(budget_s=60).to_json()
    assert written == order(budget_s=60.0).to_json() == Order.from_json(written).to_json()


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/", "a\\..\\b", "C:x", "a\0b"]
)
def test_a_manifest_cannot_name_a_file_outside_its_folder(path: str) -> None:
    assert not stays_below(path)
    value = {**a_manifest(), "files": [{"path": path, "size_bytes": 1, "sha256": "0"}]}
    with pytest.raises(ContractError, match="a checkpoint's file cannot be"):
        Manifest.from_dict(value)


def test_a_file_cannot_be_smaller_than_nothing() -> None:
    with pytest.raises(ContractError, match="of -1 bytes"):
        FileEntry(path="state.bin", size_bytes=-1, sha256="0")


def a_manifest() -> dict[str, Any]:
    """The plain value of a manifest."""
    return {
        "run": "r",
        "session": 1,
        "attempt": 1,
        "token": "t",
        "cursor": {"stage": "first", "step": 3},
        "parent": None,
        "files": [{"path": "state.bin", "size_bytes": 9, "sha256": "00"}],
    }


def test_every_kind_of_document_says_which_it_is() -> None:
    assert {cls.kind for cls in VERSIONED} == {
        "order",
        "manifest",
        "report",
        "progress",
        "export",
        "publish-intent",
        "probe",
    }
    assert set(Versioned.__subclasses__()) == set(VERSIONED)
    assert all(issubclass(cls, Document) for cls in VERSIONED)
