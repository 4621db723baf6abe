"""What Tunix hands over and gets back, what hostile answers can do, and the rewards that a pipeline names."""

import inspect
import itertools
import math
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.rewards import (
    answer_of,
    checked_rewards,
    close_judges,
    correct,
    correctness_reward,
    judge_counts,
    judgements,
    load_reward,
    same_value,
    structure_reward,
)
from stages.rewards.correctness import DOMAINS
from stages.rewards.judging.server import MATH_LIMITS, PYTHON_LIMITS, STILL_S
from stages.stage import StageFailed

LATEX = r"\frac \sqrt \pi \boxed{ \text{ \left( \right) \cdot \times \infty \begin{pmatrix} \end{pmatrix} \\ \{ \} \% \$ $$ ** ^\circ"
WORDS = "dollars km hours percent and or not the answer is sin log sqrt( 1,234 1/2 1e3 10^ 9**9 factorial( __import__('os') lambda"
PIECES = (
    *"0123456789+-*/^_=<>()[]{}|,.;:!?$%&'\"~`#@\\ \n\t",
    *"xyzie",
    *LATEX.split(),
    *WORDS.split(),
    *(
        "١",
        "１",
        "½",
        "−",
        "π",
        "∞",
        "\x00",
        "\x1b",
        "\ud800",
        "\u202e",
        "𝟏",
        "é",
        "文",
        "\U0001f600",
        "</answer>",
        "<answer>",
    ),
)
WANTED = (
    "18",
    "-5",
    "0.5",
    "1,234",
    "50%",
    "x+1",
    r"\frac{\sqrt{3}}{2}",
    "(1, 2]",
    r"\{1, 2\}",
    "1, 2",
    "Paris",
    "x > 5",
)


def worked(answer: str) -> str:
    return f"<reasoning>so</reasoning><answer>{answer}</answer>"


def fuzzed(seed: int) -> str:
    """Pieces of grammar and LaTeX in any order, now and then bytes read as text."""
    source = random.Random(seed)
    if seed % 10 == 0:
        return source.randbytes(source.randint(0, 60)).decode("latin-1")
    return "".join(source.choices(PIECES, k=source.randint(0, 12)))


# --- what Tunix hands over --------------------------------------------------


def test_only_one_closed_answer_counts() -> None:
    assert answer_of("<answer>1</answer><answer>2</answer>") is None
    assert answer_of("<answer>1") is None
    assert answer_of("</answer>1<answer>") is None
    assert answer_of("1") is None
    assert answer_of("no reasoning, but <answer> 1 </answer>") == "1"


def test_rewards_take_what_tunix_hands_them() -> None:
    columns: dict[str, Any] = {"answer": ["19", 19, "20"], "trajectory_ids": ["a", "b", "c"], "mode": "train"}
    completions = [worked("19"), worked("19.0"), worked("19")]
    assert correctness_reward(["?"] * 3, completions, **columns) == [1.0, 1.0, 0.0]
    assert structure_reward(["?"] * 3, completions, **columns) == [1.0, 1.0, 1.0]


def test_each_row_is_judged_in_its_own_domain() -> None:
    tests = '{"setup": "", "tests": ["assert f(2) == 5"]}'
    completions = np.array([worked("19"), worked("def f(x): return 5"), worked("19"), worked("19"), "19"])
    answer = np.array(["19", tests, "19", "", "19"])
    domain = np.array(["math", "python", "chat", "math", "math"])
    rewards = correctness_reward(["?"] * 5, completions, answer=answer, domain=domain)  # type: ignore[arg-type]
    assert rewards == [1.0, 1.0, 0.0, 0.0, 0.0]


class Counted(list[bool]):
    """Verdicts that count how many of them were looked at."""

    polled_at = 0

    def __iter__(self) -> Iterator[bool]:
        for verdict in super().__iter__():
            self.polled_at += 1
            yield verdict


