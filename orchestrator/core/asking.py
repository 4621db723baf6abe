"""Documents between `relay ask` and the process that answers."""

from dataclasses import dataclass
from typing import Any

from stages.documents import Document


@dataclass(frozen=True, kw_only=True)
class AskRequest(Document):
    """The model to load: `model` is the pipeline's section, `directory` the unpacked checkpoint or empty for no training.

    `base` is a folder with the model's files, if its own source is not used. Else they are looked for below `inputs`;
    those of Hugging Face are downloaded to `scratch`. `memory_bytes` is the free memory of this machine; 0: unknown.
    """

    model: dict[str, Any]
    directory: str = ""
    base: str = ""
    inputs: str
    scratch: str
    prompt_tokens: int
    answer_tokens: int
    memory_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Drawing(Document):
    """Choice of tokens. A temperature of 0 always takes the likeliest token, as evaluations do."""

    temperature: float = 0.0
    top_k: int = 0
    """Number of most likely tokens to sample from; 0: all."""
    top_p: float = 1.0
    """Total probability of the most likely tokens to sample from."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class AskedQuestion(Document):
    """A question, without the system prompt and the chat template."""

    text: str
    drawing: Drawing


@dataclass(frozen=True, kw_only=True)
class Answered(Document):
    """The complete answer to a question."""

    text: str
    tokens: int
    """Number of tokens, including the stop token."""
    truncated: bool
    """True if the answer was cut off at the largest number of tokens."""
    interrupted: bool
    """True if the user stopped it."""
