"""Metrics of the answers of a reinforcement learning step, and samples of them for the log."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stages.rewards import correctness_reward, structure_reward
from stages.training.policy import Floats, informative

SHOWN_CHARS_MAX = 600


def worth(
    texts: Sequence[str], rewards: Floats, group: int, known: Mapping[str, Floats], columns: Mapping[str, Any]
) -> dict[str, float]:
    """Compute `reward`, `format`, `accuracy` and `idle_groups`, means over the answers; the
    answers to one problem are adjacent.

    `known` contains the values of the pipeline's rewards by name, so that nothing is judged twice; `columns` are the
    problems' `answer` and `domain`.
    """
    form, right = known.get("structure"), known.get("correctness")
    return {
        "reward": float(np.mean(rewards)),
        "format": float(np.mean(structure_reward([], texts) if form is None else form)),
        "accuracy": float(np.mean(correctness_reward([], texts, **columns) if right is None else right)),
        "idle_groups": float(np.mean(~informative(rewards, group))),  # equal rewards give no gradient
    }


def shown(step: int, prompts: Sequence[str], texts: Sequence[str], rewards: Floats, group: int) -> str:
    """Format the first problem of the step with its best and its worst answer."""
    first = rewards[:group]
    best, worst = int(np.argmax(first)), int(np.argmin(first))
    lines = [f"step {step} prompt {_shortened(prompts[0])!r}"]
    lines += [f"  reward {first[index]:g}: {_shortened(texts[index])!r}" for index in dict.fromkeys((best, worst))]
    return "\n".join(lines)


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + " …"
