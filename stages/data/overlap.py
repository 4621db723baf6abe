"""Which questions were asked before in other words that are the same words: so nothing is trained on that evaluation asks."""

import re
import unicodedata
from collections.abc import Iterator

WORDS = 13
"""Two questions that share so many words in a row overlap: the rule of the GPT-3 paper (arXiv:2005.14165, appendix C)."""

_WORD = re.compile(r"[^\W_]+")


class Asked:
    """Questions that are held out, and by which set."""

    def __init__(self) -> None:
        self._whole: dict[str, str] = {}
        self._parts: dict[str, str] = {}

    def add(self, name: str, question: str) -> None:
        """Remember that the set `name` holds this question out; of several sets the first is named later."""
        words = _words(question)
        self._whole.setdefault(" ".join(words), name)
        for part in _parts(words):
            self._parts.setdefault(part, name)

    def by(self, question: str) -> str:
        """The set that holds this question out, or one that shares words with it; empty where none does.

        Case, white space and punctuation make no difference.
        """
        words = _words(question)
        whole = self._whole.get(" ".join(words))
        return whole or next((self._parts[part] for part in _parts(words) if part in self._parts), "")


def _words(question: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", question).casefold())


def _parts(words: list[str]) -> Iterator[str]:
    for first in range(len(words) - WORDS + 1):
        yield " ".join(words[first : first + WORDS])
