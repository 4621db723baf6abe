"""Rewards by name: the built-in ones and the user's."""

import functools
import importlib
import math
from collections.abc import Callable, Iterable
from typing import Any

from stages.rewards.correctness import correctness_reward
from stages.rewards.structure import structure_reward
from stages.stage import StageFailed

Reward = Callable[..., list[float]]
OWN: dict[str, Reward] = {"structure": structure_reward, "correctness": correctness_reward}


def load_reward(name: str) -> Reward:
    """Return the reward of that name: `structure`, `correctness`, or the user's own as `module:function`.

    Raises StageFailed if there is no such module or function.
    """
    if name in OWN:
        return OWN[name]
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, ValueError, AttributeError) as error:
        remedy = f"take one of {', '.join(OWN)}, or module:function of a file that the pipeline lists"
        raise StageFailed("bad-options", f"there is no reward {name}: {remedy} ({error})") from error
    if not callable(found):
        raise StageFailed("bad-options", f"the reward {name} should be a function, found {type(found).__name__}")
    reward: Reward = found
    return reward


def checked_rewards(names: Iterable[str]) -> dict[str, Reward]:
    """Return the rewards by name. A call raises StageFailed unless it returns one finite number per completion."""
    return {name: _validated(name, load_reward(name)) for name in names}


def _validated(name: str, reward: Reward) -> Reward:
    @functools.wraps(reward)
    def watched(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        return _checked_values(name, reward(prompts=prompts, completions=completions, **columns), len(completions))

    return watched


def _checked_values(name: str, values: Any, count: int) -> list[float]:
    problem = f"the reward {name} should give {count} finite numbers, one for each completion"
    try:
        read = [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise StageFailed("bad-reward", f"{problem}; {error}") from error
    if len(read) != count:
        raise StageFailed("bad-reward", f"{problem}, and gave {len(read)}")
    if wrong := [value for value in read if not math.isfinite(value)]:
        raise StageFailed("bad-reward", f"{problem}, and gave {wrong[0]}")
    return read
