"""Exact tests of the difference between two shares of right answers. Pure."""

from fractions import Fraction
from math import comb


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test, which pairs the answers to the same problems.

    `only_first` and `only_second` count the problems that one of them alone solved. If neither is better, each of these
    is equally likely to be either's: p = 2 * P(X <= min(only_first, only_second)) with X ~ Binomial(their sum, 1/2).
    """
    differing = only_first + only_second
    tail = sum(comb(differing, count) for count in range(min(only_first, only_second) + 1))
    return float(min(Fraction(1), Fraction(2 * tail, 2**differing)))


def fisher(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Return the two-sided p-value of Fisher's exact test of two independent shares, each given as (right, asked).

    Given all right answers together, their number in the first group is hypergeometric. p sums the probabilities of all
    outcomes that are no likelier than the observed one.
    """
    (right, asked), (other_right, other_asked) = first, second
    together = right + other_right
    weights = {
        count: comb(asked, count) * comb(other_asked, together - count)
        for count in range(max(0, together - other_asked), min(asked, together) + 1)
    }
    extreme = sum(weight for weight in weights.values() if weight <= weights[right])
    return float(Fraction(extreme, comb(asked + other_asked, together)))