def test_each_verdict_of_a_batch_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = Counted([True, False] * 100)
    monkeypatch.setitem(DOMAINS, "counted", lambda given, wanted: verdicts)
    rewards = correctness_reward(["?"] * 200, [worked("1")] * 200, answer=["1"] * 200, domain=["counted"] * 200)
    assert rewards == [1.0, 0.0] * 100
    assert verdicts.polled_at == 200


def test_an_unknown_domain_and_rows_that_do_not_match_are_refused() -> None:
    with pytest.raises(StageFailed, match="there is no domain 'poetry'"):
        correctness_reward(["?"], [worked("1")], answer=["1"], domain=["poetry"])
    with pytest.raises(ValueError, match="2 completions, 1 answers"):
        correctness_reward(["?"] * 2, [worked("1")] * 2, answer=["1"])


# --- hostile mathematics ----------------------------------------------------


@pytest.mark.parametrize("wanted", ["19", "x+1"])
@pytest.mark.parametrize(
    "hostile",
    [
        "9" * 1_000_000,
        "0." + "0" * 100_000,
        "1/" * 50,
        "(" * 100_000,
        r"\frac" * 10_000,
        r"\frac{1}" * 40,
        r"\sqrt{" * 30 + "1" + "}" * 30,
        "1," * 100_000,
        "a " * 100_000,
        "x = " * 1000,
        "\x00",
        "1" * 19 + "!" * 19,
        "2^" * 60 + "2",
        r"\boxed{" * 2000 + "19" + "}" * 2000,
        "$" * 300,
        "the answer is " * 20,
    ],
    ids=lambda text: text[:12],
)
def test_hostile_texts_are_worth_nothing(hostile: str, wanted: str) -> None:
    assert not correct(worked(hostile), wanted)


def test_no_case_may_take_two_seconds() -> None:
    """By the limits that the kernel keeps, since a test that looks at a clock fails on a busy machine."""
    assert MATH_LIMITS.cpu_s < 2
    assert PYTHON_LIMITS.cpu_s < 2
    assert STILL_S < 2


@pytest.mark.slow
def test_a_case_that_meets_its_limit_is_wrong_and_counted_and_the_next_one_is_judged() -> None:
    before = judge_counts()
    million_terms = "(x+y+z+w)^{180}"
    assert not same_value(f"{million_terms}x + {million_terms}(y+z+w)", "(x+y+z+w)^{181}")
    assert judge_counts()["limit"] == before["limit"] + 1
    assert same_value("3+x", "x+3")
    assert judge_counts()["lost"] == before["lost"]


@pytest.mark.slow
def test_the_same_question_is_judged_once() -> None:
    assert same_value("7+x", "x+7")
    before = judge_counts()
    assert same_value("7+x", "x+7")
    assert judge_counts() == before


def test_all_that_an_answer_needs_is_one_case_with_one_limit() -> None:
    before = judge_counts()["judged"]
    assert same_value(r"\sqrt{2}x, \sqrt{3}x, \sqrt{5}x", r"x\sqrt{5}, x\sqrt{2}, x\sqrt{3}")
    assert judge_counts()["judged"] == before + 1


@pytest.mark.slow
def test_every_thread_may_ask() -> None:
    found: dict[int, bool] = {}

    def ask(number: int) -> None:
        found[number] = same_value(f"{number}+x", f"x+{number}") and not same_value(f"{number}-x", f"x+{number}")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(6), True)


@pytest.mark.slow
def test_a_closed_judge_starts_again() -> None:
    assert same_value("y+1", "1+y")
    close_judges()
    before = judge_counts()["started"]
    assert same_value("y+2", "2+y")
    assert judge_counts()["started"] == before + 1


@pytest.mark.slow
def test_without_math_verify_numbers_are_judged_and_expressions_end_the_session_in_one_sentence() -> None:
    program = (
        "import sys; sys.path.append(sys.argv[1]); from stages.rewards import same_value; from stages.stage import StageFailed\n"
        "print(same_value('$18.00', '18'))\n"
        "try: same_value('x+1', '1+x')\n"
        "except StageFailed as failed: print(failed.cause, failed.reason)"
    )
    command = [sys.executable, "-I", "-S", "-c", program, str(Path(__file__).parents[2])]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[0] == "True"
    assert said[1].startswith("judge-missing the judge of math did not start (No module named ")
    assert "math-verify" in said[1]


