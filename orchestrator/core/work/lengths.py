"""Mean lengths of the built-in data sets in tokens, and what is assumed where no length is known. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp
from statistics import NormalDist

from stages.options.training import set_and_count

SPREAD = 0.5
"""Standard deviation of the logarithm of lengths. GSM8K's solutions: 95 % are below 1.87 times the mean, which is 0.43;
answers of a model to GSM8K and MBPP vary more: the longest of 16 has 2.2 times their mean."""


@dataclass(frozen=True)
class SetLengths:
    """Mean tokens of a set's prompts and solutions, in relay's prompt and answer format."""

    prompt: float
    solution: float


MEASURED = {
    "gsm8k": SetLengths(102, 103),
    "mbpp": SetLengths(155, 87),
    "ultrafeedback": SetLengths(171, 262),
}
"""Means with Gemma 3's tokenizer. GSM8K: all 7,473 training problems; MBPP: all 974 tasks with their tests;
UltraFeedback: 1,200 real rows, of which 1,130 have at most 1,024 tokens. Of Magpie-Reasoning-V2 nobody has counted."""
UNKNOWN = (0.4, 0.9)
"""Assumed mean length of a set without figures, as a share of the limit, at least and at most: its longer rows are left
out. A quarter of it is taken to be the prompt."""
UNKNOWN_PROMPT = 0.25
DRAWN = (1.0, 2.5)
"""Assumed mean length of a model's answers, as a multiple of the sets' solutions, at least and at most."""


@dataclass(frozen=True)
class MeanLengths:
    """Mean lengths of a stage's prompts and completions in tokens; `assumed` names the sets without figures."""

    prompt: float
    completion: float
    assumed: tuple[str, ...] = ()


def known_sets(data: Iterable[str]) -> tuple[list[tuple[str, int]], tuple[str, ...]]:
    """Return the sets with their counts (0: all), and the names of those of which no lengths are known."""
    sets = [set_and_count(entry) for entry in data]
    return sets, tuple(dict.fromkeys(name for name, _ in sets if name not in MEASURED))


def taught_lengths(data: Iterable[str], longest: int, slow: float) -> MeanLengths:
    """Return the mean lengths of worked examples of at most `longest` tokens.

    `slow` from 0 to 1 is the place within the bounds of what is unknown. Sets count by their numbers of examples, those
    without a number equally.
    """
    sets, unknown = known_sets(data)
    total = longest * _between(UNKNOWN, slow)
    guess = SetLengths(UNKNOWN_PROMPT * total, (1 - UNKNOWN_PROMPT) * total)
    found = _mean([(MEASURED.get(name, guess), count) for name, count in sets])
    shrunk = min(1.0, longest / (found.prompt + found.solution))
    return MeanLengths(found.prompt * shrunk, found.solution * shrunk, unknown)


def asked_lengths(data: Iterable[str], prompt_max: int, completion_max: int, slow: float) -> MeanLengths:
    """Return the mean lengths of prompts and of the model's own answers, at most the two limits."""
    sets, unknown = known_sets(data)
    guess = SetLengths(prompt_max * _between(UNKNOWN, slow), completion_max * _between(UNKNOWN, slow) / DRAWN[1])
    found = _mean([(MEASURED.get(name, guess), count) for name, count in sets])
    return MeanLengths(
        min(found.prompt, prompt_max), min(found.solution * _between(DRAWN, slow), 0.9 * completion_max), unknown
    )


def longest_of(count: float, mean: float, limit: int) -> float:
    """Return the expected longest of `count` lengths of this mean, at most `limit`.

    MeanLengths are taken as lognormal with SPREAD; the expectation is the quantile (count - 3/8) / (count + 1/4) (Blom).
    """
    if count <= 1:
        return min(mean, limit)
    at = NormalDist().inv_cdf((count - 0.375) / (count + 0.25))
    return min(limit, mean * max(1.0, exp(SPREAD * at - SPREAD**2 / 2)))


def mean_square(mean: float, limit: int) -> float:
    """Return the mean of the squared lengths."""
    return min(mean**2 * exp(SPREAD**2), mean * limit)


def _between(bounds: tuple[float, float], slow: float) -> float:
    """Return the value at `slow` from the lower (0) to the upper bound (1), on a logarithmic scale."""
    low, high = bounds
    return float(low * (high / low) ** slow)


def _mean(sets: list[tuple[SetLengths, int]]) -> SetLengths:
    counted = all(count for _, count in sets)
    weights = [count if counted else 1 for _, count in sets]
    whole = sum(weights)
    prompt = sum(weight * each.prompt for weight, (each, _) in zip(weights, sets, strict=True)) / whole
    return SetLengths(
        prompt, sum(weight * each.solution for weight, (each, _) in zip(weights, sets, strict=True)) / whole
    )
