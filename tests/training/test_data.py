"""What a step learns from depends on the seed and the step alone, and what is evaluated is never trained on."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from orchestrator.rehearsal.local_kaggle.stand_ins.sets import LEAKED, MAGPIE_ODD, MBPP_ROWS, write_sets
from stages.data import Example, derive_seed, examples_at, index_at, mixed_at, open_source
from stages.data.overlap import HeldOut

ROOT = Path(__file__).parents[2]
EXAMPLES = tuple(Example(source="gsm8k", question=f"{number}?") for number in range(70))


def all_of(example: Example) -> str:
    return ""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a session finds mounted: the four sets."""
    folder = tmp_path_factory.mktemp("input")
    write_sets(folder / "stand-in-sets")
    return folder


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.mark.slow
@settings(deadline=None)
@given(size=st.integers(1, 300), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 5))
def test_every_item_comes_once_in_an_epoch(size: int, seed: int, epoch: int) -> None:
    assert sorted(index_at(epoch * size + place, size, seed) for place in range(size)) == list(range(size))


@pytest.mark.slow
@settings(deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_each_epoch_and_each_seed_has_an_order_of_its_own(seed: int) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return [index_at(epoch * 100 + place, 100, seed) for place in range(100)]

    assert order(seed, 0) != order(seed, 1)
    assert order(seed, 0) != order(seed + 1, 0)


def test_the_order_is_the_same_on_every_machine() -> None:
    """A changed order would silently train a resumed run on other data: checkpoints would have to say so."""
    assert [index_at(position, 10, 7) for position in range(12)] == [2, 7, 1, 8, 4, 0, 5, 9, 6, 3, 8, 3]
    assert derive_seed(0, "sft", "data") == 997668081


@pytest.mark.slow
@settings(deadline=None)
@given(step=st.integers(1, 60), batch=st.integers(1, 8), seed=st.integers(0, 1000))
def test_a_batch_can_be_had_without_those_before_it(step: int, batch: int, seed: int) -> None:
    one_stream = examples_at(EXAMPLES, 1, step * batch, seed)
    assert examples_at(EXAMPLES, step, batch, seed) == one_stream[-batch:]


@pytest.mark.parametrize(("replay", "hard_ones"), [(0.0, 40), (0.5, 20), (1.0, 0)])
def test_continued_training_mixes_hard_problems_with_a_share_of_all(replay: float, hard_ones: int) -> None:
    hard = EXAMPLES[:9]
    chosen = mixed_at(EXAMPLES, hard, 3, 40, replay, seed=1)
    assert len(chosen) == 40
    assert all(example in hard for example in chosen[40 - hard_ones :])
    assert any(example not in hard for example in chosen) == (replay > 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "train", "held_out", "left_out"),
    [
        ("gsm8k", 1996, 504, {"gsm8k: overlaps with gsm8k (text)": LEAKED}),
        ("mbpp", MBPP_ROWS["train"], MBPP_ROWS["test"], {}),
        ("ultrafeedback", 145, 47, {}),
        ("magpie", 1964 + LEAKED + MAGPIE_ODD, 0, {"magpie: malformed: no </think>": MAGPIE_ODD}),
    ],
)
def test_every_row_is_an_example_or_counted(
    inputs: Path, scratch: Path, name: str, train: int, held_out: int, left_out: dict[str, int]
) -> None:
    source = open_source([name], inputs, seed=0, wants=all_of, scratch=scratch)
    assert (len(source.train), len(source.held_out)) == (train, held_out)
    assert source.left_out == left_out


@pytest.mark.slow
def test_what_another_set_evaluates_is_left_out_and_told(inputs: Path, scratch: Path) -> None:
    wary = open_source(
        ["magpie"], inputs, seed=0, wants=all_of, apart_from=["gsm8k:5", "mbpp", "mbpp"], scratch=scratch
    )
    assert wary.left_out["magpie: overlaps with gsm8k (text)"] == LEAKED // 2
    # Of the leaked functions those that the set solves rightly are the held-out programs, too.
    assert (
        sum(wary.left_out[f"magpie: overlaps with mbpp ({what})"] for what in ("text", "text and code")) == LEAKED // 2
    )
    asked = HeldOut()
    for example in open_source(["gsm8k", "mbpp"], inputs, seed=0, wants=all_of, scratch=scratch).held_out:
        asked.add(example.source, example.question)
    assert not [example for example in wary.train if asked.by(example.question)]
    assert not wary.held_out


