"""Rows in the real sets' columns are read from each format and place that copies have; what cannot be used is named."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pandas
import pyarrow
import pytest
from pyarrow import parquet

from stages.data import Source, open_source
from stages.stage import StageFailed
from stages.training.stage_data import summary

Row = dict[str, Any]
Writer = Callable[[Sequence[Row], Path], None]

GSM8K = [
    {"question": f"How many are {n} and 1?", "answer": f"{n}+1=<<{n}+1={n + 1}>>{n + 1}\n#### {n + 1}"}
    for n in range(6)
]
MBPP = [
    {
        "task_id": number,
        "text": f"Write function number {number}.",
        "code": f"def f{number}(x):\r\n    return x + {number}",
        "test_list": [f"assert f{number}({x}) == {x + number}" for x in (1, 2, 3)],
        "test_setup_code": "",
        "challenge_test_list": [],
    }
    for number in (1, 10, 11, 300, 510, 511, 600, 601, 974)
]
SANITIZED = [
    {
        "source_file": "Benchmark Questions Verification V2.ipynb",
        **{("prompt" if key == "text" else key): row[key] for key in ("task_id", "text", "code", "test_list")},
        "test_imports": ["import math"],
    }
    for row in MBPP
]
PLUS = [{**row, "test": "assertion(f(1), 2)"} for row in SANITIZED]
TALK = [
    {
        "prompt": f"What is the colour of flower {number}?",
        "prompt_id": f"{number:064x}",
        "chosen": [
            {"content": f"What is the colour of flower {number}?", "role": "user"},
            {"content": f'It\'s "blue",\nas {number} others are.', "role": "assistant"},
        ],
        "rejected": [{"content": "Why?", "role": "user"}, {"content": "No.", "role": "assistant"}],
        "messages": [],
        "score_chosen": 8.5,
        "score_rejected": 2.0,
    }
    for number in range(4)
]
OPENBMB = [
    {
        "source": "evol_instruct",
        "instruction": f"What is the colour of flower {number}?",
        "models": ["a", "b"],
        "completions": [
            {"annotations": {"helpfulness": {"Type": ["1"]}}, "model": "a", "response": "No.", "overall_score": 2.0},
            {"annotations": {"helpfulness": {"Type": ["1"]}}, "model": "b", "response": "Blue.", "overall_score": 8.0},
        ],
        "correct_answers": ["None"],
        "incorrect_answers": ["None"],
    }
    for number in range(2)
]


def jsonl(rows: Sequence[Row], path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def marked_jsonl(rows: Sequence[Row], path: Path) -> None:
    """As some editors save it: with a byte order mark, an empty line, and the last line without its end."""
    path.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8-sig")


def json_list(rows: Sequence[Row], path: Path) -> None:
    path.write_text(json.dumps(rows, indent=2), encoding="utf-8")


def csv(rows: Sequence[Row], path: Path) -> None:
    """As pandas writes a CSV of what it read from Parquet: lists are NumPy's."""
    frame = pyarrow.Table.from_pylist(list(rows)).to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    frame.to_csv(path)


def parquet_file(rows: Sequence[Row], path: Path) -> None:
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


def opened(tmp_path: Path, name: str) -> Source:
    return open_source([name], tmp_path / "input", seed=0, wants=lambda example: "", scratch=tmp_path / "scratch")


def place(tmp_path: Path, files: Mapping[str, Sequence[Row]], write: Writer) -> None:
    for name, rows in files.items():
        path = tmp_path / "input" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(rows, path)


