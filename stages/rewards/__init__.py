"""Reward functions with Tunix's signature: `reward(prompts, completions, **columns) -> list[float]`."""

from stages.rewards.correctness import correctness_reward
from stages.rewards.judging.client import close_judges, judge_counts
from stages.rewards.mathematics import correct, judgements, same_value
from stages.rewards.registry import checked_rewards, load_reward
from stages.rewards.structure import answer_of, structure_reward, well_formed

__all__ = [
    "answer_of",
    "checked_rewards",
    "close_judges",
    "correct",
    "correctness_reward",
    "judge_counts",
    "judgements",
    "load_reward",
    "same_value",
    "structure_reward",
    "well_formed",
]
