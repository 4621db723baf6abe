"""What answers are worth, in the form in which Tunix calls rewards: `reward(prompts, completions, **columns) -> list[float]`."""

from stages.rewards.correctness import correct, correctness_reward, same_value
from stages.rewards.structure import answer_of, structure_reward, well_formed

__all__ = ["answer_of", "correct", "correctness_reward", "same_value", "structure_reward", "well_formed"]
