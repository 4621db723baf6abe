"""What every set of examples becomes, whatever its own columns are."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Domain = Literal["math", "python", "chat"]


@dataclass(frozen=True)
class Quality:
    """What a row tells of how good its solution is; the defaults are those of a set that tells nothing."""

    english: bool = True
    """Whether the problem is in English, as far as the set's label or the words tell."""
    refuses: bool = False
    """Whether the solution begins with a refusal, or speaks as an AI."""
    score: float | None = None
    """The solution's score from 1 to 10; NaN where the set has scores and this row has none, None where the set has none."""
    margin: float | None = None
    """How far the score is above that of the rejected solution; NaN and None as for `score`."""


@dataclass(frozen=True)
class Example:
    """A problem, and what teaches or judges its solution."""

    source: str
    """The set that it is from: `gsm8k`, or the name of a file."""
    question: str
    """What is asked, without the system's words and the chat template."""
    completion: str = ""
    """What SFT teaches, as `<reasoning>…</reasoning><answer>…</answer>`; empty where there is nothing to teach."""
    answer: str = ""
    """What `correctness_reward` compares with; empty where an answer cannot be judged. In the domain `python` it is what
    `tests_of` makes: JSON with the keys `setup` (code that runs first), `tests` (a list of assert statements) and, where there is
    one, `reference` (a solution, by whose time that of an answer is limited)."""
    domain: Domain = "math"
    difficulty: str = ""
    """The set's own label, where it has one."""
    code: str = ""
    """The program that solves it, where there is one: compared with those that are held out, and nothing else."""
    quality: Quality = Quality()

    @property
    def key(self) -> str:
        """Sixteen hex digits that stay the same wherever the example stands in its set."""
        return hashlib.sha256(f"{self.source}\0{self.question}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Source:
    """Examples by use; `train` and `held_out` share no problem."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    left_out: Counter[str] = field(default_factory=Counter)
    """How many examples were left out of `train`, by reason, such as `magpie: too long`, and out of `held_out`, such as
    `gsm8k (held out): too long`. Rows that were not needed, because there were enough before them, do not count."""
    notes: tuple[str, ...] = ()
    """What was seen of mounted copies that could not be used, or that do not bear their set's name."""
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Where each set's rows are from, for people."""
