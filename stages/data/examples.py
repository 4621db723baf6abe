"""Common format of examples from all data sets."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Domain = Literal["math", "python", "chat"]


@dataclass(frozen=True)
class Quality:
    """Quality of a row's solution. The defaults apply to sets without such information."""

    english: bool = True
    """True if the problem is in English, by the set's label or by its words."""
    refuses: bool = False
    """True if the solution begins with a refusal or speaks as an AI."""
    score: float | None = None
    """Score of the solution from 1 to 10; NaN if the row of a scored set has none, None if the set has no scores."""
    margin: float | None = None
    """Difference to the rejected solution's score; NaN and None as for `score`."""


@dataclass(frozen=True)
class Example:
    """A problem with its solution for training, its reference answer for grading, or both."""

    source: str
    """Name of the data set, such as `gsm8k`, or of a file."""
    question: str
    """The question, without the system prompt and the chat template."""
    completion: str = ""
    """Completion for SFT, as `<reasoning>…</reasoning><answer>…</answer>`; empty if there is none."""
    answer: str = ""
    """Reference answer for `correctness_reward`; empty if completions cannot be graded. In the domain `python` it is
    the JSON made by `tests_of`, with the keys `setup` (code that runs first), `tests` (a list of assert statements) and
    optionally `reference` (a solution whose run time determines the time limit)."""
    domain: Domain = "math"
    difficulty: str = ""
    """Difficulty label of the data set; empty if there is none."""
    code: str = ""
    """Solution program, if there is one. Used only to detect overlap with held-out programs."""
    quality: Quality = Quality()

    @property
    def key(self) -> str:
        """Id of sixteen hex digits, independent of the example's position in its set."""
        return hashlib.sha256(f"{self.source}\0{self.question}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Source:
    """Examples for training and for evaluation; `train` and `held_out` share no problem."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    left_out: Counter[str] = field(default_factory=Counter)
    """Number of examples left out of `train` by reason, such as `magpie: too long`, and of `held_out`, such as
    `gsm8k (held out): too long`. Rows that were not read, because enough came before them, are not counted."""
    notes: tuple[str, ...] = ()
    """Messages about mounted copies that could not be used or were recognised by their rows only."""
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Human-readable source of each set's rows, by name."""
