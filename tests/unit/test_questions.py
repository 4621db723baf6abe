"""Files of questions: what is read, and which lines are refused before anything is created."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from orchestrator.base.errors import BadInput
from orchestrator.pipeline import loader
from orchestrator.preflight.check.files import data
from orchestrator.preflight.check.findings import CheckSubject
from stages.data.mounted import file_sha256, named_alone
from stages.data.questions import questions_in, read_questions
from stages.stage import StageFailed

GOOD = '{"question": " What is 2 + 3? "}\n\n{"prompt": "Say hello", "id": "greet"}\n{"question": "é?", "id": 7}\r\n'


def written(folder: Path, text: str | bytes, name: str = "asked.jsonl") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def pipeline(folder: Path, *, steps: int = 1, files: tuple[str, ...] = ("asked.jsonl",), **options: object) -> Path:
    stages = [{"name": "asked", "kind": "answer", "steps": steps, "options": {"questions": "asked.jsonl", **options}}]
    path = folder / "ask.yaml"
    path.write_text(yaml.safe_dump({"name": "ask", "inputs": {"files": list(files)}, "stages": stages}))
    return path


def test_each_line_is_a_question_with_its_id_or_the_number_of_its_line(tmp_path: Path) -> None:
    found = read_questions(written(tmp_path, GOOD))
    assert [(each.id, each.question, each.line) for each in found] == [
        (1, "What is 2 + 3?", 1),
        ("greet", "Say hello", 3),
        (7, "é?", 4),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "asked.jsonl, line 1: there is neither question nor prompt: add one"),
        ('{"question": "a"}\n{"question": " "}', "line 2: the question is empty"),
        ('{"question": "a"}\n\n{"question": 5}', "line 3: the question is not text"),
        ('{"question": "a"}\n{"question"', "line 2: this is not JSON: "),
        ("[1]", "line 1: this is not an object"),
        ('{"question": "a", "id": true}', "line 1: id is True: write text or a whole number"),
        ('{"question": "a", "id": "2"}\n{"question": "b"}', "line 2: id 2 is that of line 1"),
        (b'{"question": "\xff"}', "asked.jsonl is not UTF-8 text"),
        ("\n \n", "asked.jsonl holds no question"),
        ("[" * 5000, "line 1: this is not JSON: "),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, text: str | bytes, said: str) -> None:
    written(tmp_path, text)
    with pytest.raises(ValueError, match=r"asked\.jsonl") as raised:
        read_questions(tmp_path / "asked.jsonl")
    assert said in str(raised.value)
    with pytest.raises(BadInput) as refused:
        loader.load(pipeline(tmp_path))
    assert str(refused.value).startswith(f"{tmp_path / 'ask.yaml'}: stages[0].options.questions: asked.jsonl")
    assert said in str(refused.value)


def test_a_session_reads_the_file_with_the_digest_of_the_runs_start_only(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = written(tmp_path / "data", GOOD)
    assert len(questions_in(tmp_path, "asked.jsonl", file_sha256(path))) == 3
    assert len(questions_in(tmp_path, "asked.jsonl")) == 3
    with pytest.raises(StageFailed, match="not mounted with its content") as raised:
        questions_in(tmp_path, "asked.jsonl", "0" * 64)
    assert raised.value.transient
    with pytest.raises(ValueError, match=r"list it under inputs\.files"):
        questions_in(tmp_path, "other.jsonl")


@pytest.mark.parametrize(("steps", "batch", "needed"), [(1, 3, 1), (2, 2, 2), (3, 1, 3), (2, 3, 1), (1, 2, 2)])
def test_the_steps_have_to_answer_every_question(tmp_path: Path, steps: int, batch: int, needed: int) -> None:
    written(tmp_path, GOOD)
    path = pipeline(tmp_path, steps=steps, batch=batch)
    if steps == needed:
        assert loader.load(path).stages[0].steps == needed
        return
    with pytest.raises(BadInput, match=f"3 questions in batches of {batch} take {needed}: write steps: {needed}"):
        loader.load(path)


def test_the_file_has_to_be_among_the_inputs(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"questions: asked\.jsonl is not among inputs\.files: list it there"):
        loader.load(pipeline(tmp_path, files=()))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"questions": "asked.txt"}, r"questions should be a \.jsonl file of inputs\.files"),
        ({"questions": "a/asked.jsonl"}, r"questions should be a \.jsonl file of inputs\.files"),
        ({"temperature": -1}, "temperature should be not negative; 0 always takes the likeliest token"),
        ({"top_p": 0}, "top_p should be a share above 0, at most 1"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path: Path, options: dict[str, object], said: str) -> None:
    written(tmp_path, GOOD)
    with pytest.raises(BadInput, match=said):
        loader.load(pipeline(tmp_path, **options))


def test_check_counts_the_questions(tmp_path: Path) -> None:
    written(tmp_path, GOOD)
    path = pipeline(tmp_path)
    now = datetime(2026, 12, 1, tzinfo=UTC)
    found = list(data(CheckSubject(path, loader.load(path), tmp_path / "home", tmp_path, {}, now)))
    assert [finding.sentence for finding in found] == ["asked.jsonl has 3 questions"]


def test_a_file_of_questions_is_never_taken_for_a_known_set() -> None:
    options = [{"questions": "gsm8k-test.jsonl"}, {"data": ["mine.jsonl:5"]}, {"questions": 5}, {}]
    assert named_alone(["gsm8k-test.jsonl", "mine.jsonl", "other.jsonl"], options) == {"gsm8k-test.jsonl", "mine.jsonl"}
