"""Write easy problems in words, with worked solutions, for models that are too small for GSM8K.

    python -m benchmarks.word_problems examples/word_problems.jsonl --rows 800 --seed 0

Each problem has one to three steps: somebody gets or loses some things, has two or three times as many a week later, or
shares them equally. All numbers are whole and below 120. The same seed gives the same file, byte for byte; no two problems are equal.
relay reads the file as one of `inputs.files` and holds out one problem in five.
"""

import argparse
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.data.adapters import taught

NAMES = (
    "Ann",
    "Ben",
    "Carla",
    "David",
    "Emma",
    "Frank",
    "Grace",
    "Henry",
    "Iris",
    "Jack",
    "Kate",
    "Leo",
    "Maria",
    "Noah",
)
THINGS = (
    "apples",
    "books",
    "buttons",
    "cards",
    "coins",
    "eggs",
    "marbles",
    "nuts",
    "pencils",
    "shells",
    "stamps",
    "stickers",
)
LABELS = {1: "easy", 2: "medium", 3: "hard"}
"""Difficulty by number of steps, in the words that `curate` orders."""
STEPS = (1, 2, 1, 2, 3)
"""Steps of one problem after the other."""
START, CHANGE, TIMES, FRIENDS = (3, 30), (2, 12), (2, 3), (2, 5)
"""Smallest and greatest value of each number."""
COUNT_MAX = 100
"""Greatest count before it is multiplied no further."""


@dataclass(frozen=True)
class Step:
    """One change of the count: its sentence, its calculation, and the count after it."""

    sentence: str
    calculation: str
    count: int


def problems(rows: int, seed: int) -> list[dict[str, str]]:
    """Return `rows` different problems, each with `prompt`, `completion`, `answer` and `difficulty`."""
    draw = random.Random(seed)
    found: dict[str, dict[str, str]] = {}
    while len(found) < rows:
        row = problem(draw, STEPS[len(found) % len(STEPS)])
        found.setdefault(row["prompt"], row)
    return list(found.values())


def problem(draw: random.Random, steps: int) -> dict[str, str]:
    """Draw a problem of so many steps."""
    name, things, count = draw.choice(NAMES), draw.choice(THINGS), draw.randint(*START)
    asked = f"How many {things} does {name} have now?"
    sentences, calculations = [f"{name} has {count} {things}."], []
    for number in range(1, steps + 1):
        shared = _shared(draw, name, count) if number == steps else None
        step = shared or _changed(draw, name, count)
        asked = f"How many {things} does each friend get?" if shared else asked
        sentences.append(step.sentence)
        calculations.append(step.calculation)
        count = step.count
    return {
        "prompt": " ".join((*sentences, asked)),
        "completion": taught(" ".join(calculations), str(count)),
        "answer": str(count),
        "difficulty": LABELS[steps],
    }


def _changed(draw: random.Random, name: str, count: int) -> Step:
    """Draw a gain, a loss or a multiplication; with few things, only a gain."""
    kinds = ["gets"] + ["loses"] * (count > CHANGE[0]) + ["times"] * (count * TIMES[1] <= COUNT_MAX)
    kind = draw.choice(kinds)
    if kind == "times":
        times = draw.randint(*TIMES)
        sentence = f"A week later {name} has {times} times as many."
        return Step(sentence, f"{count} * {times} = {count * times}.", count * times)
    number = draw.randint(CHANGE[0], CHANGE[1] if kind == "gets" else min(CHANGE[1], count - 1))
    if kind == "gets":
        return Step(f"{name} gets {number} more.", f"{count} + {number} = {count + number}.", count + number)
    return Step(f"{name} loses {number} of them.", f"{count} - {number} = {count - number}.", count - number)


def _shared(draw: random.Random, name: str, count: int) -> Step | None:
    """Draw an equal sharing; None if the count cannot be shared, and in half of the cases."""
    friends = [number for number in range(FRIENDS[0], FRIENDS[1] + 1) if count % number == 0 and count > number]
    if not friends or draw.random() < 1 / 2:
        return None
    number = draw.choice(friends)
    sentence = f"{name} shares all of them equally among {number} friends."
    return Step(sentence, f"{count} / {number} = {count // number}.", count // number)


def lines(rows: int, seed: int) -> Iterator[str]:
    """Yield the lines of the file."""
    return (json.dumps(row, sort_keys=True) + "\n" for row in problems(rows, seed))


def main() -> int:
    """Write the file that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("into", type=Path, help="file to write")
    parser.add_argument("--rows", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.rows < 1:
        raise SystemExit("--rows: at least 1")
    asked.into.write_text("".join(lines(asked.rows, asked.seed)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