def numbers(source: Source) -> tuple[set[int], set[int]]:
    """The task_ids, which are in each text of MBPP above."""
    split = (source.train, source.held_out)
    train, held_out = ({int(e.question.split(".")[0].rpartition(" ")[2]) for e in part} for part in split)
    return train, held_out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "rows", "write"),
    [
        ("google/mbpp.jsonl", MBPP, jsonl),
        ("google/mbpp.jsonl", MBPP, marked_jsonl),
        ("google/sanitized-mbpp.json", SANITIZED, json_list),
        ("kaggle/mbpp.csv", MBPP, csv),
        ("kaggle/sanitized_mbpp.csv", SANITIZED, csv),
        ("kaggle/mbpp.parquet", MBPP, parquet_file),
        ("mbpp/data.jsonl", MBPP, jsonl),
        ("my-problems/all.jsonl", SANITIZED, jsonl),
        ("my-problems/all.parquet", MBPP, parquet_file),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", ""),
)
def test_mbpp_in_one_file_is_split_by_its_numbers(
    tmp_path: Path, file: str, rows: Sequence[Row], write: Writer
) -> None:
    place(tmp_path, {file: rows}, write)
    source = opened(tmp_path, "mbpp")
    assert numbers(source) == ({601, 974}, {11, 300, 510})
    assert not source.left_out
    (example,) = [example for example in source.train if "601" in example.question]
    judged = json.loads(example.answer)
    assert judged["tests"] == [f"assert f601({x}) == {x + 601}" for x in (1, 2, 3)]
    assert judged["setup"] == ("import math" if rows is SANITIZED else "")
    assert example.code == "def f601(x):\n    return x + 601"


def test_of_the_authors_two_files_of_mbpp_the_full_one_is_read(tmp_path: Path) -> None:
    place(tmp_path, {"google/mbpp.jsonl": MBPP}, jsonl)
    place(tmp_path, {"google/sanitized-mbpp.json": SANITIZED[:-1]}, json_list)
    assert numbers(opened(tmp_path, "mbpp"))[0] == {601, 974}


@pytest.mark.parametrize(
    ("suffix", "write"),
    [("jsonl", jsonl), ("json", json_list), ("json", jsonl), ("csv", csv), ("parquet", parquet_file)],
)
@pytest.mark.parametrize("folder", ["gsm8k", "grade_school_math/data", "my-maths"])
def test_gsm8k_is_read_from_each_format_in_any_folder(tmp_path: Path, folder: str, suffix: str, write: Writer) -> None:
    socratic = [{"question": row["question"], "answer": f"How many? ** {row['answer']}"} for row in GSM8K]
    files = {"train": GSM8K[:4], "test": GSM8K[4:], "train_socratic": socratic, "test_socratic": socratic}
    place(tmp_path, {f"{folder}/{split}.{suffix}": rows for split, rows in files.items()}, write)
    source = opened(tmp_path, "gsm8k")
    assert sorted(example.answer for example in source.train) == ["1", "2", "3", "4"]
    assert sorted(example.answer for example in source.held_out) == ["5", "6"]
    assert (source.notes == ()) == (folder != "my-maths")
    if folder == "my-maths":
        assert summary(["gsm8k"], source).endswith(
            "the mounted my-maths is gsm8k by its columns, though not by its name"
        )


@pytest.mark.parametrize("folder", ["gsm8k", "my-maths"])
def test_what_the_datasets_library_saved_is_read(tmp_path: Path, folder: str) -> None:
    parts = {"train": datasets.Dataset.from_list(GSM8K[:4]), "test": datasets.Dataset.from_list(GSM8K[4:])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "input" / folder)
    source = opened(tmp_path, "gsm8k")
    assert (len(source.train), len(source.held_out)) == (4, 2)


@pytest.mark.parametrize(("suffix", "write"), [("jsonl", jsonl), ("csv", csv), ("parquet", parquet_file)])
@pytest.mark.parametrize("folder", ["ultrafeedback", "preferences"])
def test_ultrafeedback_binarized_is_read_from_each_format(
    tmp_path: Path, folder: str, suffix: str, write: Writer
) -> None:
    files = {"train_prefs": TALK[:3], "test_prefs": TALK[3:], "train_sft": TALK[:1]}
    place(tmp_path, {f"{folder}/{split}.{suffix}": rows for split, rows in files.items()}, write)
    source = opened(tmp_path, "ultrafeedback")
    assert (len(source.train), len(source.held_out)) == (3, 1)
    assert source.held_out[0].completion.endswith('<answer>It\'s "blue",\nas 3 others are.</answer>')
    assert (source.held_out[0].quality.score, source.held_out[0].quality.margin) == (8.5, 6.5)