def test_a_question_comes_once_however_often_its_set_has_it(tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": f"{n % 30}+1=?", "answer": "1"}) for n in range(60)]
    (tmp_path / "my.jsonl").write_text("\n".join(lines), encoding="utf-8")
    source = open_source(["my.jsonl"], tmp_path, seed=0, wants=all_of)
    assert source.left_out["my.jsonl: twice"] == len(source.train)


@pytest.mark.slow
def test_a_count_takes_the_first_of_the_same_order_and_reads_no_further(inputs: Path, scratch: Path) -> None:
    seen: list[Example] = []

    def odd_ones(example: Example) -> str:
        seen.append(example)
        return "" if int(example.answer) % 2 else "even"

    few = open_source(["gsm8k:10"], inputs, seed=3, wants=odd_ones, scratch=scratch)
    assert len(few.train) == len(few.held_out) == 10
    assert len(seen) == 20 + few.left_out["gsm8k: even"] + few.left_out["gsm8k (held out): even"] < 100
    every = open_source(["gsm8k"], inputs, seed=3, wants=odd_ones, scratch=scratch)
    assert every.train[:10] == few.train
    assert every.held_out[:10] == few.held_out


@pytest.mark.slow
def test_another_seed_trains_on_others_and_evaluates_on_the_same(inputs: Path, scratch: Path) -> None:
    first, second = (open_source(["gsm8k:50"], inputs, seed=seed, wants=all_of, scratch=scratch) for seed in (1, 2))
    assert first.train != second.train
    assert first.held_out == second.held_out


def test_a_set_that_is_named_twice_is_refused(inputs: Path) -> None:
    with pytest.raises(ValueError, match="gsm8k is named twice"):
        open_source(["gsm8k:5", "gsm8k"], inputs, seed=0, wants=all_of)


@pytest.mark.slow
def test_the_sets_follow_each_other_as_they_are_named(inputs: Path, scratch: Path) -> None:
    source = open_source(["mbpp:3", "gsm8k:2"], inputs, seed=0, wants=all_of, scratch=scratch)
    assert [example.source for example in source.train] == ["mbpp"] * 3 + ["gsm8k"] * 2


def as_jsonl(rows: list[dict[str, Any]], path: Path) -> None:
    path.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def as_csv(rows: list[dict[str, Any]], path: Path) -> None:
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.slow
@pytest.mark.parametrize("write", [as_jsonl, as_csv])
@pytest.mark.parametrize("name", ["gsm8k", "mbpp", "ultrafeedback", "magpie"])
def test_copies_in_other_formats_and_folders_give_the_same_examples(
    inputs: Path, scratch: Path, tmp_path: Path, write: Callable[[list[dict[str, Any]], Path], None], name: str
) -> None:
    for path in sorted(inputs.rglob("*.parquet")):
        if name in path.relative_to(inputs).as_posix().lower():
            split = path.name.partition("-0")[0]
            folder = tmp_path / "datasets" / "somebody" / f"the-{name}_copy" / "v1"
            folder.mkdir(parents=True, exist_ok=True)
            write(parquet.read_table(path).to_pylist(), folder / f"{split}.x")
    original = open_source([name], inputs, seed=0, wants=all_of, scratch=scratch)
    assert open_source([name], tmp_path, seed=0, wants=all_of, scratch=scratch) == original


def socratic(name: str) -> str:
    """Where the same copy has GSM8K's other configuration."""
    return name.replace("main", "socratic") if "main" in name else name.replace(".parquet", "_socratic.parquet")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("gsm8k/main/train-00000-of-00001.parquet", "gsm8k/main/test-00000-of-00001.parquet"),
        ("a/b/openai-gsm8k/data/main/train/0000.parquet", "a/b/openai-gsm8k/data/main/test/0000.parquet"),
        ("grade-school-math-8k-q-a/main_train.parquet", "grade-school-math-8k-q-a/main_test.parquet"),
        ("mine/gsm8k_train.parquet", "mine/gsm8k_test.parquet"),
    ],
)
def test_a_copy_is_recognised_by_names_wherever_it_lies(
    inputs: Path, scratch: Path, tmp_path: Path, train: str, test: str
) -> None:
    real = inputs / "stand-in-sets" / "gsm8k" / "main"
    for name, split in ((train, "train"), (test, "test")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(real / f"{split}-00000-of-00001.parquet", tmp_path / name)
        steps = [{"question": "Which step comes first?", "answer": "This.\n#### 1"}]
        (tmp_path / socratic(name)).parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pyarrow.Table.from_pylist(steps), tmp_path / socratic(name))
    source = open_source(["gsm8k"], tmp_path, seed=0, wants=all_of, scratch=scratch)
    assert (len(source.train), len(source.held_out)) == (1996, 504)


