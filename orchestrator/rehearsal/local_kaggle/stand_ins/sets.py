"""Small stand-ins for the four data sets, with the real files and columns, about tasks that a tiny model can learn.

The tasks are sums of two numbers below 50 (hard if a carry is needed), functions with one constant (hard if it has
three digits), and small talk. As in the real sets, the tests of GSM8K and MBPP are held out, a few of their questions
have leaked into the training data, and the synthetic set (Magpie) has wrong answers, mostly to hard problems. Hard sums
are many and hard functions few, so training on all kinds of problems alike reaches the functions late.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.rehearsal.local_kaggle.stand_ins import columns
from stages.data.layouts import bears_name
from stages.data.mounted import STAND_IN_MARK
from stages.data.order import derive_seed, index_at
from stages.data.registry import KNOWN

SUMS_BELOW = 50
STAND_IN_TEXT = "Made up for rehearsals: nothing that is learnt or measured here says anything about the real thing.\n"
HELD_OUT_ONE_IN = 5
"""Inverse share of the sums that are in GSM8K's test split."""
LEAKED = 8
"""Number of test questions in the train split of GSM8K; half as many of each kind are in Magpie."""
MBPP_ROWS = {"train": 374, "validation": 90, "test": 100, "prompt": 10}
"""Rows per MBPP split, as in the real set, except for `test`, which really has 500."""
MAGPIE_SUMS = 1_500
MAGPIE_ODD = 6
"""Number of unusable rows of each kind in Magpie: without reasoning, or not in English."""

Row = dict[str, Any]
Pair = tuple[int, int]
Function = tuple[str, int]
"""An operator and a constant: (`*`, 3) is the function that multiplies by 3."""

_WORDING = {"+": "adds", "-": "subtracts", "*": "multiplies by", "^": "xors with"}
_TEST_INPUTS = {"+": (1, 4, 7), "-": (0, 5, 8), "*": (3, 6, 9), "^": (10, 20, 30)}
"""Inputs of the tests per operator. They differ between operators, so no two functions share two consecutive tests."""
_CONSTANTS = range(1, 165)
_NAMES = ("Ann", "Ben", "Eve", "Kim", "Leo", "Max", "Sue", "Tom")
_GREETINGS = {"Say hello to": "hello", "Say good bye to": "good bye", "Thank": "thank you"}


