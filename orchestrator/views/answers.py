"""Shows answers while they are generated: reasoning and answer apart."""

from typing import Any

from rich.console import Console
from rich.text import Text

from orchestrator.base.terminal import escape_controls
from orchestrator.core.asking import Answered, Drawing
from orchestrator.views.document import FORMAT
from stages.rewards.parts import PartSplitter, TextPart, reasoning_of
from stages.rewards.structure import answer_of

HEADINGS = {TextPart.REASONING: "Reasoning", TextPart.ANSWER: "Answer"}


class AnswerPrinter:
    """Prints one answer piece by piece. `raw` shows its tags instead of headings."""

    def __init__(self, on: Console, *, raw: bool = False) -> None:
        self._on, self._raw = on, raw
        self._splitter = PartSplitter()
        self._shown: TextPart | None = None
        """Part that was printed last; None at the beginning of a new one."""
        self._space = ""
        """White space that is printed only if more text of its part follows."""
        self._empty = True

    def show(self, piece: str) -> None:
        """Print the next piece."""
        if self._raw:
            self._print(piece, "")
            return
        for part, text in self._splitter.add(piece):
            self._show_part(part, text)

    def end(self) -> None:
        """Print the rest and a newline."""
        for part, text in self._splitter.end():
            self._show_part(part, text)
        if not self._empty:
            self._on.print()

    def _show_part(self, part: TextPart, text: str) -> None:
        if not text:  # a tag
            self._shown = None
            return
        style = "dim" if part is TextPart.REASONING else ""
        if self._shown is None or self._shown is not part:
            text = text.lstrip()
            if not text:
                return
            self._space = "" if self._empty else "\n"
            if heading := HEADINGS.get(part, ""):
                self._print(f"{self._space}{heading}", f"bold {style}".strip())
                self._space = "\n"
            self._shown = part
        text = self._space + text
        shown = text.rstrip()
        self._space = text[len(shown) :]
        if shown:
            self._print(shown, style)

    def _print(self, text: str, style: str) -> None:
        if text:
            self._on.print(Text(escape_controls(text), style), end="", soft_wrap=True)  # Text drops some controls
            self._empty = False


def note_on(answered: Answered) -> str:
    """Return the sentence to print below an answer that is not complete; empty for others.

    Text without any tags counts as an answer: a model may have been trained without them.
    """
    if answered.interrupted:
        return "(stopped)"
    if answered.truncated:
        return f"(cut off after {answered.tokens:,} tokens: --max-new-tokens allows more)"
    has_text = bool(answered.text.strip())
    ended_early = answer_of(answered.text) is None and (bool(reasoning_of(answered.text)) or not has_text)
    return "(the model ended without an answer)" if ended_early else ""


def answer_document(question: str, model: str, answered: Answered, drawing: Drawing) -> dict[str, Any]:
    """Describe one answer. `answer` is null unless the text has exactly one answer block."""
    return {
        "format": FORMAT,
        "model": model,
        "question": question,
        "reasoning": reasoning_of(answered.text) or None,
        "answer": answer_of(answered.text),
        **answered.to_dict(),
        **drawing.to_dict(),
    }
