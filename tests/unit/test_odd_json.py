"""JSON from outside is made safe once: what no file, database or terminal takes is replaced or refused, and never raises anything else."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.contract import FileEntry, Manifest, Progress, Report
from stages.documents import ContractError
from stages.safe_text import DEPTH_MAX, OddJson, read_json, whole_text

STEP = Progress(number=3, event="step", at_s=12.5, stage="sft", step=7, target=100, metrics={"loss": 0.25})


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("as it is: ä 🙂 \t\n", "as it is: ä 🙂 \t\n"),
        ("half \ud83d of one", "half \ufffd of one"),
        ("both halves \ud83d\ude42 of one", "both halves 🙂 of one"),
        ("the wrong way round \ude42\ud83d", "the wrong way round \ufffd\ufffd"),
        ("nothing\0more", "nothing\ufffdmore"),
    ],
)
def test_text_keeps_all_that_can_be_written(text: str, whole: str) -> None:
    assert whole_text(text) == whole


@given(st.text(alphabet=st.characters(codec=None, categories=None)))
def test_any_text_can_be_written_afterwards(text: str) -> None:
    whole = whole_text(text)
    assert "\0" not in whole
    assert whole_text(whole) == whole
    whole.encode()


@pytest.mark.parametrize(
    "text",
    [
        *("[" * 3000, "[" * 900 + "]" * 900, '{"a":' * 300 + "1" + "}" * 300),
        *("NaN", "[Infinity]", '{"x": -1e999}', "9" * 5000, "9223372036854775808"),
        *("{", b"\xff\xfe", "[1,]"),
    ],
)
def test_what_no_program_can_use_is_refused(text: str) -> None:
    with pytest.raises(OddJson):
        read_json(text)


def test_what_is_no_number_counts_as_left_out_where_that_is_wanted() -> None:
    assert read_json('{"a": NaN, "b": [1e999, -Infinity, 1.5]}', left_out=True) == {"a": None, "b": [None, None, 1.5]}


def test_keys_and_texts_at_every_depth_can_be_written() -> None:
    read = read_json('{"k\\ud800": ["a\\u0000b", {"\\ud83d\\ude42": "\\ude42"}]}')
    assert read == {"k\ufffd": ["a\ufffdb", {"🙂": "\ufffd"}]}


def test_nesting_as_deep_as_any_document_has_is_read() -> None:
    assert read_json("[" * DEPTH_MAX + "]" * DEPTH_MAX) is not None


def line(**changed: Any) -> str:
    return "@relay " + json.dumps(json.loads(STEP.to_json()) | changed)


def test_a_progress_line_with_odd_text_is_an_event_that_can_be_written() -> None:
    event = Progress.from_line(line(note="half \ud83d", metrics={"lo\ud800ss": 1.0}, unknown=["\0"]))
    assert event is not None
    assert event.note == "half \ufffd"
    assert event.metrics == {"lo\ufffdss": 1.0}
    event.line().encode()


@pytest.mark.parametrize(
    "changed",
    [
        {"metrics": {"loss": math.inf}},
        {"metrics": {"loss": math.nan}},
        {"step": 2**63},
        {"number": -(2**70)},
        {"at_s": 1e300},
        {"at_s": -1e300},
    ],
)
def test_a_progress_line_with_numbers_that_nothing_has_is_for_people(changed: dict[str, Any]) -> None:
    assert Progress.from_line(line(**changed)) is None


@pytest.mark.parametrize("depth", [50_000, 3_000, 900, DEPTH_MAX + 1])
def test_a_progress_line_that_is_nested_deeply_is_for_people(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    assert Progress.from_line(STEP.line()[:-1] + f',"unknown":{deep}}}') is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Report, Manifest, Progress])
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda a: st.lists(a) | st.dictionaries(st.text(), a),
    )
)
def test_any_json_is_a_document_or_a_sentence(kind: Any, value: Any) -> None:
    text = json.dumps({"format": 1, "document": kind.kind, **(value if isinstance(value, dict) else {"run": value})})
    try:
        kind.from_json(text).to_json().encode()
    except ContractError as error:
        str(error).encode()


def test_a_sentence_about_a_document_does_not_repeat_all_of_it() -> None:
    long = "x" * 1_000_000
    for wrong in ({"step": long}, {"metrics": {long: long}}, {"document": long}):
        with pytest.raises(ContractError) as raised:
            Progress.from_json(line(**wrong).removeprefix("@relay "))
        assert len(str(raised.value)) < 400
    with pytest.raises(ContractError) as raised:
        FileEntry(path="../" + long, size_bytes=1, sha256="")
    assert len(str(raised.value)) < 400
