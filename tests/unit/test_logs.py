"""A kernel's log: chunks become numbered lines, the same ones however they were cut or replayed."""

import json
import random
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.kaggle.logs import (
    LINE_CHARACTERS_MAX,
    Chunk,
    LineAssembler,
    chunk_of,
    chunk_of_event,
    lines_of_log,
)
from orchestrator.platforms.port import LogLine
from stages.contract import Progress

EVENT = Progress(number=3, event="step", at_s=12.5, stage="sft", step=7, target=100, metrics={"loss": 0.25})


def lines_of(chunks: Iterable[Chunk]) -> tuple[LogLine, ...]:
    """The lines of chunks after which nothing follows."""
    lines = LineAssembler()
    ended = [line for chunk in chunks for line in lines.add(chunk)]
    return (*ended, *lines.end())


def texts(lines: object) -> list[str]:
    return [line.text for line in lines]  # type: ignore[attr-defined]


def test_a_chunk_may_hold_several_lines_and_a_line_several_chunks() -> None:
    chunks = [Chunk("stdout", 1.0, "one\ntwo\nth"), Chunk("stdout", 2.0, "ree\n"), Chunk("stdout", 3.0, "four")]
    assert lines_of(chunks) == (
        LogLine(number=0, stream="stdout", at_s=1.0, text="one"),
        LogLine(number=1, stream="stdout", at_s=1.0, text="two"),
        LogLine(number=2, stream="stdout", at_s=2.0, text="three"),
        LogLine(number=3, stream="stdout", at_s=3.0, text="four"),
    )


def test_two_streams_do_not_run_into_each_other() -> None:
    chunks = [Chunk("stdout", 1.0, "loss "), Chunk("stderr", 1.1, "warning\n"), Chunk("stdout", 1.2, "0.5\n")]
    assert [(line.stream, line.text) for line in lines_of(chunks)] == [("stderr", "warning"), ("stdout", "loss 0.5")]


def test_a_line_that_is_still_being_written_is_held_back() -> None:
    lines = LineAssembler()
    assert lines.add(Chunk("stdout", 1.0, "half a li")) == []
    assert texts(lines.add(Chunk("stdout", 1.5, "ne\n"))) == ["half a line"]
    assert lines.end() == []


@pytest.mark.slow
@given(st.lists(st.text(alphabet="ab\n", max_size=6), max_size=20), st.integers(0, 2**32))
def test_lines_and_numbers_do_not_depend_on_where_the_text_is_cut(written: list[str], seed: int) -> None:
    text = "".join(written)
    cuts = sorted(random.Random(seed).choices(range(len(text) + 1), k=4))
    pieces = [text[a:b] for a, b in pairwise([0, *cuts, len(text)])]
    cut = lines_of(Chunk("stdout", 0.0, piece) for piece in pieces)
    assert texts(cut) == text.removesuffix("\n").split("\n") if text else not cut
    assert cut == lines_of([Chunk("stdout", 0.0, text)])


def test_empty_lines_count() -> None:
    assert texts(lines_of([Chunk("stdout", 0.0, "a\n\n\nb\n")])) == ["a", "", "", "b"]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (["10%\r", "50%\r", "100%\n"], ["100%"]),
        (["10%\r50%\r100%\r\n"], ["100%"]),
        (["windows\r\n", "lines\r\n"], ["windows", "lines"]),
        (["windows\r", "\n"], ["windows"]),
    ],
)
def test_a_progress_bar_is_shown_as_a_terminal_would(written: list[str], shown: list[str]) -> None:
    assert texts(lines_of(Chunk("stderr", 0.0, text) for text in written)) == shown


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    lines = LineAssembler()
    ended = [line for _ in range(30) for line in lines.add(Chunk("stdout", 0.0, "x" * 100_000))]
    assert [len(line.text) for line in ended] == [LINE_CHARACTERS_MAX] * 2
    assert sum(len(line.text) for line in [*ended, *lines.end()]) == 3_000_000


def test_progress_events_survive_a_log_that_lost_its_newlines() -> None:
    lines = LineAssembler()
    assert lines.add(Chunk("stdout", 0.0, EVENT.line())) == []
    (line,) = lines.add(Chunk("stdout", 0.0, EVENT.line()))
    assert Progress.from_line(line.text) == EVENT


def test_a_finished_log_is_kaggles_array_of_chunks() -> None:
    entries = [
        {"stream_name": "stdout", "time": 0.5, "data": "hello\n"},
        {"stream_name": "stderr", "time": 1, "data": "wor"},
        {"stream_name": "stderr", "time": 2.25, "data": "ld\n"},
    ]
    assert tuple(lines_of_log([json.dumps(entries)])) == (
        LogLine(number=0, stream="stdout", at_s=0.5, text="hello"),
        LogLine(number=1, stream="stderr", at_s=2.25, text="world"),
    )


@pytest.mark.slow
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_a_finished_log_reads_the_same_in_whatever_blocks_it_arrives(seed: int, block: int) -> None:
    dice = random.Random(seed)
    written = [dice.choice(["a\n", "b", "\n", "ü{[,]}\n", '"\\\n', "10%\r", "last\n"]) for _ in range(20)]
    entries = [{"stream_name": "stdout", "time": float(n), "data": text} for n, text in enumerate(written)]
    log = "[" + "\n,".join(json.dumps(entry, ensure_ascii=False) for entry in entries) + "\n]"
    blocks = [log[at : at + block] for at in range(0, len(log), block)]
    chunks = [Chunk("stdout", float(n), text) for n, text in enumerate(written)]
    assert tuple(lines_of_log(blocks)) == lines_of(chunks)


@pytest.mark.slow
def test_what_cannot_be_read_as_json_does_not_pile_up() -> None:
    blocks = ['[{"data": "', *["x" * 1_000_000] * 20]
    assert sum(len(line.text) for line in lines_of_log(blocks)) >= 20_000_000


def test_a_finished_log_whose_entries_are_bare_lines_is_read_line_by_line() -> None:
    entries = [{"stream_name": "stdout", "time": 0.5, "data": text} for text in ("one", "two", "three")]
    assert texts(lines_of_log([json.dumps(entries)])) == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        ("plain text\nof two lines\n", ["plain text", "of two lines"]),
        ('[{"data": "whole\\n"}, {"data": "cut off', ["whole", '{"data": "cut off']),
        ("[]", []),
        ("", []),
        (" \n ", []),
        ("Traceback (most recent call last):\n  [boom]", ["Traceback (most recent call last):", "  [boom]"]),
        ('[1, null, {"data": 5}, {"time": 1}]', []),
        ('{"data": "only one\\n"}', ["only one"]),
    ],
)
def test_an_odd_log_is_shown_as_well_as_it_can_be(log: str, shown: list[str]) -> None:
    assert texts(lines_of_log([log])) == shown


def test_an_entry_may_lack_all_but_its_text() -> None:
    assert chunk_of({"data": "x"}) == Chunk("stdout", 0.0, "x")
    assert chunk_of({"data": "x", "time": "soon", "stream_name": None}) == Chunk("stdout", 0.0, "x")
    assert chunk_of({"stream_name": "stdout"}) is None
    assert chunk_of("x") is None


def test_an_event_that_is_not_json_is_a_line_of_its_own() -> None:
    assert chunk_of_event("Connection to the worker was lost") == Chunk(
        "stdout", 0.0, "Connection to the worker was lost\n"
    )