def write_sets(
    folder: Path,
    *,
    seed: int = 0,
    wrong: float = 0.2,
    wrong_carry: float = 0.6,
    wrong_long: float = 0.7,
    without: Collection[str] = (),
) -> None:
    """Write the sets below `folder` with the layout of their Hugging Face repositories, reproducibly.

    The same arguments give the same bytes. Sets named in `without` are left out. A marker file says that the sets are
    made up. `wrong` is the share of Magpie's easy rows that are wrong, `wrong_carry` that of sums with a carry,
    `wrong_long` that of functions with a three-digit constant.
    """
    functions = _functions(seed)
    magpie = [
        *_magpie_sums(seed, wrong, wrong_carry),
        *_magpie_functions(functions, seed, wrong, wrong_long),
        *_magpie_odd(functions),
    ]
    files: Mapping[str, tuple[Sequence[Row], Any]] = {
        "gsm8k/main/train": (_shuffled(_gsm8k_train(seed), seed, "gsm8k"), columns.gsm8k()),
        "gsm8k/main/test": ([_gsm8k(pair) for pair in _pairs(held_out=True)], columns.gsm8k()),
        **{
            f"mbpp/full/{split}": ([_mbpp(number, f) for number, f in rows], columns.mbpp())
            for split, rows in functions.items()
        },
        "ultrafeedback_binarized/data/train_prefs": (_talk(held_out=False), columns.ultrafeedback()),
        "ultrafeedback_binarized/data/test_prefs": (_talk(held_out=True), columns.ultrafeedback()),
        "Magpie-Reasoning-V2-250K-CoT-Deepseek-R1-Llama-70B/data/train": (
            _shuffled(magpie, seed, "magpie"),
            columns.magpie(),
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STAND_IN_MARK).write_text(STAND_IN_TEXT, encoding="utf-8")
    for name, (rows, schema) in files.items():
        if not any(bears_name(KNOWN[left_out], name) for left_out in without):
            columns.write(folder / f"{name}-00000-of-00001.parquet", rows, schema)


def _pairs(*, held_out: bool) -> list[Pair]:
    """Return the pairs of one split. The split hashes the sorted pair, so 7+12 and 12+7 are in the same one."""
    pairs = [(first, second) for first in range(SUMS_BELOW) for second in range(SUMS_BELOW)]
    return [pair for pair in pairs if _held_out("{}+{}".format(*sorted(pair))) == held_out]


def _held_out(text: str) -> bool:
    return hashlib.sha256(text.encode()).digest()[0] % HELD_OUT_ONE_IN == 0


def _sum_question(pair: Pair) -> str:
    return f"What is {pair[0]} + {pair[1]}?"


def _needs_carry(pair: Pair) -> bool:
    return pair[0] % 10 + pair[1] % 10 >= 10


def _sum_solution(pair: Pair, *, off: int = 0, carried: int | None = None, noted: bool = False) -> tuple[str, int]:
    """Return the worked solution, units first, and the result. `off` and `carried` introduce a mistake."""
    first, second = pair
    units = first % 10 + second % 10 + off
    carry = units // 10 if carried is None else carried
    tens = first // 10 + second // 10 + carry
    steps = [(f"{first % 10}+{second % 10}", units), (f"{first // 10}+{second // 10}+{carry}", tens)]
    written = [f"{sum_}=<<{sum_}={is_}>>{is_}" if noted else f"{sum_}={is_}" for sum_, is_ in steps]
    return ", ".join(written), 10 * tens + units % 10


def _sum_mistakes(pair: Pair) -> list[tuple[str, int]]:
    """Return plausible mistakes: a forgotten carry or, without one, a digit sum that is off by one or two."""
    if _needs_carry(pair):
        return [_sum_solution(pair, carried=0)]
    return [_sum_solution(pair, off=off) for off in (-2, -1, 1, 2) if 0 <= pair[0] % 10 + pair[1] % 10 + off < 10]


def _gsm8k_train(seed: int) -> list[Row]:
    leaked = _sample(_pairs(held_out=True), LEAKED, seed, "gsm8k leaked")
    shouted = [{**row, "question": str(row["question"]).upper().replace("?", " ?")} for row in map(_gsm8k, leaked)]
    return [*map(_gsm8k, _pairs(held_out=False)), *shouted]


def _gsm8k(pair: Pair) -> Row:
    solution, result = _sum_solution(pair, noted=True)
    return {"question": _sum_question(pair), "answer": f"{solution}\n#### {result}"}


def _functions(seed: int) -> dict[str, list[tuple[int, Function]]]:
    """Return MBPP's splits: each function once, with its `task_id`.

    As in the real set, the ids of `prompt` come first and those of `train` last.
    """
    every = [(operator, constant) for operator in _WORDING for constant in _CONSTANTS]
    drawn = enumerate(_sample(every, sum(MBPP_ROWS.values()), seed, "mbpp"), 1)
    splits = ("prompt", "test", "validation", "train")
    return {split: [next(drawn) for _ in range(MBPP_ROWS[split])] for split in splits}


def _described(function: Function) -> str:
    return f"Write a function f that {_WORDING[function[0]]} {function[1]}."


def _code(function: Function) -> str:
    return f"def f(x):\n return x {function[0]} {function[1]}"


def _tests(function: Function) -> list[str]:
    operator, constant = function
    results = {
        "+": lambda x: x + constant,
        "-": lambda x: x - constant,
        "*": lambda x: x * constant,
        "^": lambda x: x ^ constant,
    }
    return [f"assert f({x}) == {results[operator](x)}" for x in _TEST_INPUTS[operator]]


def _mbpp(task_id: int, function: Function) -> Row:
    return {
        "task_id": task_id,
        "text": _described(function),
        "code": _code(function).replace("\n", "\r\n"),  # like many of the real rows
        "test_list": _tests(function),
        "test_setup_code": "",
        "challenge_test_list": [],
    }


def _magpie_sums(seed: int, wrong: float, wrong_carry: float) -> list[Row]:
    pairs = _sample(_pairs(held_out=False), MAGPIE_SUMS, seed, "magpie sums")
    leaked = _sample(_pairs(held_out=True), LEAKED // 2, seed, "magpie leaked")
    return [_magpie_sum(pair, seed, wrong_carry if _needs_carry(pair) else wrong) for pair in (*pairs, *leaked)]


def _magpie_sum(pair: Pair, seed: int, wrong: float) -> Row:
    draw = derive_seed(seed, "mistake", *pair)
    (solution, result), *_ = [*_random_mistake(_sum_mistakes(pair), draw, wrong), _sum_solution(pair)]
    easy = "easy" if max(pair) < 10 else "medium"
    return columns.magpie_row(
        _sum_question(pair),
        f"<think>\n{solution}\n</think>\n\nThe answer is \\boxed{{{result}}}.",
        difficulty="hard" if _needs_carry(pair) else easy,
        category="Math",
    )


def _magpie_functions(
    functions: Mapping[str, list[tuple[int, Function]]], seed: int, wrong: float, wrong_long: float
) -> list[Row]:
    known = [function for split in ("train", "validation") for _, function in functions[split]]
    leaked = [function for _, function in functions["test"][: LEAKED // 2]]
    return [_magpie_function(each, seed, wrong_long if _is_long(each) else wrong) for each in (*known, *leaked)]


def _is_long(function: Function) -> bool:
    return function[1] >= 100


def _magpie_function(function: Function, seed: int, wrong: float) -> Row:
    operator, constant = function
    mistakes = [(other, constant) for other in _WORDING if other != operator]
    if _is_long(function):
        mistakes = [(operator, constant % 100)]
    (written, *_) = [*_random_mistake(mistakes, derive_seed(seed, "mistake", *function), wrong), function]
    question = "\n".join((_described(function), "Your code should pass these tests:", *_tests(function)))
    return columns.magpie_row(
        question,
        f"<think>\nI write a function that passes these tests.\n</think>\n\n```python\n{_code(written)}\n```",
        difficulty="hard" if _is_long(function) else "easy",
        category="Coding & Debugging",
    )


def _magpie_odd(functions: Mapping[str, list[tuple[int, Function]]]) -> list[Row]:
    """Return unusable rows, about problems that are also elsewhere in the set."""
    pairs = _pairs(held_out=False)[:MAGPIE_ODD]
    thoughtless = [
        columns.magpie_row(_sum_question(pair), f"\\boxed{{{sum(pair)}}}", difficulty="easy", category="Math")
        for pair in pairs
    ]
    foreign = [
        {**_magpie_function(function, 0, 0.0), "language": "ZH"} for _, function in functions["prompt"][:MAGPIE_ODD]
    ]
    return [*thoughtless, *foreign]


def _talk(*, held_out: bool) -> list[Row]:
    people = [*_NAMES, *(f"{one} and {other}" for one in _NAMES for other in _NAMES if one != other)]
    rows = [
        columns.ultrafeedback_row(f"{asked} {whom}.", f"{said} {whom}", f"{said}, {whom}, and what a fine day it is!")
        for asked, said in _GREETINGS.items()
        for whom in people
    ]
    return [row for row in rows if _held_out(str(row["prompt"])) == held_out]


def _random_mistake(mistakes: Sequence[Any], draw: int, share: float) -> list[Any]:
    """Return one of the mistakes for this share of draws, otherwise none."""
    if not mistakes or draw % 10_000 >= share * 10_000:
        return []
    return [mistakes[draw // 10_000 % len(mistakes)]]


def _sample(items: Sequence[Any], count: int, seed: int, name: str) -> list[Any]:
    return [items[index_at(number, len(items), derive_seed(seed, name))] for number in range(count)]


def _shuffled(rows: Sequence[Row], seed: int, name: str) -> list[Row]:
    return _sample(rows, len(rows), seed, f"{name} order")
