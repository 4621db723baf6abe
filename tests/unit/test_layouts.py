"""Where each set's files lie in its hub repository, in its authors' release and in copies on Kaggle, told by names alone."""

from pathlib import PurePath

import pytest

from stages.data.layouts import layouts_of
from stages.data.registry import KNOWN

HUB = "-00000-of-00001.parquet"
H4 = ("test_gen", "test_prefs", "test_sft", "train_gen", "train_prefs", "train_sft")
OPENBMB = ("evol_instruct", "false_qa", "flan", "sharegpt", "truthful_qa", "ultrachat")
MAGPIE = "Magpie-Reasoning-V2-250K-CoT-Deepseek-R1-Llama-70B"
GRADE_SCHOOL = ("train", "test", "train_socratic", "test_socratic", "example_model_solutions")


def found(name: str, *files: str) -> tuple[set[str], set[str]]:
    """The files to train on and those held out of the first copy, which has to be one that can be used."""
    first = layouts_of(KNOWN[name], [PurePath(file) for file in files])[0]
    assert first.problem == ""
    return {path.as_posix() for path in first.train}, {path.as_posix() for path in first.held_out}


@pytest.mark.parametrize(
    ("name", "files", "train", "held_out"),
    [
        pytest.param(
            "gsm8k",
            [f"gsm8k/{config}/{split}{HUB}" for config in ("main", "socratic") for split in ("train", "test")],
            {f"gsm8k/main/train{HUB}"},
            {f"gsm8k/main/test{HUB}"},
            id="gsm8k: the hub's repository",
        ),
        pytest.param(
            "gsm8k",
            [
                f"a/gsm8k/{config}/{split}/0000.parquet"
                for config in ("main", "socratic")
                for split in ("train", "test")
            ],
            {"a/gsm8k/main/train/0000.parquet"},
            {"a/gsm8k/main/test/0000.parquet"},
            id="gsm8k: the hub's converted Parquet",
        ),
        pytest.param(
            "gsm8k",
            [f"gsm/grade_school_math/data/{file}.jsonl" for file in GRADE_SCHOOL],
            {"gsm/grade_school_math/data/train.jsonl"},
            {"gsm/grade_school_math/data/test.jsonl"},
            id="gsm8k: the authors' release",
        ),
        pytest.param(
            "gsm8k",
            [f"grade-school-math-8k-q-a/{c}_{split}.csv" for c in ("main", "socratic") for split in ("train", "test")],
            {"grade-school-math-8k-q-a/main_train.csv"},
            {"grade-school-math-8k-q-a/main_test.csv"},
            id="gsm8k: flat CSV on Kaggle",
        ),
        pytest.param(
            "gsm8k",
            [f"gsm8k-main-and-socratic/{file}.jsonl" for file in GRADE_SCHOOL],
            {"gsm8k-main-and-socratic/train.jsonl"},
            {"gsm8k-main-and-socratic/test.jsonl"},
            id="gsm8k: a name with both configurations",
        ),
        pytest.param(
            "gsm8k",
            ["my-data/gsm8k/train.jsonl", "my-data/gsm8k/test.jsonl", "my-data/mbpp/train.jsonl"],
            {"my-data/gsm8k/train.jsonl"},
            {"my-data/gsm8k/test.jsonl"},
            id="gsm8k: plain names in a folder of its name",
        ),
        pytest.param(
            "gsm8k",
            ["stuff/gsm8k_train.jsonl", "stuff/gsm8k_test.jsonl", "stuff/train.jsonl"],
            {"stuff/gsm8k_train.jsonl"},
            {"stuff/gsm8k_test.jsonl"},
            id="gsm8k: names of the set and the split",
        ),
        pytest.param(
            "gsm8k",
            [
                *(f"gsm8k/{split}/data-00000-of-00001.arrow" for split in ("train", "test")),
                *(f"gsm8k/{split}/{about}.json" for split in ("train", "test") for about in ("state", "dataset_info")),
                "gsm8k/dataset_dict.json",
            ],
            {"gsm8k/train/data-00000-of-00001.arrow"},
            {"gsm8k/test/data-00000-of-00001.arrow"},
            id="gsm8k: as the datasets library saves it",
        ),
        pytest.param(
            "mbpp",
            [
                f"mbpp/{config}/{split}{HUB}"
                for config in ("full", "sanitized")
                for split in ("train", "test", "validation", "prompt")
            ],
            {f"mbpp/full/train{HUB}"},
            {f"mbpp/full/test{HUB}"},
            id="mbpp: the hub's repository",
        ),
        pytest.param(
            "mbpp",
            ["google/mbpp.jsonl", "google/sanitized-mbpp.json"],
            {"google/mbpp.jsonl"},
            {"google/mbpp.jsonl"},
            id="mbpp: the authors' release",
        ),
        pytest.param(
            "mbpp",
            ["google/sanitized-mbpp.json"],
            {"google/sanitized-mbpp.json"},
            {"google/sanitized-mbpp.json"},
            id="mbpp: the verified part of the release alone",
        ),
        pytest.param(
            "mbpp",
            ["mbpp-full-and-sanitized/sanitized-mbpp.jsonl", "mbpp-full-and-sanitized/mbpp.jsonl"],
            {"mbpp-full-and-sanitized/mbpp.jsonl"},
            {"mbpp-full-and-sanitized/mbpp.jsonl"},
            id="mbpp: one format and a name with both configurations",
        ),
        pytest.param(
            "mbpp",
            ["mostly-basic/mbpp/train.csv", "mostly-basic/mbpp/test.csv", "mostly-basic/mbpp/validation.csv"],
            {"mostly-basic/mbpp/train.csv"},
            {"mostly-basic/mbpp/test.csv"},
            id="mbpp: CSV on Kaggle",
        ),
        pytest.param(
            "ultrafeedback",
            [f"ultrafeedback_binarized/data/{split}-00000-of-00001-ab12.parquet" for split in H4],
            {"ultrafeedback_binarized/data/train_prefs-00000-of-00001-ab12.parquet"},
            {"ultrafeedback_binarized/data/test_prefs-00000-of-00001-ab12.parquet"},
            id="ultrafeedback: the hub's binarized repository",
        ),
        pytest.param(
            "ultrafeedback",
            [f"ultrafeedback/{split}.jsonl" for split in ("test_gen", "test_sft", "train_gen", "train_sft")],
            {"ultrafeedback/train_sft.jsonl"},
            {"ultrafeedback/test_sft.jsonl"},
            id="ultrafeedback: without the splits of preferences",
        ),
        pytest.param(
            "ultrafeedback",
            [f"UltraFeedback/{source}.jsonl" for source in OPENBMB],
            {f"UltraFeedback/{source}.jsonl" for source in OPENBMB},
            set(),
            id="ultrafeedback: openbmb's files, one for each source",
        ),
        pytest.param(
            "ultrafeedback",
            ["ultra-feedback/ultrafeedback.csv"],
            {"ultra-feedback/ultrafeedback.csv"},
            set(),
            id="ultrafeedback: one file",
        ),
        pytest.param(
            "ultrafeedback",
            ["rlhf/ultrafeedback_binarized.json", "rlhf/config.json"],
            {"rlhf/ultrafeedback_binarized.json"},
            set(),
            id="ultrafeedback: one file of JSON",
        ),
        pytest.param(
            "magpie",
            ["magpie-7b/config.json", "magpie-7b/magpie.json"],
            {"magpie-7b/magpie.json"},
            set(),
            id="magpie: one file of JSON, and JSON that holds no rows",
        ),
        pytest.param(
            "magpie",
            [f"{MAGPIE}/data/train-0000{part}-of-00009.parquet" for part in range(9)],
            {f"{MAGPIE}/data/train-0000{part}-of-00009.parquet" for part in range(9)},
            set(),
            id="magpie: the hub's repository",
        ),
        pytest.param(
            "magpie", ["reasoning/magpie_v2.jsonl"], {"reasoning/magpie_v2.jsonl"}, set(), id="magpie: one file"
        ),
    ],
)
def test_a_copy_is_told_by_its_names(name: str, files: list[str], train: set[str], held_out: set[str]) -> None:
    for prefix in ("", "datasets/somebody/"):
        placed = [f"{prefix}{file}" for file in reversed(files)]
        assert found(name, *placed) == ({f"{prefix}{file}" for file in train}, {f"{prefix}{file}" for file in held_out})


