"""Finds training examples that are held-out problems in disguise: the same words, or the same program."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

WORDS = 13
"""Two texts that share this many words in a row overlap: the rule of the GPT-3 paper (arXiv:2005.14165, appendix C)."""
WORDS_MIN = 8
"""A held-out text of at least this many words, but fewer than `WORDS`, overlaps with a text that has all of them in a row.

The minimum is the same paper's. A shorter text overlaps only with its equal: what is left of it is a turn of phrase.
"""
TOKENS = 30
"""Two programs that share this many tokens in a row overlap.

Of MBPP's training solutions 12 share 30 tokens with a solution of its test split, and the same 12 share 40: these are
copies and variants of one function. With 13 tokens it is 90, nearly all by a loop or by a condition that anybody writes.
"""
TESTS_FOLLOW = "Your code should pass these tests:"
"""The line between the text of a programming problem and its tests, in the paper's own prompt (arXiv:2108.07732)."""

_WORD = re.compile(r"[^\W_]+")
_TOKEN = re.compile(r"#[^\n]*|\"[^\"\n]*\"|'[^'\n]*'|\d+\.\d+|\w+|[^\w\s]")
_TESTS_FOLLOW = tuple(word.casefold() for word in _WORD.findall(TESTS_FOLLOW))


class _Pieces:
    """Sequences of words or tokens that are held out, and by which set."""

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
    """Problems that are held out, and by which set.

    What relay adds to a problem is not compared, and neither are its tests: MBPP's share numbers and short lists that mean
    nothing. Its text and the program that solves it are compared each on its own.
    """

    def __init__(self) -> None:
        self._texts, self._programs = _Pieces(WORDS, WORDS_MIN), _Pieces(TOKENS, TOKENS)

    def add(self, name: str, question: str, code: str = "", *, judged: bool = True) -> None:
        """Remember that the set `name` holds out this problem and its solution; of several sets the first is named later.

        A problem that no judge can decide, such as a request in a chat, is never asked, and what such texts share is mostly
        the wording of a task: another one overlaps with it only where all of its text, or all of its program, is equal.
        """
        self._texts.add(name, _words(question), in_parts=judged)
        if tokens := _tokens(code):
            self._programs.add(name, tokens, in_parts=judged)

    def by(self, question: str, code: str = "") -> str:
        """The set with whose held-out problems this one overlaps, and in what: `mbpp (code)`; empty where it does not.

        Case, white space and punctuation make no difference between texts; white space and comments none between programs.
        """
        text = self._texts.by(_words(question))
        tokens = _tokens(code)
        program = self._programs.by(tokens) if tokens else ""
        shared = [kind for kind, found in (("text", text), ("code", program)) if found]
        return f"{text or program} ({' and '.join(shared)})" if shared else ""


def _words(question: str) -> list[str]:
    """The words of the problem's own text, without the tests that follow it."""
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
