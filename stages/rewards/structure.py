"""Whether an answer has the shape that was asked for: one reasoning, then one answer, and nothing else."""

import re
from collections.abc import Sequence
from typing import Any

_TAG = re.compile(r"</?(?:reasoning|answer)>")
_SHAPE = ["<reasoning>", "</reasoning>", "<answer>", "</answer>"]


def structure_reward(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    """1 for each completion of the right shape, else 0. Tunix's calling form; the other columns do not matter."""
    return [1.0 if well_formed(completion) else 0.0 for completion in completions]


def well_formed(completion: str) -> bool:
    """Exactly one reasoning and one answer in this order, neither blank, with only white space around them."""
    if _TAG.findall(completion) != _SHAPE:
        return False
    before, reasoning, between, answer, after = _TAG.split(completion)
    return bool(reasoning.strip() and answer.strip()) and not (before + between + after).strip()


def answer_of(completion: str) -> str | None:
    """What stands in the one answer, or None where there is none, more than one, or one that is not closed."""
    if [tag for tag in _TAG.findall(completion) if "answer" in tag] != _SHAPE[2:]:
        return None
    return completion.partition("<answer>")[2].partition("</answer>")[0].strip()
