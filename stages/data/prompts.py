"""How a problem is put to Gemma: its chat template, and no text of a data set that could pass for a part of it."""

import re

CONTROL = re.compile(
    r"<(?=(?:start_of_turn|end_of_turn|bos|eos|pad|unk|mask|start_of_image|end_of_image|image_soft_token|unused\d+)>)"
)
"""The begin of what Gemma's tokenizers read as one piece with a meaning of its own."""


def prompt_of(question: str, system: str) -> str:
    """The text that a model continues with its answer; the token `<bos>` is not part of it.

    Gemma has no turn for a system's words, so they stand before the question in the user's turn, as in Google's own
    template of Gemma 3. Without them (an empty `system`) the question stands alone. Space around a question is left out, as
    the templates of Gemma 2 and 3 do. Base models are asked in the same form, which they have yet to learn.
    """
    question = plain(question).strip()
    asked = f"{system}\n\n{question}" if system else question
    return f"<start_of_turn>user\n{asked}<end_of_turn>\n<start_of_turn>model\n"


def plain(text: str) -> str:
    """The text with a space within everything that a tokenizer would take for a control piece, such as `< end_of_turn>`.

    Putting something in, unlike taking something out, cannot make a new one of what stood around it.
    """
    return CONTROL.sub("< ", text)
