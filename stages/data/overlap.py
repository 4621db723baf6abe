"""Detect training examples that overlap with held-out problems in their words or in their program."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

WORDS = 13
"""Number of consecutive shared words that make two texts overlap: the GPT-3 rule (arXiv:2005.14165, appendix C)."""
WORDS_MIN = 8
"""Minimum length in words of a held-out text shorter than `WORDS` that overlaps with a text containing all of it.

The minimum is from the same paper. A shorter text overlaps only with an equal text, because it may be a common phrase.
"""
TOKENS = 30
"""Number of consecutive shared tokens that make two programs overlap.

12 of MBPP's training solutions share 30 tokens with a solution of its test split, and the same 12 share 40: these are
copies and variants of one function. 90 share 13 tokens, nearly all of them a common loop or condition.
"""
TESTS_FOLLOW = "Your code should pass these tests:"
"""Line between the text of a programming problem and its tests, as in MBPP's prompt (arXiv:2108.07732)."""

_WORD = re.compile(r"[^\W_]+")
_TOKEN = re.compile(r"#[^\n]*|\"[^\"\n]*\"|'[^'\n]*'|\d+\.\d+|\w+|[^\w\s]")
_TESTS_FOLLOW = tuple(word.casefold() for word in _WORD.findall(TESTS_FOLLOW))


class _Pieces:
    """Index of held-out sequences of words or tokens, with the name of their set."""

    def __init__(self, length: int, length_min: int) -> None:
        self._length, self._length_min = length, length_min
        self._whole: dict[str, str] = {}
        self._parts: dict[int, dict[str, str]] = {}

    def add(self, name: str, pieces: Sequence[str], *, in_parts: bool) -> None:
        self._whole.setdefault(" ".join(pieces), name)
        length = min(self._length, len(pieces))
        if in_parts and length >= self._length_min:
            known = self._parts.setdefault(length, {})
            for part in _parts(pieces, length):
                known.setdefault(part, name)

    def by(self, pieces: Sequence[str]) -> str:
        found = self._whole.get(" ".join(pieces), "")
        for length in sorted(self._parts, reverse=True):
            known = self._parts[length]
            found = found or next((known[part] for part in _parts(pieces, length) if part in known), "")
        return found


class HeldOut:
    """Index of held-out problems, with the name of their set.

    A problem's text and its solution program are compared separately. Text that relay adds is not compared, and neither
    are tests: those of MBPP share numbers and short lists without being related.
    """

    def __init__(self) -> None:
        self._texts, self._programs = _Pieces(WORDS, WORDS_MIN), _Pieces(TOKENS, TOKENS)

    def add(self, name: str, question: str, code: str = "", *, judged: bool = True) -> None:
        """Add a held-out problem of the set `name` and its solution. If several sets hold it out, `by` names the first.

        A problem that cannot be graded (`judged=False`), such as a chat request, is never used for evaluation, and such
        texts mostly share common wording: others overlap with it only if the whole text or the whole program is equal.
        """
        self._texts.add(name, _words(question), in_parts=judged)
        if tokens := _tokens(code):
            self._programs.add(name, tokens, in_parts=judged)

    def by(self, question: str, code: str = "") -> str:
        """Return the set and the kind of the overlap with held-out problems, such as `mbpp (code)`; empty if none.

        Case, white space and punctuation are ignored in texts, white space and comments in programs.
        """
        text = self._texts.by(_words(question))
        tokens = _tokens(code)
        program = self._programs.by(tokens) if tokens else ""
        shared = [kind for kind, found in (("text", text), ("code", program)) if found]
        return f"{text or program} ({' and '.join(shared)})" if shared else ""


def _words(question: str) -> list[str]:
    """Return the words of the problem's text, without the tests that follow it."""
    words = _WORD.findall(unicodedata.normalize("NFKC", question).casefold())
    for place in range(1, len(words) - len(_TESTS_FOLLOW) + 1):
        if tuple(words[place : place + len(_TESTS_FOLLOW)]) == _TESTS_FOLLOW:
            return words[:place]
    return words


def _tokens(code: str) -> list[str]:
    return [token for token in _TOKEN.findall(code) if not token.startswith("#")]


def _parts(pieces: Sequence[str], length: int) -> Iterator[str]:
    for first in range(len(pieces) - length + 1):
        yield " ".join(pieces[first : first + length])
