"""Which copy of a data set a session reads follows from whose it is and from what it holds, never from where Kaggle mounted it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import pytest

from stages.data.layouts import names_split, whole_copy
from stages.data.mounted import STAND_IN_MARK, Brought, Origin, mounted_folders, named_alone, not_mounted
from stages.data.mounted_datasets import copies_of
from stages.data.registry import KNOWN
from stages.data.source import stand_in_sets

FLAT, DEEP = "{slug}", "datasets/{owner}/{slug}"
OUTPUT = "notebooks/{owner}/{slug}"
GSM8K = KNOWN["gsm8k"]


def rows(number: int) -> bytes:
    return b'{"question": "%d?", "answer": "#### 1"}\n' % number


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


OWN = {"gsm8k_train.jsonl": rows(1), "gsm8k_test.jsonl": rows(2)}
SET = {"main/train.jsonl": rows(3), "main/test.jsonl": rows(4)}
MADE_UP = {STAND_IN_MARK: b"made up", "gsm8k/train.jsonl": rows(5), "gsm8k/test.jsonl": rows(6)}
LEFT = {"gsm8k/train.jsonl": rows(7), "gsm8k/test.jsonl": rows(8)}
BROUGHT = Brought(digests(OWN), ("me/gsm8k-mine",))

Thing = tuple[str, str, Mapping[str, bytes]]
"""Layout, slug and files."""


def mount(inputs: Path, *things: Thing) -> Path:
    for layout, slug, files in things:
        for name, data in files.items():
            path = inputs / layout.format(owner="me", slug=slug) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return inputs


def chosen(inputs: Path, brought: Brought = BROUGHT) -> tuple[Origin, bytes] | None:
    """Whose copy is the first, and what its first training file holds."""
    copy = next(copies_of(GSM8K, mounted_folders(inputs, brought)), None)
    return copy and (copy.origin, copy.train[0].read_bytes())


LAYOUTS = list(product((FLAT, DEEP), (FLAT, DEEP), (FLAT, OUTPUT)))


def test_a_set_is_made_up_if_nothing_but_its_stand_in_is_mounted(tmp_path: Path) -> None:
    mbpp = {"mbpp/train.jsonl": b"{}", "mbpp/test.jsonl": b"{}"}
    alone = mount(tmp_path / "alone", (FLAT, "stand-in-sets", {**MADE_UP, **mbpp}))
    beside = mount(tmp_path / "beside", (FLAT, "stand-in-sets", {**MADE_UP, **mbpp}), (DEEP, "gsm8k-mine", SET))
    real = mount(tmp_path / "real", (DEEP, "gsm8k-mine", SET))
    assert stand_in_sets(alone, Brought()) == ("gsm8k", "mbpp")
    assert stand_in_sets(beside, BROUGHT) == stand_in_sets(beside, Brought()) == ("mbpp",)
    assert stand_in_sets(real, Brought()) == ()


@pytest.mark.parametrize(("inputs_at", "dataset_at", "output_at"), LAYOUTS)
def test_the_pipelines_own_files_come_first_wherever_they_are_mounted(
    tmp_path: Path, inputs_at: str, dataset_at: str, output_at: str
) -> None:
    mount(
        tmp_path,
        (inputs_at, "run-3f9a-inputs", OWN),
        (dataset_at, "gsm8k-mine", SET),
        (output_at, "run-3f9a-s0001", LEFT),
        (FLAT, "stand-in-sets", MADE_UP),
    )
    assert chosen(tmp_path) == (Origin.FILES, rows(1))


@pytest.mark.parametrize(("dataset_at", "output_at"), list(product((FLAT, DEEP), (FLAT, OUTPUT))))
def test_a_listed_dataset_comes_before_what_else_is_mounted_and_stand_ins_come_last(
    tmp_path: Path, dataset_at: str, output_at: str
) -> None:
    listed, other, made_up = (
        (dataset_at, "gsm8k-mine", SET),
        (output_at, "gsm8k-made-elsewhere", LEFT),
        (FLAT, "stand-in-sets", MADE_UP),
    )
    only = Brought({}, ("me/gsm8k-mine",))
    assert chosen(mount(tmp_path / "all", listed, other, made_up), only) == (Origin.DATASETS, rows(3))
    assert chosen(mount(tmp_path / "some", other, made_up), Brought()) == (Origin.OTHER, rows(7))
    assert chosen(mount(tmp_path / "few", made_up), Brought()) == (Origin.STAND_IN, rows(5))


@pytest.mark.parametrize(("first_at", "second_at"), list(product((FLAT, DEEP), (FLAT, DEEP))))
def test_of_two_listed_datasets_the_one_that_is_named_first_is_read(
    tmp_path: Path, first_at: str, second_at: str
) -> None:
    mount(tmp_path, (first_at, "zz-gsm8k", SET), (second_at, "a-gsm8k", LEFT))
    assert chosen(tmp_path, Brought({}, ("me/zz-gsm8k", "me/a-gsm8k"))) == (Origin.DATASETS, rows(3))
    assert chosen(tmp_path, Brought({}, ("me/a-gsm8k/4", "me/zz-gsm8k"))) == (Origin.DATASETS, rows(7))


def test_of_copies_that_nobody_listed_the_content_decides(tmp_path: Path) -> None:
    """As where an archive was unpacked into a folder of its own in one session and not in the next."""
    deep = {f"unpacked/gsm8k/{name}": data for name, data in SET.items()}
    ways: Sequence[tuple[Thing, Thing]] = (
        ((FLAT, "gsm8k", SET), (DEEP, "gsm8k-again", LEFT)),
        ((DEEP, "gsm8k", SET), (FLAT, "gsm8k-again", LEFT)),
        ((DEEP, "zz", deep), (FLAT, "gsm8k", LEFT)),
        ((FLAT, "zz", deep), (OUTPUT, "gsm8k", LEFT)),
    )
    found = {chosen(mount(tmp_path / str(n), *way), Brought()) for n, way in enumerate(ways)}
    assert len(found) == 1


@pytest.mark.parametrize("layout", [FLAT, DEEP, OUTPUT])
@pytest.mark.parametrize("owner", ["me", "gsm8k"])
def test_a_run_or_an_account_that_is_called_after_a_set_is_no_copy_of_it(
    tmp_path: Path, layout: str, owner: str
) -> None:
    run = layout.replace("{owner}", owner)
    checkpoint = {"manifest.json": b"{", "train.jsonl": rows(1), "test.jsonl": rows(1)}
    artifacts = {f"relay/artifacts/transcripts-{name}.jsonl": rows(1) for name in ("train", "test")}
    other = {f"{name}.jsonl": b'{"title": "Spring", "lines": []}\n' for name in ("train", "test")}
    things = ("gsm8k-3f9a-c0001", checkpoint), ("gsm8k-3f9a-s0001", artifacts), ("poems", other)
    mount(tmp_path, *((run, slug, files) for slug, files in things))
    assert chosen(tmp_path, Brought()) is None


def test_a_file_is_the_pipelines_own_only_with_the_bytes_that_the_run_began_with(tmp_path: Path) -> None:
    changed = {**OWN, "gsm8k_train.jsonl": rows(9)}
    folders = mounted_folders(mount(tmp_path, (DEEP, "run-inputs", changed)), BROUGHT)
    assert not_mounted(BROUGHT, folders) == ["gsm8k_train.jsonl", "me/gsm8k-mine"]


def test_what_is_mounted_as_the_pipeline_names_it_is_not_missed(tmp_path: Path) -> None:
    mount(tmp_path, (FLAT, "run-inputs", OWN), (DEEP, "gsm8k-mine", {STAND_IN_MARK: b"made up"}))
    assert not_mounted(BROUGHT, mounted_folders(tmp_path, BROUGHT)) == []


@pytest.mark.parametrize(
    ("name", "files", "whole"),
    [
        ("gsm8k", ["gsm8k_train.jsonl", "gsm8k_test.jsonl"], ["gsm8k_train.jsonl", "gsm8k_test.jsonl"]),
        ("gsm8k", ["gsm8k_train.jsonl"], []),
        ("gsm8k", ["gsm8k_train.jsonl", "gsm8k_test.csv"], []),
        ("gsm8k", ["train.jsonl", "test.jsonl"], []),
        ("mbpp", ["mbpp-train.parquet", "mbpp-test.parquet", "notes.txt"], ["mbpp-train.parquet", "mbpp-test.parquet"]),
        ("mbpp", ["mbpp.jsonl"], ["mbpp.jsonl"]),
        ("mbpp", ["mbpp-notes.txt", "sanitized-mbpp.json", "mbpp.jsonl"], ["mbpp.jsonl"]),
        ("mbpp", ["mbpp-plus.jsonl"], []),
        ("magpie", ["magpie.parquet"], ["magpie.parquet"]),
        ("ultrafeedback", ["evol_instruct_ultrafeedback.jsonl"], ["evol_instruct_ultrafeedback.jsonl"]),
        ("ultrafeedback", ["gsm8k_train.jsonl", "gsm8k_test.jsonl"], []),
    ],
)
def test_names_tell_which_files_are_a_whole_copy(name: str, files: list[str], whole: list[str]) -> None:
    assert whole_copy(KNOWN[name], files) == whole


@pytest.mark.parametrize(
    ("file", "names_one"),
    [("gsm8k_train.jsonl", True), ("gsm8k-notes.jsonl", False), ("gsm8k_train.txt", False), ("train.jsonl", False)],
)
def test_a_name_tells_whether_it_is_of_a_split(file: str, names_one: bool) -> None:
    assert names_split(GSM8K, file) is names_one


def test_a_file_that_a_stage_names_by_itself_is_no_part_of_a_set(tmp_path: Path) -> None:
    options = [{"data": ["gsm8k_train.jsonl:50", "mbpp"]}, {}, {"data": "gsm8k_test.jsonl"}]
    alone = named_alone(OWN, options)
    assert alone == {"gsm8k_train.jsonl"}
    folders = mounted_folders(mount(tmp_path, (FLAT, "x-inputs", OWN)), Brought(digests(OWN), (), alone))
    assert [[path.name for path in folder.files] for folder in folders] == [["gsm8k_test.jsonl"]]


def test_problems_of_a_name_that_lies_about_twice_are_those_that_the_run_began_with(tmp_path: Path) -> None:
    from stages.data import RunData, open_source

    def lines(word: str) -> bytes:
        return "".join(
            json.dumps({"prompt": f"{word} {n}?", "answer": "1", "completion": "x"}) + "\n" for n in range(40)
        ).encode()

    own, other = {"my.jsonl": lines("own")}, {"my.jsonl": lines("other")}
    for number, (own_at, other_at) in enumerate(((FLAT, OUTPUT), (DEEP, FLAT))):
        inputs = mount(tmp_path / str(number), (own_at, "zz-inputs", own), (other_at, "a-s0001", other))
        run = RunData(Brought(digests(own), (), frozenset(own)))
        source = open_source(["my.jsonl"], inputs, seed=0, wants=lambda example: "", run=run)
        assert {example.question.split()[0] for example in source.train} == {"own"}