@pytest.mark.slow
def test_of_mbpps_two_configurations_the_full_one_is_read(inputs: Path, scratch: Path, tmp_path: Path) -> None:
    shutil.copytree(inputs / "stand-in-sets" / "mbpp", tmp_path / "mbpp")
    row = {"prompt": "Write a function g.", "code": "def g(): pass", "test_imports": [], "test_list": ["assert g"]}
    (tmp_path / "mbpp" / "sanitized").mkdir()
    for split in ("train", "test"):
        file = tmp_path / "mbpp" / "sanitized" / f"{split}-00000-of-00001.parquet"
        parquet.write_table(pyarrow.Table.from_pylist([row]), file)
    source = open_source(["mbpp"], tmp_path, seed=0, wants=all_of, scratch=scratch)
    assert len(source.train) == MBPP_ROWS["train"]
    shutil.rmtree(tmp_path / "mbpp" / "full")
    (only,) = open_source(["mbpp"], tmp_path, seed=0, wants=all_of, scratch=tmp_path / "other").held_out
    assert only.question.startswith("Write a function g.")


def test_a_magpie_copy_that_names_no_split_is_trained_on(inputs: Path, scratch: Path, tmp_path: Path) -> None:
    real = next(inputs.rglob("Magpie*/data/*.parquet"))
    (tmp_path / "magpie-reasoning").mkdir()
    shutil.copy(real, tmp_path / "magpie-reasoning" / "all.parquet")
    # What is mounted besides, of a run that is called so: its checkpoint and what its sessions wrote.
    for name in ("magpie-3f9a-c0007/manifest.json", "magpie-3f9a-c0007/notes.csv", "magpie-3f9a-s0007/report.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{", encoding="utf-8")
    copied = open_source(["magpie:9"], tmp_path, seed=0, wants=all_of, scratch=scratch)
    assert copied == open_source(["magpie:9"], inputs, seed=0, wants=all_of, scratch=scratch)


OPEN = """
import hashlib, sys
from pathlib import Path
from stages.data import open_source
source = open_source(
    sys.argv[2:], Path(sys.argv[1]), seed=5, wants=lambda e: "long" if len(e.completion) > 100 else "", apart_from=["mbpp"]
)
print(hashlib.sha256(repr((source.train, source.held_out, sorted(source.left_out.items()))).encode()).hexdigest())
"""


def in_another_process(
    inputs: Path, home: Path, *names: str, program: str = OPEN, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(inputs), *names],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", **environment},
    )


@pytest.mark.slow
def test_another_process_sees_the_same_examples_without_a_word_or_a_file_elsewhere(
    inputs: Path, tmp_path: Path
) -> None:
    names = ("magpie:300", "gsm8k:200", "mbpp", "ultrafeedback")
    home = tmp_path / "home"
    runs = [in_another_process(inputs, home, *names, PYTHONHASHSEED=seed) for seed in ("1", "2")]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    assert runs[0].stdout == runs[1].stdout
    assert [run.stderr for run in runs] == ["", ""]
    assert not home.exists()


@pytest.mark.slow
def test_a_set_that_is_nowhere_is_missing_in_one_sentence(tmp_path: Path) -> None:
    damaged, other = tmp_path / "gsm8k", tmp_path / "my-mbpp"
    damaged.mkdir()
    other.mkdir()
    for split in ("train", "test"):
        (damaged / f"{split}.parquet").write_bytes(b"PAR1")
        as_jsonl([{"question": "?", "answer": "#### 1"}], other / split)
    program = """
import sys
from pathlib import Path
from stages.data import open_source
from stages.stage import StageFailed
try:
    open_source(sys.argv[2:], Path(sys.argv[1]), seed=0, wants=lambda example: "")
except StageFailed as failed:
    print(failed.cause, failed.transient, failed.reason)
"""
    for name, said in (
        ("gsm8k", "data: the mounted copy of gsm8k, gsm8k, cannot be read (Parquet file size is 4 bytes"),
        (
            "mbpp",
            "data: mbpp is not there: the mounted my-mbpp is another set (it has no columns text and code and test_",
        ),
        (
            "magpie",
            "data: magpie is not there: none of the 4 mounted data files was recognised by its name or its columns (name",
        ),
    ):
        run = in_another_process(tmp_path, tmp_path / "home", name, program=program)
        assert run.stdout.startswith(f"data-missing True {said}"), run.stdout + run.stderr
        assert ("under inputs.datasets" in run.stdout) == (name != "gsm8k")
        assert run.stdout.count("\n") == 1
        assert run.stderr == ""
