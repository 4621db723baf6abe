"""Prompts in Gemma's chat template. Control tokens inside data are escaped."""

import re

CONTROL = re.compile(
    r"<(?=(?:start_of_turn|end_of_turn|bos|eos|pad|unk|mask|start_of_image|end_of_image|image_soft_token|unused\d+)>)"
)
"""Pattern for the opening bracket of a control token of Gemma's tokenizers."""


def prompt_of(question: str, system: str) -> str:
    """Return the prompt for a question, without the `<bos>` token.

    Gemma has no system turn, so the system prompt precedes the question in the user's turn, as in Google's template for
    Gemma 3; with an empty `system` the question stands alone. White space around the question is stripped, as the
    templates of Gemma 2 and 3 do. Base models get the same format, which they have to learn first.
    """
    question = plain(question).strip()
    asked = f"{system}\n\n{question}" if system else question
    return f"<start_of_turn>user\n{asked}<end_of_turn>\n<start_of_turn>model\n"


def plain(text: str) -> str:
    """Escape control tokens in a text by inserting a space, as in `< end_of_turn>`.

    Inserting, unlike removing, cannot form a new control token from the surrounding text.
    """
    return CONTROL.sub("< ", text)
