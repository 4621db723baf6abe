"""relay check lists every mistake of a file at once, each with its line, and says why Kaggle cannot be reached in a few words."""

import socket
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from orchestrator.cli import main
from orchestrator.kaggle.network_reasons import network_reason
from orchestrator.pipeline import loader
from orchestrator.pipeline.key_lines import line_of, lines_of
from stages.options import Sft, mistakes

WRONG = """\
name: Bad Name
accelerator: Tpu
sed: 3
model: {kind: gemma9}
session: {limit_s: -4}
stages:
  - name: a
    kind: sft
    steps: 0
    options:
      batch: -1
      learning: 3
  - {name: a, kind: nope, steps: 3}
  - {name: c, options: {step_s: x}}
"""


def checked(path: Path, *more: str) -> str:
    result = CliRunner().invoke(main, ["check", str(path), "--offline", *more], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    return result.output


def test_mistakes_of_every_kind_are_listed_at_once_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(WRONG, encoding="utf-8")
    text = checked(path)
    for line, words in {
        1: "name 'Bad Name' becomes part of Kaggle's names",
        2: "accelerator: 'Tpu' is not a value",
        3: "sed: 'sed' is not a key",
        4: "model.kind: 'gemma9' is not a value",
        5: "session.limit_s: input should be greater than 0",
        9: "stages[0].steps: input should be greater than or equal to 1",
        11: "stages[0].options.batch should be positive",
        12: "stages[0].options.learning is not an option",
        13: "stages[1].kind: 'nope' is not a value",
        14: "stages[2].kind is missing",
    }.items():
        assert f"line {line}: {words}" in text
    assert "line 13: stages[1].name 'a' is taken" in text
    assert "line 14: stages[2].steps is missing" in text
    assert "12 mistakes in" in text
    assert "unnamed" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\nstages: 3\n", ["stages"]),
        ("stages: [{kind: counting, steps: 3}]\nmodel: 4\n", ["model", "name is missing", "stages[0].name is missing"]),
        ("- 1\n", ["a pipeline is a list of keys"]),
        ("{name: a, stages: [3, {name: b}]}", ["stages[0]", "stages[1].kind", "stages[1].steps"]),
    ],
)
def test_where_too_little_is_left_the_mistakes_so_far_are_listed(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text, encoding="utf-8")
    pipeline, found = loader.examine(path)
    assert pipeline is None
    assert sorted(
        sentence.removeprefix(f"{path}: ")[: len(start)]
        for sentence, start in zip(sorted(found), sorted(expected), strict=True)
    ) == sorted(expected)


def test_a_notebook_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "train.ipynb"
    path.write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', encoding="utf-8")
    assert "this is a Jupyter notebook: name the pipeline" in checked(path)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, []),
        (
            {"batch": 0, "lora_rnk": 3, "schedule": "square"},
            ["lora_rnk is not", "batch should be", "schedule should be"],
        ),
        ({"batch": 3, "gradient_accumulation_steps": 2}, ["gradient_accumulation_steps should be a divisor of batch"]),
        ({"batch": -3, "gradient_accumulation_steps": 3}, ["batch should be positive"]),
        ({"batch": "x", "learning_rate": "y"}, ["batch should be int", "learning_rate should be a number"]),
    ],
)
def test_every_mistake_in_a_stages_options_is_found(values: dict[str, object], expected: list[str]) -> None:
    found = list(mistakes(Sft, values, "o"))
    assert len(found) == len(expected)
    assert all(sentence.startswith(f"o.{start}") for sentence, start in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("sentence", "line"),
    [
        ("a.b[1].c: no", 4),
        ("a.b[1].d is missing", 4),
        ("a.b[7]: no", 2),
        ("z: no", None),
        ("a 'x' becomes", 1),
        ("", None),
    ],
)
def test_a_sentence_that_begins_with_a_key_has_its_line(tmp_path: Path, sentence: str, line: int | None) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("a:\n  b:\n    - {c: 1}\n    - {c: 2}\n", encoding="utf-8")
    assert line_of(sentence, lines_of(path)) == line


@pytest.mark.parametrize("text", ["a: [", "", "a: &x [*x]\n"])
def test_a_file_without_readable_keys_has_no_lines(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text, encoding="utf-8")
    assert "a.b" not in lines_of(path)


def failed(url: str, **how: float) -> requests.RequestException:
    with pytest.raises(requests.RequestException) as found:
        requests.get(url, timeout=how.get("timeout", 5))
    return found.value


def test_a_failed_connection_is_a_few_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        late = failed(f"http://127.0.0.1:{port}/?key=secret", timeout=0.05)
    assert network_reason(late, 200) == "no answer from 127.0.0.1 in time"
    closed = failed(f"http://127.0.0.1:{port}/")
    assert network_reason(closed, 200) == "127.0.0.1 cannot be reached: connection refused"
    unknown = failed("http://no-such-host.invalid/")
    assert network_reason(unknown, 200) == "the name no-such-host.invalid cannot be resolved: is this machine online?"


def test_another_failure_keeps_its_text_without_what_follows_a_question_mark() -> None:
    error = requests.RequestException("odd https://example.org/a?token=secret end")
    assert network_reason(error, 200) == "RequestException: odd https://example.org/a?… end"
    assert network_reason(error, 9) == "RequestEx"
