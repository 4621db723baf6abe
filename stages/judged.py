"""What the answers of a reinforcement learning step were worth, in numbers and, now and then, to be read."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.rewards import correctness_reward, structure_reward

SHOWN_CHARS_MAX = 600


class Judged:
    """Tunix calls `watch` once a step, with every answer of that step."""

    def __init__(self, generations: int) -> None:
        self._generations = generations
        self._found: dict[str, float] = {}
        self._texts: tuple[Sequence[str], Sequence[str], Any] = ((), (), ())

    def watch(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        rewards: Any,
        answer: Sequence[str],
        domain: Sequence[str],
        **_: Any,
    ) -> dict[str, Any]:
        """Measure the answers; the groups of one problem stand together."""
        groups = np.asarray(rewards).reshape(-1, self._generations)
        idle = groups.max(axis=1) == groups.min(axis=1)
        self._found = {
            "reward": float(np.mean(rewards)),
            "format": float(np.mean(structure_reward(prompts, completions))),
            "accuracy": float(np.mean(correctness_reward(prompts, completions, answer=answer, domain=domain))),
            "idle_groups": float(np.mean(idle)),  # a group of equals teaches nothing
        }
        self._texts = (prompts, completions, np.asarray(rewards))
        return {}

    def take(self) -> dict[str, float]:
        """The step's values, and forget them."""
        found, self._found = self._found, {}
        return found

    def shown(self, step: int) -> str:
        """The first problem of the step with its best and its worst answer."""
        prompts, completions, rewards = self._texts
        if not len(prompts):
            return ""
        first = rewards[: self._generations]
        best, worst = int(np.argmax(first)), int(np.argmin(first))
        lines = [f"step {step} asked {_cut(prompts[0])!r}"]
        lines += [f"  worth {first[index]:g}: {_cut(completions[index])!r}" for index in dict.fromkeys((best, worst))]
        return "\n".join(lines)


def _cut(text: str) -> str:
    text = str(text)  # NumPy's own texts show their type
    return text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + " …"
