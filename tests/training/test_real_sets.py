"""Of the real files of GSM8K, MBPP and UltraFeedback as many rows are used and left out as docs/training.md says."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from stages.data import Source, open_source
from stages.data.quality import unwanted
from stages.options import Sft
from tests.real import real_data

FILES = {
    "gsm8k": {"gsm8k_train.jsonl": "maths/gsm8k/train.jsonl", "gsm8k_test.jsonl": "maths/gsm8k/test.jsonl"},
    "mbpp": {"mbpp.jsonl": "google/mbpp.jsonl"},
    "mbpp, sanitized": {"sanitized-mbpp.json": "google/sanitized-mbpp.json"},
    "ultrafeedback": {"ultrafeedback_binarized_1200.jsonl": "ultrafeedback/train_prefs.jsonl"},
}
PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def mounted(files: dict[str, str], inputs: Path) -> Path:
    for real, name in files.items():
        (inputs / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(real_data(real), inputs / name)
    return inputs


def opened(name: str, tmp_path: Path) -> Source:
    inputs = mounted(FILES[name], tmp_path / "input")
    return open_source(
        [name.partition(",")[0]],
        inputs,
        seed=0,
        wants=lambda example: unwanted(example.quality, Sft()),
        scratch=tmp_path / "scratch",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "train", "held_out", "left_out"),
    [
        ("gsm8k", 7469, 1319, {"overlaps with gsm8k (text)": 4}),
        (
            "mbpp",
            347,
            500,
            {"overlaps with mbpp (text)": 15, "overlaps with mbpp (code)": 11, "overlaps with mbpp (text and code)": 1},
        ),
        ("mbpp, sanitized", 116, 257, {"overlaps with mbpp (text)": 3, "overlaps with mbpp (code)": 1}),
        (
            "ultrafeedback",
            935,
            0,
            {
                "margin below 0.5": 125,
                "not in English": 76,
                "refuses, or speaks as an AI": 45,
                "score below 5": 16,
                "malformed: a fence that is never closed": 2,
                "malformed: an empty part": 1,
            },
        ),
    ],
)
def test_the_page_says_what_becomes_of_every_real_row(
    tmp_path: Path, name: str, train: int, held_out: int, left_out: dict[str, int]
) -> None:
    source = opened(name, tmp_path)
    assert (len(source.train), len(source.held_out)) == (train, held_out)
    assert source.left_out == Counter({f"{name.partition(',')[0]}: {reason}": n for reason, n in left_out.items()})
    told = ", ".join(f"{reason} {count}" for reason, count in sorted(left_out.items(), key=lambda pair: -pair[1]))
    row = next(line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{name}`:"))
    assert [cell.strip() for cell in row.split("|")][3:6] == [f"{train:,}", f"{held_out:,}", told]


@pytest.mark.parametrize("name", ["gsm8k", "mbpp"])
def test_every_real_row_of_the_judged_sets_is_an_example(tmp_path: Path, name: str) -> None:
    source = opened(name, tmp_path)
    assert not [reason for reason in source.left_out if "overlaps" not in reason]
    assert all(example.answer and example.completion for example in (*source.train, *source.held_out))


def test_openbmbs_own_example_without_scores_teaches_nothing(tmp_path: Path) -> None:
    inputs = mounted({"openbmb_ultrafeedback_example.jsonl": "UltraFeedback/sharegpt.jsonl"}, tmp_path)
    source = open_source(["ultrafeedback"], inputs, seed=0, wants=lambda example: "", scratch=tmp_path / "scratch")
    assert not source.train
    assert source.left_out == {"ultrafeedback: no score": 1}


def test_ultrafeedbacks_held_out_requests_cost_no_row_that_only_shares_the_wording_of_its_task(tmp_path: Path) -> None:
    lines = real_data("ultrafeedback_binarized_1200.jsonl").read_bytes().splitlines(keepends=True)
    for split, some in (("train_prefs", lines[:1000]), ("test_prefs", lines[1000:])):
        path = tmp_path / "input" / "ultrafeedback" / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(some))
    source = open_source(
        ["ultrafeedback"], tmp_path / "input", seed=0, wants=lambda example: "", scratch=tmp_path / "scratch"
    )
    assert len(source.held_out) == 200 - sum(n for reason, n in source.left_out.items() if "(held out)" in reason)
    assert not [reason for reason in source.left_out if "overlaps" in reason]