@pytest.mark.parametrize(("suffix", "write"), [("jsonl", jsonl), ("csv", csv)])
def test_openbmbs_files_are_read_together_though_their_columns_have_different_types(
    tmp_path: Path, suffix: str, write: Writer
) -> None:
    odd = [{**row, "instruction": f"And {row['instruction']}", "correct_answers": None} for row in OPENBMB]
    files = {"evol_instruct": OPENBMB, "truthful_qa": odd}
    place(tmp_path, {f"UltraFeedback/{source}.{suffix}": rows for source, rows in files.items()}, write)
    source = opened(tmp_path, "ultrafeedback")
    assert len(source.train) == 4
    assert all(example.completion.endswith("<answer>Blue.</answer>") for example in source.train)


def test_rows_that_do_not_fit_are_counted_and_no_others_are_lost(tmp_path: Path) -> None:
    rows = [
        *GSM8K[:4],
        {"question": 7, "answer": 7},
        {"question": None},
        ["a"],
        "b",
        None,
        {"question": {}, "answer": [1]},
    ]
    lines = [*map(json.dumps, rows), '{"question": "torn', '{"question": "a", "answer": ' + "[" * 50_000]
    for split, written in (("train", lines), ("test", lines[:1])):
        path = tmp_path / "input" / "gsm8k" / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(written), encoding="utf-8")
    source = opened(tmp_path, "gsm8k")
    assert len(source.train) == 3
    assert source.left_out == {
        "gsm8k: overlaps with gsm8k (text)": 1,
        "gsm8k: malformed: no answer": 3,
        "gsm8k: malformed: no columns": 5,
    }


@pytest.mark.parametrize(
    ("name", "files", "said"),
    [
        ("gsm8k", {"a/gsm8k.jsonl": GSM8K}, "the mounted a cannot be used (none of its .jsonl files is called train)"),
        ("gsm8k", {"my-maths/train.jsonl": GSM8K}, "the mounted my-maths cannot be used (its .jsonl files have no split called test)"),
        ("gsm8k", {"gsm8k/train.jsonl": MBPP, "gsm8k/test.jsonl": MBPP}, "the mounted gsm8k is another set (it has no columns question and answer)"),
        ("mbpp", {"mbpp.jsonl": MBPP[:5]}, "is another set (its files name no split, and not every split has a task_id in it)"),
        ("mbpp", {"x/all.jsonl": GSM8K}, "none of the 1 mounted data files was recognised by its name or its columns (name their folder mbpp"),
        ("mbpp", {"mbpp/mbpp.jsonl.gz": MBPP}, "the mounted mbpp cannot be used (mbpp.jsonl.gz is .gz, which relay does not read: unpack it)"),
        ("mbpp", {"mbppplus/all.jsonl": MBPP}, "none of the 1 mounted data files was recognised by its name or its columns"),
        ("mbpp", {"mine/mbppplus.jsonl": MBPP}, "none of the 1 mounted data files was recognised by its name or its columns"),
        ("mbpp", {"mine/all.jsonl": PLUS}, "none of the 1 mounted data files was recognised by its name or its columns"),
        ("mbpp", {"mbpp/all.jsonl": PLUS}, "the mounted mbpp is another set (it has the column test, which mbpp does not have)"),
        ("mbpp", {}, "no copy of it is mounted"),
    ],
    ids=["no split", "one split", "other columns", "half", "nothing tells", "packed", "plus by folder", "plus by file", "plus by rows",
         "plus by column", "nothing"],
)  # fmt: skip
def test_a_copy_that_cannot_be_used_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, files: Mapping[str, Sequence[Row]], said: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    place(tmp_path, files, jsonl)
    with pytest.raises(StageFailed) as failed:
        opened(tmp_path, name)
    assert failed.value.cause == "data-missing"
    assert said in failed.value.reason


def test_a_copy_that_cannot_be_used_is_told_where_another_one_is_read(tmp_path: Path) -> None:
    place(tmp_path, {"gsm8k-mine/gsm8k.csv": GSM8K}, csv)
    place(tmp_path, {"other/gsm8k/train.jsonl": GSM8K[:4], "other/gsm8k/test.jsonl": GSM8K[4:]}, jsonl)
    # What a run of that name left: nothing that anybody would take for the set.
    place(tmp_path, {"gsm8k-3f9a-s0001/report.json": [{"steps": 3}]}, jsonl)
    source = opened(tmp_path, "gsm8k")
    assert len(source.train) == 4
    assert summary(["gsm8k"], source).endswith(
        "the mounted gsm8k-mine cannot be used (none of its .csv files is called train)"
    )
