"""Every answer of the real GSM8K, as people and models write it and as they get it wrong."""

import json
from collections.abc import Iterator

import pytest

from stages.rewards import judge_counts
from stages.rewards.mathematics import same_values
from tests.real import real_data

SPELLINGS = (
    "{gold}",
    "${gold}",
    r"\${gold}",
    "${gold}$",
    "{gold} dollars",
    "${gold}$ miles",
    r"{gold} \text{{ cm}}",
    "{gold} apples per day",
    "{grouped}",
    r"{grouped_latex}",
    "{plain}",
    "{plain}.",
    "{plain}.0",
    "{plain}.00",
    "${grouped}.00",
    r"\boxed{{{gold}}}",
    r"$\boxed{{{gold}}}$",
    "the answer is {gold}",
    "The answer is ${gold}.",
    "`{gold}`",
    "#### {gold}",
    "**{gold}**",
)


def golds() -> Iterator[str]:
    for name in ("gsm8k_train.jsonl", "gsm8k_test.jsonl"):
        with real_data(name).open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)["answer"].rpartition("#### ")[2].strip()


def spellings(gold: str) -> list[str]:
    number = int(gold.replace(",", ""))
    grouped = f"{number:,}"
    latex = grouped.replace(",", r"\,")
    return [one.format(gold=gold, plain=number, grouped=grouped, grouped_latex=latex) for one in SPELLINGS]


def others(gold: str) -> list[str]:
    """Numbers that are close to it in some way, and are not it."""
    number = int(gold.replace(",", ""))
    return [str(other) for other in (number + 1, number - 1, number * 10, -number) if other != number]


@pytest.mark.parametrize("every", [20, pytest.param(1, marks=pytest.mark.slow)])
def test_each_answer_of_gsm8k_is_right_however_it_is_written_and_no_other_number_is(every: int) -> None:
    known = list(golds())
    assert len(known) == 7_473 + 1_319
    before = judge_counts()
    for gold in sorted(set(known[::every])):
        written, wrong = spellings(gold), others(gold)
        right = same_values([*written, *wrong], [gold] * (len(written) + len(wrong)))
        told = dict(zip([*written, *wrong], right, strict=True))
        assert told == dict.fromkeys(written, True) | dict.fromkeys(wrong, False)
    assert judge_counts() == before, "the grammar alone decides: no process is asked"
