"""The stage `answer` answers every question of a file once, the same however it was cut, and passes the weights on."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stages.contract import StageSpec
from stages.data import Example
from stages.options import Asking
from stages.stage import StageFailed
from stages.training.checkpoints import read as read_state
from stages.training.generate import Generator
from stages.training.initial_state import put_weights
from tests.training.harness import TINY, Chain, Record, shared_inputs, spec
from tests.training.models import loaded

pytestmark = pytest.mark.slow

LENGTHS = {"max_prompt_length": 24, "max_completion_length": 8}
QUESTIONS = [{"question": f"What is {number} + 2?"} for number in range(4)]
QUESTIONS += [{"prompt": "Say hello", "id": "greet"}, {"question": "Write " * 40, "id": 99}]
SFT = spec("sft", "sft", 2, data=["gsm8k"], batch=4, max_seq_length=64, mode="lora", lora_rank=2)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked") / "inputs"
    shutil.copytree(shared_inputs(), folder)
    (folder / "files").mkdir()
    (folder / "files" / "asked.jsonl").write_text("".join(json.dumps(each) + "\n" for each in QUESTIONS))
    return folder


def ask(steps: int = 3, batch: int = 2, **options: Any) -> StageSpec:
    return spec("ask", "answer", steps, questions="asked.jsonl", batch=batch, **LENGTHS, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, inputs: Path) -> tuple[Path, Record]:
    """A folder with the checkpoint of SFT, from which each test asks, and what was computed."""
    root = tmp_path_factory.mktemp("trained")
    return root, Chain((SFT,), inputs=inputs).run(root)


def asked_after(trained: Path, root: Path, asking: StageSpec, inputs: Path, cuts: tuple[int, ...] = ()) -> Record:
    """The answers of a model that was trained already, in sessions that end after `cuts`."""
    shutil.copytree(trained, root)
    return Chain((SFT, asking), inputs=inputs).go_on(root, cuts)


def rows(root: Path, record: Record, step: int) -> list[dict[str, Any]]:
    text = read_state(root / f"ask-{step}").artifacts["answers-ask.jsonl"]
    return [json.loads(line) for line in text.splitlines()]


def test_every_question_gets_a_row_with_the_models_own_greedy_answer(
    tmp_path: Path, inputs: Path, trained: tuple[Path, Record]
) -> None:
    root, before = trained[0], trained[1].digests
    record = asked_after(root, tmp_path / "root", ask(), inputs)
    found = rows(tmp_path / "root", record, 3)
    assert [row["id"] for row in found] == [1, 2, 3, 4, "greet", 99]
    foundation = loaded({"kind": "gemma2", "source": str(inputs / "models" / TINY["source"]), "system": ""})
    put_weights(foundation.model, read_state(root / "sft-2").weights)
    asked = [Example("", str(each.get("question", each.get("prompt")))) for each in QUESTIONS[:5]]
    wanted = Generator(foundation, Asking(**LENGTHS)).greedy(asked, 5)
    assert [row["text"] for row in found[:5]] == wanted.texts
    assert [(row["tokens"], row["truncated"]) for row in found[:5]] == list(
        zip(wanted.lengths, wanted.cut, strict=True)
    )
    assert [row["problem"] is None for row in found] == [True] * 5 + [False]
    assert found[5]["problem"].endswith("tokens, and max_prompt_length is 24")
    assert record.value("ask", 3, "answered") == 5.0
    for name in ("weights", "adapter"):
        assert record.digests["ask-3"][name] == before["sft-2"][name], "the model is passed on unchanged"


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "top_k": 20, "top_p": 0.9}], ids=["greedy", "sampled"])
def test_a_cut_changes_no_answer(
    tmp_path: Path, inputs: Path, options: dict[str, Any], trained: tuple[Path, Record]
) -> None:
    asking = ask(**options)
    whole = asked_after(trained[0], tmp_path / "whole", asking, inputs)
    cut = asked_after(trained[0], tmp_path / "cut", asking, inputs, cuts=(1, 2))
    assert rows(tmp_path / "cut", cut, 3) == rows(tmp_path / "whole", whole, 3)
    assert cut.digests["ask-3"] == whole.digests["ask-3"]
    assert [row["id"] for row in rows(tmp_path / "cut", cut, 1)] == [1, 2], "a checkpoint has the answers until then"


def test_an_untrained_model_answers_too_and_few_steps_answer_the_first_questions(tmp_path: Path, inputs: Path) -> None:
    record = Chain((ask(steps=1, batch=3),), inputs=inputs).run(tmp_path)
    assert [row["id"] for row in rows(tmp_path, record, 1)] == [1, 2, 3]


def test_a_bad_line_ends_the_session_with_its_number(tmp_path: Path, inputs: Path) -> None:
    folder = tmp_path / "inputs"
    shutil.copytree(inputs, folder)
    (folder / "files" / "asked.jsonl").write_text('{"question": "a"}\n{"quest": "b"}\n')
    with pytest.raises(StageFailed, match=r"questions: asked\.jsonl, line 2: there is neither"):
        Chain((ask(),), inputs=folder).run(tmp_path / "root")
