"""What `relay ask` shows: reasoning and answer apart, however the text arrives."""

import io
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.base.memory import free_memory_bytes
from orchestrator.core.asking import Answered, Drawing
from orchestrator.views.answers import AnswerPrinter, answer_document, note_on
from orchestrator.views.printing import console
from stages.rewards.parts import TAGS, PartSplitter, TextPart, reasoning_of

TEXT = st.lists(st.sampled_from([*TAGS, "<", "</", "<ans", ">", " ", "\n", "ab", "é"])).map("".join)


def split(chunks: list[str]) -> list[tuple[TextPart, str]]:
    """The parts in order; what a tag begins is apart from what was before it."""
    splitter, found = PartSplitter(), []
    for chunk in chunks:
        found += splitter.add(chunk)
    found += splitter.end()
    blocks, number = [], 0
    for part, text in found:
        number += not text
        blocks.append((number, part, text))
    return [(part, "".join(each[2] for each in group)) for (_, part), group in groupby(blocks, lambda each: each[:2])]


def shown(chunks: list[str], *, raw: bool = False) -> str:
    stream = io.StringIO()
    printer = AnswerPrinter(console(stream, {}), raw=raw)
    for chunk in chunks:
        printer.show(chunk)
    printer.end()
    return stream.getvalue()


@pytest.mark.slow
@given(TEXT, st.data())
def test_any_chunks_of_a_text_show_the_same(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    chunks = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert split(chunks) == split([text])
    assert shown(chunks) == shown([text])
    assert shown(chunks, raw=True) == (f"{text}\n" if text else "")


@given(TEXT)
def test_nothing_but_tags_is_lost(text: str) -> None:
    without = text
    for tag in TAGS:  # removal may form new tags, so the first ones are taken out at once
        without = without.replace(tag, "\0")
    assert "".join(each for _, each in split([text])) == without.replace("\0", "")


def test_text_is_shown_as_soon_as_it_cannot_begin_a_tag() -> None:
    splitter = PartSplitter()
    assert list(splitter.add("a <re")) == [(TextPart.OUTSIDE, "a ")]
    assert list(splitter.add("d>")) == [(TextPart.OUTSIDE, "<"), (TextPart.OUTSIDE, "red>")]
    assert list(splitter.add("<answer>4")) == [(TextPart.ANSWER, ""), (TextPart.ANSWER, "4")]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("<reasoning>2 and 3\nmake 5</reasoning><answer>5</answer>", "Reasoning\n2 and 3\nmake 5\nAnswer\n5\n"),
        ("<reasoning>\n2\n</reasoning>\n\n<answer>\n5\n</answer>\n", "Reasoning\n2\nAnswer\n5\n"),
        ("five", "five\n"),
        ("Well: <answer>5</answer> done", "Well:\nAnswer\n5\ndone\n"),
        ("<answer>4</answer><answer>5</answer>", "Answer\n4\nAnswer\n5\n"),
        ("<answer></answer>", ""),
        ("<answer>a < b</answer>", "Answer\na < b\n"),
        ("<reasoning>never ends <answ", "Reasoning\nnever ends <answ\n"),
        ("\x1b]0;title\x07 <answer>\x1b[31m5</answer>", "\\u001b]0;title\\u0007\nAnswer\n\\u001b[31m5\n"),
    ],
)
def test_reasoning_and_answer_have_headings(text: str, wanted: str) -> None:
    assert shown(list(text)) == wanted


def test_reasoning_is_dim_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    printer = AnswerPrinter(console(stream, {"TERM": "xterm"}))
    printer.show("<reasoning>so</reasoning><answer>5</answer>")
    printer.end()
    assert "\x1b[2mso\x1b[0m" in stream.getvalue()
    assert stream.getvalue().endswith("\n5\n")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("<reasoning> a </reasoning><answer>5</answer>", "a"),
        ("<reasoning>cut off", "cut off"),
        ("<answer>5</answer>", ""),
    ],
)
def test_the_reasoning_of_a_whole_text_is_what_its_tags_hold(text: str, wanted: str) -> None:
    assert reasoning_of(text) == wanted


def test_a_document_has_an_answer_only_if_the_judges_would_find_it() -> None:
    good = Answered(text="<reasoning>r</reasoning><answer>5</answer>", tokens=9, truncated=False, interrupted=False)
    odd = Answered(text="<answer>4</answer><answer>5</answer>", tokens=9, truncated=True, interrupted=False)
    document = answer_document("2 + 3?", "tiny", good, Drawing(seed=3))
    assert document == {
        "format": 1, "model": "tiny", "question": "2 + 3?", "reasoning": "r", "answer": "5", "text": good.text,
        "tokens": 9, "truncated": False, "interrupted": False, "temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 3,
    }  # fmt: skip
    assert answer_document("2 + 3?", "tiny", odd, Drawing())["answer"] is None


@pytest.mark.parametrize(
    ("truncated", "interrupted", "wanted"),
    [
        (False, False, ""),
        (True, False, "(cut off after 9 tokens: --max-new-tokens allows more)"),
        (True, True, "(stopped)"),
    ],
)
def test_an_answer_without_an_end_is_marked(truncated: bool, interrupted: bool, wanted: str) -> None:
    assert note_on(Answered(text="5", tokens=9, truncated=truncated, interrupted=interrupted)) == wanted


@pytest.mark.parametrize(
    ("meminfo", "limit", "wanted"),
    [
        ("MemTotal: 9 kB\nMemAvailable:  2048 kB\n", None, 2 * 2**20),
        ("MemTotal: 9 kB\nMemAvailable:  2048 kB\n", "max\n", 2 * 2**20),
        ("MemTotal: 9 kB\nMemAvailable:  2048 kB\n", "1000000\n", 1_000_000),
        ("MemTotal: 9 kB\nMemAvailable:  2048 kB\n", "9000000\n", 2 * 2**20),
    ],
)
def test_free_memory_is_what_is_available_within_the_groups_limit(
    tmp_path: Path, meminfo: str, limit: str | None, wanted: int
) -> None:
    (tmp_path / "meminfo").write_text(meminfo)
    if limit is not None:
        (tmp_path / "limit").write_text(limit)
    assert free_memory_bytes(tmp_path / "meminfo", tmp_path / "limit") == wanted


def test_without_linux_it_is_the_memory_that_is_built_in(tmp_path: Path) -> None:
    assert free_memory_bytes(tmp_path / "none") > 2**28