def test_the_authors_mbpp_files_hold_all_splits_by_number() -> None:
    for file in ("mbpp.jsonl", "sanitized-mbpp.json", "mbpp.csv"):
        (layout,) = layouts_of(KNOWN["mbpp"], [PurePath("google", file)])
        assert layout.by_number
    (layout,) = layouts_of(KNOWN["mbpp"], [PurePath("google/mbpp/train.csv"), PurePath("google/mbpp/test.csv")])
    assert not layout.by_number


@pytest.mark.parametrize(
    ("name", "files", "problem"),
    [
        ("gsm8k", ["gsm8k.csv"], "none of its .csv files is called train"),
        ("gsm8k", ["gsm8k/train.csv"], "its .csv files have no split called test"),
        ("gsm8k", ["gsm8k/test.csv"], "its .csv files have no split called train"),
        ("gsm8k", ["gsm8k/train.jsonl", "gsm8k/test.csv"], "its .jsonl files have no split called test"),
        ("gsm8k", ["gsm8k/socratic/train.jsonl", "gsm8k/socratic/test.jsonl"], "it holds nothing but socratic"),
        ("mbpp", ["mbpp/train.csv"], "its .csv files have no split called test"),
        ("mbpp", ["mbpp-plus/mbpp.jsonl"], "it holds nothing but plus"),
        ("magpie", ["magpie-7b/config.json", "magpie-7b/vocab.json"], "none of its .json files is called train"),
        (
            "ultrafeedback",
            ["ultrafeedback/test_prefs.csv"],
            "its .csv files have no split called train_prefs or train_sft or",
        ),
    ],
)
def test_a_copy_that_cannot_be_used_says_why(name: str, files: list[str], problem: str) -> None:
    layouts = layouts_of(KNOWN[name], [PurePath(file) for file in files])
    assert layouts[0].problem.startswith(problem)
    assert set(layouts[0].train) <= {PurePath(file) for file in files}


def test_files_about_a_set_are_no_rows_of_it() -> None:
    about = ["gsm8k/dataset-metadata.json", "gsm8k/dataset_infos.json", "gsm8k/train/state.json", "gsm8k/README.md"]
    assert layouts_of(KNOWN["gsm8k"], [PurePath(file) for file in about]) == []
