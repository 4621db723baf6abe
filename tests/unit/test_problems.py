"""A data file of the user's own: found in the mounts by name, split once and for all, and refused with the line that does not fit."""

import json
from pathlib import Path

import pytest

from stages.data import Source, open_source


def line(number: int, **more: object) -> str:
    sample = {"prompt": f"{number}+1=?", "answer": str(number + 1), "completion": f"<answer>{number + 1}</answer>"}
    return json.dumps({**sample, **more})


def mounted(inputs: Path, *lines: str) -> Path:
    folder = inputs / "datasets" / "me" / "gsm-3f9a-inputs"
    folder.mkdir(parents=True)
    (folder / "problems.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return inputs


def opened(inputs: Path, name: str = "problems.jsonl") -> Source:
    return open_source([name], inputs, seed=0, wants=lambda example: "")


def test_problems_are_split_by_their_question(tmp_path: Path) -> None:
    source = opened(mounted(tmp_path, *(line(n, difficulty="hard") for n in range(100))))
    assert len(source.train) + len(source.held_out) == 100
    assert len(source.held_out) > 5
    assert not {e.question for e in source.train} & {e.question for e in source.held_out}
    first = source.train[0]
    assert first.completion.startswith("<answer>")
    assert (first.source, first.domain, first.difficulty) == ("problems.jsonl", "math", "hard")
    assert int(first.answer) == int(first.question.partition("+")[0]) + 1


def test_the_split_of_a_problem_does_not_depend_on_the_others(tmp_path: Path) -> None:
    every = opened(mounted(tmp_path / "all", *(line(n) for n in range(100))))
    some = opened(mounted(tmp_path / "some", *(line(n) for n in range(50, 100))))
    assert {e.question for e in some.held_out} < {e.question for e in every.held_out}


def test_a_count_takes_no_more_than_so_many(tmp_path: Path) -> None:
    source = opened(mounted(tmp_path, *(line(n) for n in range(100))), "problems.jsonl:7")
    assert (len(source.train), len(source.held_out)) == (7, 7)


def test_tests_make_a_python_problem_that_shows_and_is_judged_by_them(tmp_path: Path) -> None:
    def written(n: int) -> str:
        return json.dumps(
            {"prompt": f"Add {n}.", "tests": [f"assert f(0) == {n}"], "setup": "import math", "reference": "f"}
        )

    example = opened(mounted(tmp_path, *(written(n) for n in range(40)))).train[0]
    assert example.domain == "python"
    judged_by = json.loads(example.answer)
    assert (judged_by["setup"], judged_by["reference"]) == ("import math", "f")
    assert example.question.endswith(f"Your code should pass these tests:\n{judged_by['tests'][0]}")


def test_a_python_problems_program_is_what_its_completion_answers(tmp_path: Path) -> None:
    def written(n: int) -> str:
        answer = f"<reasoning>a</reasoning><answer>def f(x): return x + {n}</answer>"
        return json.dumps({"prompt": f"Add {n}.", "tests": [f"assert f(0) == {n}"], "completion": answer})

    example = opened(mounted(tmp_path, *(written(n) for n in range(40)))).train[0]
    assert example.code == f"def f(x): return x + {example.question.split('.')[0].rpartition(' ')[2]}"
    assert not opened(mounted(tmp_path / "sums", *(line(n) for n in range(40)))).train[0].code


def test_a_completion_cannot_end_the_models_turn(tmp_path: Path) -> None:
    taught = "<reasoning>a<end_of_turn></reasoning><answer>b</answer>"
    example = opened(mounted(tmp_path, *(line(n, completion=taught) for n in range(40)))).train[0]
    assert example.completion == "<reasoning>a< end_of_turn></reasoning><answer>b</answer>"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("{", "problems.jsonl, line 2: this is not JSON"),
        ("[]", "problems.jsonl, line 2: this is not an object"),
        (line(1, answer=2), "problems.jsonl, line 2: answer is not text: put it in quotation marks"),
        (line(1, prompt=" "), "problems.jsonl, line 2: prompt is missing or empty"),
        (line(1, answer="\ud83d"), "problems.jsonl, line 2: answer has half of a surrogate pair"),
        ("[" * 100_000, "problems.jsonl, line 2: this is not JSON"),
        ('{"answer": "2"}', "problems.jsonl, line 2: prompt is missing or empty"),
        ('{"prompt": "1+1?"}', "problems.jsonl, line 2: there is neither answer nor completion"),
        ('{"prompt": "1+1?", "domain": "python"}', "problems.jsonl, line 2: there is neither tests nor completion"),
        (line(1, domain="maths"), "problems.jsonl, line 2: domain is 'maths'; there are math, python, chat"),
        (line(1, tests="assert f(1)"), "problems.jsonl, line 2: tests is not a list"),
        (line(1, tests=["assert f(1"]), "problems.jsonl, line 2: tests is not valid Python"),
        (line(1, tests=["assert f(1)"], setup="import"), "problems.jsonl, line 2: setup is not valid Python"),
        (line(1, tests=["assert f(1)"], reference=5), "problems.jsonl, line 2: reference is not text"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, wrong: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        opened(mounted(tmp_path, line(0), wrong))


def test_a_file_that_is_not_mounted_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"problems\.jsonl is in none of the mounted inputs"):
        opened(tmp_path)


def test_too_few_problems_to_hold_any_out_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too few"):
        opened(mounted(tmp_path, line(0)))


@pytest.mark.parametrize("name", ["gsm9k", "", "sums:30", "problems.json"])
def test_a_set_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is not known; there are magpie, ultrafeedback, gsm8k, mbpp"):
        opened(tmp_path, name)
