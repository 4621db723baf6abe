"""The log in parts: every line once, in order, bounded, and never with characters that a page or terminal acts on."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.engine.home import HomeLayout
from orchestrator.views.log_tail import CUT, LINE_CHARACTERS_MAX, PART_BYTES_MAX, log_part
from stages.contract import Progress
from state import machine
from state.model.run_state import RunState
from tests.unit.histories import AT, Told


@pytest.fixture(scope="module")
def state() -> RunState:
    """One session that is over, and one that runs."""
    told = Told()
    told.session(40)
    told.running()
    found = machine.begin(told.started(), AT)
    for at, fact in told.past:
        found = machine.apply(found, fact, at)
    return found


def write(home: HomeLayout, state: RunState, number: int, text: str) -> str:
    path = home.log(state.sessions[number])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return state.sessions[number].slug


def test_each_line_is_read_once_while_the_log_grows_and_a_half_line_waits(tmp_path: Path, state: RunState) -> None:
    home = HomeLayout(tmp_path)
    slug = write(home, state, 1, "one\ntwo\nthr")
    first = log_part(home, state)
    assert (first.slug, first.lines, first.earlier, first.live) == (slug, ("one", "two"), False, True)
    write(home, state, 1, "one\ntwo\nthree\nfour\n")
    assert log_part(home, state, slug, first.at).lines == ("three", "four")


def test_a_long_log_is_shown_from_a_whole_line_near_its_end_and_read_on_in_parts(
    tmp_path: Path, state: RunState
) -> None:
    home = HomeLayout(tmp_path)
    lines = [f"line {number}" for number in range(30_000)]
    slug = write(home, state, 1, "\n".join(lines) + "\n")
    end = log_part(home, state)
    assert end.earlier
    assert end.lines == tuple(lines[-len(end.lines) :])
    found: list[str] = []
    at = 0
    while part := log_part(home, state, slug, at).lines:
        found += part
        at = log_part(home, state, slug, at).at
    assert found == lines
    assert sum(map(len, end.lines)) < PART_BYTES_MAX


def test_a_line_longer_than_a_part_neither_blocks_the_log_nor_is_shown_whole(tmp_path: Path, state: RunState) -> None:
    home = HomeLayout(tmp_path)
    slug = write(home, state, 1, "x" * (PART_BYTES_MAX + 5) + "\nafter\n")
    first = log_part(home, state, slug, 0)
    assert first.lines == ("x" * LINE_CHARACTERS_MAX + CUT,)
    assert log_part(home, state, slug, first.at).lines == ("xxxxx", "after")


def test_the_next_sessions_log_follows_the_last_line_of_one_that_is_over(tmp_path: Path, state: RunState) -> None:
    home = HomeLayout(tmp_path)
    first = write(home, state, 0, "the first\n")
    read = log_part(home, state, first, 0)
    assert (read.lines, read.live) == (("the first",), False)
    assert log_part(home, state, first, read.at).slug == first
    second = write(home, state, 1, "the second\n")
    assert (log_part(home, state, first, read.at).slug, log_part(home, state, first, read.at).lines) == (
        second,
        ("the second",),
    )


def test_a_log_that_was_written_anew_or_is_not_there_is_no_error(tmp_path: Path, state: RunState) -> None:
    home = HomeLayout(tmp_path)
    assert log_part(home, state).slug == ""
    assert log_part(home, replace(state, sessions=())).lines == ()
    slug = write(home, state, 1, "short\n")
    assert log_part(home, state, slug, 10_000).lines == ("short",)


def test_events_are_sentences_and_control_characters_are_visible(tmp_path: Path, state: RunState) -> None:
    home = HomeLayout(tmp_path)
    step = Progress(number=1, event="step", at_s=2.0, stage="sft", step=3, target=300, metrics={"loss": 0.5})
    write(home, state, 1, f"{step.line()}\n\x1b[2J\u202etxt\n")
    shown = log_part(home, state).lines
    assert shown[0] == "[     2.0 s] sft step 3/300  loss 0.5"
    assert "\x1b" not in shown[1]
    assert "\u202e" not in shown[1]
