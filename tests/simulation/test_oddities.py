"""Chains in which text is odd end as all others do, and what they write down can be written anywhere."""

from collections import Counter

import pytest

from orchestrator.rehearsal.simulation.odd_text import TEXTS, WHERE, Oddities
from orchestrator.rehearsal.simulation.runner import one

ODD_SEEDS = [seed for seed in range(1, 400) if Oddities.random(seed).all][:40]


@pytest.mark.slow
def test_chains_with_odd_text_end_and_keep_every_promise() -> None:
    struck: Counter[str] = Counter()
    for seed in ODD_SEEDS:
        ended = one(seed)
        assert (ended.broken, ended.status) == ("", "finished"), f"seed {seed}"
        struck += ended.struck
    assert struck["odd refusal of a push"] > 3
    assert struck["odd message"] > 3


def test_what_is_odd_is_drawn_beside_all_else() -> None:
    drawn_odd = [odd for seed in range(400) for odd in Oddities.random(seed).all]
    assert {odd.where for odd in drawn_odd} == set(WHERE)
    assert {odd.text for odd in drawn_odd} == set(TEXTS)
