"""Problems in words: each is solved again here, from its text alone."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.word_problems import COUNT_MAX, problems
from stages.rewards.structure import answer_of, well_formed

SHIPPED = Path(__file__).parents[2] / "examples" / "word_problems.jsonl"
STEPS = {"easy": 1, "medium": 2, "hard": 3}
SENTENCES = {
    r"gets (\d+) more": lambda count, number: count + number,
    r"loses (\d+) of them": lambda count, number: count - number,
    r"A week later \w+ has (\d+) times as many": lambda count, number: count * number,
    r"shares all of them equally among (\d+) friends": lambda count, number: count / number,
}


def solved(prompt: str) -> tuple[float, int]:
    """Solve a problem from its text: the count and the number of steps."""
    first, *sentences, asked = re.split(r"(?<=[.?]) ", prompt)
    began = re.fullmatch(r"(\w+) has (\d+) (\w+)\.", first)
    assert began is not None, first
    count, shares = float(began[2]), False
    for sentence in sentences:
        (found,) = [(match, rule) for form, rule in SENTENCES.items() if (match := re.search(form, sentence))]
        count, shares = found[1](count, int(found[0][1])), "shares" in sentence
    who = "each friend get" if shares else f"{began[1]} have now"
    assert asked == f"How many {began[3]} does {who}?"
    return count, len(sentences)


@pytest.mark.parametrize("seed", range(5))
def test_every_answer_is_what_the_text_says(seed: int) -> None:
    for row in problems(300, seed):
        count, steps = solved(row["prompt"])
        assert (str(int(count)), float(row["answer"])) == (row["answer"], count), row
        assert 0 < count <= 2 * COUNT_MAX
        assert STEPS[row["difficulty"]] == steps


def test_every_solution_calculates_correctly_and_ends_in_the_answer() -> None:
    operations = {
        "+": lambda one, two: one + two,
        "-": lambda one, two: one - two,
        "*": lambda one, two: one * two,
        "/": lambda one, two: one / two,
    }
    for row in problems(300, 0):
        calculated = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", row["completion"])
        assert len(calculated) == STEPS[row["difficulty"]]
        for one, sign, two, result in calculated:
            assert operations[sign](int(one), int(two)) == int(result), row
        assert calculated[-1][3] == answer_of(row["completion"]) == row["answer"]
        assert well_formed(row["completion"])


def test_a_seed_gives_the_same_problems_again_none_of_them_twice() -> None:
    rows = problems(400, 3)
    assert rows == problems(400, 3) != problems(400, 4)
    assert len({row["prompt"] for row in rows}) == 400


def test_the_file_of_the_example_is_what_the_generator_writes() -> None:
    shipped = [json.loads(line) for line in SHIPPED.read_text(encoding="utf-8").splitlines()]
    assert shipped == problems(len(shipped), 0)
