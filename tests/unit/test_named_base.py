"""A folder named with --base holds the files of one model, or is refused with its name."""

from pathlib import Path

import pytest

from stages.formats.named_base import find_base
from stages.options import Model
from stages.stage import StageFailed

OPTIONS = Model(source="google/gemma-2/flax/gemma2-2b-it/1")


def written(folder: Path, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("files", "weights", "layout"),
    [
        (("model.safetensors", "tokenizer.model"), ".", "transformers"),
        (("2b/_METADATA", "tokenizer.model"), "2b", "flax"),
        (("2b/_METADATA", "tokenizer.model", "docs/readme.txt"), "2b", "flax"),
        (("it/model.safetensors", "it/tokenizer.model"), "it", "transformers"),
    ],
)
def test_the_files_are_found_in_the_folder_or_directly_below(
    files: tuple[str, ...], weights: str, layout: str, tmp_path: Path
) -> None:
    found = find_base(OPTIONS, written(tmp_path, *files))
    assert (found.weights, found.layout) == (tmp_path / weights, layout)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("notes.txt",), "holds no model: neither *.safetensors"),
        (("models/gemma/2b/_METADATA", "models/gemma/tokenizer.model"), "holds no model"),
        (
            ("a/model.safetensors", "b/_METADATA", "tokenizer.model"),
            "holds several models (a, b): name the folder of one",
        ),
        (("model.safetensors",), "holds no tokenizer.model"),
    ],
)
def test_a_folder_without_one_whole_model_is_refused_by_its_name(
    files: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    with pytest.raises(StageFailed) as refused:
        find_base(OPTIONS, written(tmp_path, *files))
    assert refused.value.reason.startswith(f"--base {tmp_path} ") and said in refused.value.reason


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="nowhere is not a folder"):
        find_base(OPTIONS, tmp_path / "nowhere")
