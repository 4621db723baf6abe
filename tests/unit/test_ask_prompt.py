"""What `relay ask` says beside an answer, and which lines at its prompt are no questions."""

import pytest

from orchestrator.cli.asking import is_word
from orchestrator.core.asking import Answered
from orchestrator.views.answers import note_on

NO_ANSWER = "(the model ended without an answer)"


@pytest.mark.parametrize(
    ("text", "changes", "note"),
    [
        ("<reasoning>r</reasoning><answer>4</answer>", {}, ""),
        ("<reasoning>only this</reasoning>", {}, NO_ANSWER),
        ("<reasoning>only this", {}, NO_ANSWER),
        ("", {}, NO_ANSWER),
        ("four, without any tags", {}, ""),
        ("<reasoning>only", {"truncated": True}, "(cut off after 1,234 tokens: --max-new-tokens allows more)"),
        ("<reasoning>only", {"interrupted": True}, "(stopped)"),
    ],
)
def test_an_answer_that_is_not_complete_says_so(text: str, changes: dict[str, bool], note: str) -> None:
    answered = {"truncated": False, "interrupted": False, **changes}
    assert note_on(Answered(text=text, tokens=1234, **answered)) == note


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("/help", True),
        ("/quit", True),
        ("/clear-all", True),
        ("/usr/bin/python: what is that?", False),
        ("/ 2", False),
        ("What does /help do?", False),
        ("/", False),
    ],
)
def test_a_lone_word_after_a_slash_is_no_question(line: str, word: bool) -> None:
    assert is_word(line) is word
