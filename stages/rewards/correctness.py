"""Correctness reward with Tunix's signature: 1 for a correct answer, 0 otherwise."""

from collections.abc import Callable, Sequence
from typing import Any

from stages.rewards.mathematics import same_values
from stages.rewards.python_tests import passed
from stages.rewards.structure import answer_of
from stages.stage import StageFailed

Judged = Callable[[Sequence[str], Sequence[str]], list[bool]]

DOMAINS: dict[str, Judged | None] = {"math": same_values, "python": passed, "chat": None}
"""Grading function per domain: (answers, reference answers) to correct or not. None: chat has no correct answer."""


def correctness_reward(
    prompts: Sequence[str],
    completions: Sequence[str],
    *,
    answer: Sequence[Any],
    domain: Sequence[Any] | None = None,
    **columns: Any,
) -> list[float]:
    """Return 1.0 for each completion with a correct answer, else 0.0.

    `answer` and `domain` hold one text per completion (lists or one-dimensional arrays). For `math`, `answer` is the
    reference answer; for `python` it is the tests as `{"setup": "…", "tests": ["assert …"]}`. Completions with an empty
    `answer` or in the domain `chat` are not graded and get 0.0. Raises StageFailed for an unknown domain, for tests
    that cannot be parsed, or if a judge cannot be started.
    """
    texts, wanted = [str(text) for text in completions], [str(text) for text in answer]
    domains = ["math"] * len(texts) if domain is None else [str(name) for name in domain]
    if not len(texts) == len(wanted) == len(domains):
        raise ValueError(f"{len(texts)} completions, {len(wanted)} answers and {len(domains)} domains")
    rewards = [0.0] * len(texts)
    for name in dict.fromkeys(domains):
        if name not in DOMAINS:
            raise StageFailed("bad-domain", f"there is no domain {name!r}: take one of {', '.join(DOMAINS)}")
        judged = DOMAINS[name]
        rows = [row for row, own in enumerate(domains) if own == name and wanted[row].strip()]
        given = {row: text for row in rows if (text := answer_of(texts[row])) is not None}
        if judged is not None:
            right = judged(list(given.values()), [wanted[row] for row in given])
            for row, is_right in zip(given, right, strict=True):
                rewards[row] = float(is_right)
    return rewards
