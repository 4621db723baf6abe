"""What SFT is taught of UltraFeedback is chosen by its options, and what they leave out is in the session's log."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.data.mounted import Brought
from stages.data.pins import Pins
from stages.options import Asking, Sft
from stages.stage import StageFailed
from stages.training.stage_data import judged_problems, worked_examples


def row(prompt: str, chosen: str, score: float | None, rejected_score: float) -> dict[str, Any]:
    said = {"chosen": chosen, "rejected": "No."}
    return {
        "prompt": prompt,
        **{
            column: [{"content": prompt, "role": "user"}, {"content": text, "role": "assistant"}]
            for column, text in said.items()
        },
        "score_chosen": score,
        "score_rejected": rejected_score,
    }


ROWS = [
    row("What is the colour of the sky?", "Blue.", 8.0, 2.0),
    row("What is the colour of the sea?", "Green.", 4.0, 2.0),
    row("What is the colour of the sun?", "Red.", 8.0, 8.0),
    row("What is the colour of the moon?", "As an AI, I cannot see the moon.", 8.0, 2.0),
    row("Каков цвет неба?", "Blue.", 8.0, 2.0),
    row("What is the colour of the wood?", "Brown.", None, 2.0),
    row("What is the colour of the longest of all roads?", "Grey." * 100, 8.0, 2.0),
]


class Letters:
    """A tokenizer of one token a character."""

    begin = (2,)

    def encode(self, text: str) -> list[int]:
        return [*map(ord, text)]


class SessionContext(SimpleNamespace):
    """What reading data needs of a session."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(plan=(), inputs=tmp_path / "input", seed=0, scratch=tmp_path / "scratch", said=[])
        self.brought, self.pins, self.spec = Brought(), Pins(), SimpleNamespace(name="a stage")
        self.say = self.said.append


FOUNDATION: Any = SimpleNamespace(
    tokenizer=Letters(), stops=(1,), ending=1, options=SimpleNamespace(system="", kind="gemma2")
)


@pytest.fixture
def context(tmp_path: Path) -> Any:
    folder = tmp_path / "input" / "ultrafeedback"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    return SessionContext(tmp_path)


def test_answers_that_are_not_worth_learning_are_left_out_and_told_by_reason(context: Any) -> None:
    found = worked_examples(context, FOUNDATION, Sft(data=("ultrafeedback",), max_seq_length=300))
    assert [example.question for example in found.train] == ["What is the colour of the sky?"]
    assert context.said == [
        "data ultrafeedback: 1 to train on, 0 held out; ultrafeedback from the mounted ultrafeedback; left out: "
        "ultrafeedback: margin below 0.5 1, ultrafeedback: no score 1, ultrafeedback: not in English 1, ultrafeedback: refuses, or speaks as an AI 1, ultrafeedback: score below 5 1, "
        "ultrafeedback: too long 1"
    ]


def test_options_that_take_everything_leave_out_nothing_but_what_is_too_long(context: Any) -> None:
    takes_all = Sft(
        data=("ultrafeedback",),
        max_seq_length=300,
        min_score=0.0,
        min_margin=0.0,
        english_only=False,
        drop_refusals=False,
    )
    found = worked_examples(context, FOUNDATION, takes_all)
    assert found.left_out == {"ultrafeedback: too long": 1}
    assert len(found.train) == len(ROWS) - 1


def test_where_nothing_is_left_to_learn_from_the_error_says_what_became_of_every_row(context: Any) -> None:
    with pytest.raises(StageFailed) as failed:
        worked_examples(context, FOUNDATION, Sft(data=("ultrafeedback",), max_seq_length=300, min_score=9.0))
    assert failed.value.cause == "bad-data"
    assert "0 to train on" in failed.value.reason
    assert "score below 9 4" in failed.value.reason


def test_problems_of_magpie_in_other_languages_are_not_asked(context: Any) -> None:
    folder = context.inputs / "magpie"
    folder.mkdir()
    rows = [
        {"instruction": f"{number}+1?", "response": f"<think>a</think>\\boxed{{{number + 1}}}", "language": language}
        for number, language in enumerate(("EN", "ZH", "EN"))
    ]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = judged_problems(context, FOUNDATION, ["magpie"], Asking())
    assert len(found.train) == 2
    assert found.left_out == {"magpie: not in English": 1}
