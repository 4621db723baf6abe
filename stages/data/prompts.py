"""Prompts in the chat templates of the model families. Control tokens inside data are escaped."""

import re

from stages.options.families import family_of

CONTROL = re.compile(
    r"<(?=(?:start_of_turn|end_of_turn|bos|eos|pad|unk|mask|start_of_image|end_of_image|image_soft_token|unused\d+"
    r"|\|[a-z_]+(?:_\d+)?\|)>)"
)
"""Pattern for the opening bracket of a control token of any family's tokenizers, such as `<end_of_turn>` (Gemma),
`<|im_end|>` (Qwen) and `<|eot_id|>` (Llama)."""


def prompt_of(question: str, system: str, kind: str = "gemma2") -> str:
    """Return the prompt for a question in the chat template of a kind of model, without the token that begins a text.

    `stages.options.chat` has the templates, and where each puts the system prompt. White space around the question is
    stripped, as most of them do. Base models get the same format, which they have to learn first.
    """
    return family_of(kind).chat.prompt(plain(question).strip(), system)


def plain(text: str) -> str:
    """Escape control tokens in a text by inserting a space, as in `< end_of_turn>`.

    Inserting, unlike removing, cannot form a new control token from the surrounding text.
    """
    return CONTROL.sub("< ", text)