def test_judges_that_disagree_are_told_apart() -> None:
    assert judgements(worked("18 dollars"), "18") == {"exact": True, "math_verify": True}
    assert judgements(worked("17 or 18"), "18") == {"exact": False, "math_verify": True}
    assert judgements(worked("7+12"), "19") == {"exact": False, "math_verify": True}
    assert judgements(worked("x+1"), "1+x") == {"exact": True, "math_verify": False}
    assert judgements("no tags", "19") == {"exact": False, "math_verify": False}


@pytest.mark.slow
def test_ten_thousand_texts_are_judged_without_harm_and_always_alike() -> None:
    """Seeded: the number of a text that fails is in the message."""
    before = judge_counts()
    verdicts = []
    for seed, wanted in zip(range(10_000), itertools.cycle(WANTED), strict=False):
        text = fuzzed(seed)
        # The grammar and all that guards SymPy's door see every text; of those let in, every tenth reaches SymPy.
        reward = correctness_reward(["?"], [worked(text)], answer=[wanted if seed % 10 == 0 else "18"])
        assert reward in ([0.0], [1.0]), (seed, text)
        verdicts.append(reward)
    assert sum(reward == [1.0] for reward in verdicts) < 200
    assert judge_counts()["lost"] == before["lost"]
    again = [correctness_reward(["?"], [worked(fuzzed(seed))], answer=["18"]) for seed in range(1, 2_000, 10)]
    assert again == verdicts[1:2_000:10]


# --- rewards by name --------------------------------------------------------


def halves(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    return [0.5] * len(completions)


def too_few(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    return []


def not_numbers(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    return [math.nan] * len(completions)


def nothing(prompts: list[str], completions: list[str], **columns: Any) -> None:
    return None


def greedy(prompts: list[str], completions: list[str], epsilon: float, **columns: Any) -> list[float]:
    return [epsilon] * len(completions)


NOT_A_FUNCTION = 1


def test_a_reward_is_found_by_its_name() -> None:
    assert load_reward("structure") is structure_reward
    assert load_reward("correctness") is correctness_reward
    assert load_reward(f"{__name__}:halves") is halves


@pytest.mark.parametrize(
    "name", ["beauty", "no_such_module:f", f"{__name__}:no_such", f"{__name__}:NOT_A_FUNCTION", ":"]
)
def test_a_reward_that_is_not_there_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(StageFailed, match="reward") as refused:
        load_reward(name)
    assert refused.value.cause == "bad-options"
    assert name in refused.value.reason


def test_rewards_are_known_by_the_names_that_the_pipeline_gives_them() -> None:
    rewards = checked_rewards(["structure", "correctness", f"{__name__}:halves"])
    completions = [worked("19"), "19"]
    values = {
        name: reward(prompts=["?"] * 2, completions=completions, answer=["19"] * 2) for name, reward in rewards.items()
    }
    assert values == {"structure": [1.0, 0.0], "correctness": [1.0, 0.0], f"{__name__}:halves": [0.5, 0.5]}


def test_the_users_own_reward_keeps_its_parameters() -> None:
    (reward,) = checked_rewards([f"{__name__}:greedy"]).values()
    assert "epsilon" in inspect.signature(reward).parameters
    assert reward(prompts=["?"], completions=["!"], epsilon=0.25) == [0.25]


@pytest.mark.parametrize("name", ["too_few", "not_numbers", "nothing"])
def test_a_reward_that_is_no_number_for_each_completion_ends_the_session_by_name(name: str) -> None:
    (reward,) = checked_rewards([f"{__name__}:{name}"]).values()
    with pytest.raises(StageFailed, match=f"{__name__}:{name} should give 2 finite numbers") as failed:
        reward(prompts=["?"] * 2, completions=["!"] * 2)
    assert failed.value.cause == "bad-reward"
