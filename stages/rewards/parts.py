"""Splits a completion into reasoning, answer and the rest, also while it is still being generated."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class TextPart(StrEnum):
    """Part of a completion that a text belongs to."""

    REASONING = "reasoning"
    ANSWER = "answer"
    OUTSIDE = "outside"
    """Text outside of both kinds of tags."""


TAGS = {
    "<reasoning>": TextPart.REASONING,
    "</reasoning>": TextPart.OUTSIDE,
    "<answer>": TextPart.ANSWER,
    "</answer>": TextPart.OUTSIDE,
}
"""Part that follows each tag."""


@dataclass
class PartSplitter:
    """Splits text that arrives in chunks; any chunks of a text give the same parts.

    A chunk's end is held back while it may be the beginning of a tag. Each tag yields an empty text of the part that it
    begins, so that two answers in a row can be told apart.
    """

    part: TextPart = TextPart.OUTSIDE
    _held: str = ""

    def add(self, chunk: str) -> Iterator[tuple[TextPart, str]]:
        """Yield the next texts, without the tags, each with its part."""
        text = self._held + chunk
        self._held = ""
        while text:
            start = text.find("<")
            if start:  # also if there is none
                yield self.part, text[:start] if start > 0 else text
                text = text[start:] if start > 0 else ""
                continue
            tag = next((tag for tag in TAGS if text.startswith(tag)), None)
            if tag is not None:
                self.part, text = TAGS[tag], text[len(tag) :]
                yield self.part, ""
            elif any(tag.startswith(text) for tag in TAGS):
                self._held, text = text, ""
            else:
                yield self.part, "<"
                text = text[1:]

    def end(self) -> Iterator[tuple[TextPart, str]]:
        """Yield what was held back: the text is complete."""
        held, self._held = self._held, ""
        if held:
            yield self.part, held


def reasoning_of(completion: str) -> str:
    """Return all text within reasoning tags; an unclosed one ends with the completion."""
    splitter = PartSplitter()
    parts = [*splitter.add(completion), *splitter.end()]
    return "".join(text for part, text in parts if part is TextPart.REASONING).strip()
