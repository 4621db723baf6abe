"""Format reward: one reasoning block, then one answer block, and nothing else."""

import re
from collections.abc import Sequence
from typing import Any

_TAG = re.compile(r"</?(?:reasoning|answer)>")
_SHAPE = ["<reasoning>", "</reasoning>", "<answer>", "</answer>"]


def structure_reward(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    """Return 1.0 for each well-formed completion, else 0.0. Tunix's signature; other columns are ignored."""
    return [1.0 if well_formed(completion) else 0.0 for completion in completions]


def well_formed(completion: str) -> bool:
    """Return True for exactly one reasoning and one answer in this order, not blank, with only white space around."""
    if _TAG.findall(completion) != _SHAPE:
        return False
    before, reasoning, between, answer, after = _TAG.split(completion)
    return bool(reasoning.strip() and answer.strip()) and not (before + between + after).strip()


def answer_of(completion: str) -> str | None:
    """Return the content of the answer block, or None if there is none, more than one, or an unclosed one."""
    if [tag for tag in _TAG.findall(completion) if "answer" in tag] != _SHAPE[2:]:
        return None
    return completion.partition("<answer>")[2].partition("</answer>")[0].strip()
