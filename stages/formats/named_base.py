"""Finds the base model's files in a folder that a person has named with `--base`."""

import dataclasses
from pathlib import Path

from stages.options import Model
from stages.stage import StageFailed
from stages.training import model_files
from stages.training.model_files import ModelFiles

HOLDS = "neither *.safetensors with {0} nor a Flax checkpoint (Orbax) with {0} beside its folder"


def find_base(options: Model, folder: Path) -> ModelFiles:
    """Return the files in the folder, or in the only folder directly in it that holds weights.

    Raises StageFailed `model-missing` or `tokenizer-missing`.
    """
    tokenizer = options.family.tokenizer_file
    if not folder.is_dir():
        raise StageFailed("model-missing", f"--base {folder} is not a folder")
    within = [path for path in model_files.below(folder) if model_files.layout_of(path) is not None]
    if model_files.layout_of(folder) is None:
        if not within:
            raise StageFailed("model-missing", f"--base {folder} holds no model: {HOLDS.format(tokenizer)}")
        if len(within) > 1:
            names = ", ".join(path.name for path in within)
            raise StageFailed(
                "model-missing", f"--base {folder} holds several models ({names}): name the folder of one"
            )
    try:
        return model_files.find(dataclasses.replace(options, source=str(folder.absolute())), folder, folder)
    except StageFailed as error:
        if error.cause == "tokenizer-missing" and not options.tokenizer:
            raise StageFailed(error.cause, f"--base {folder} holds no {tokenizer}") from error
        raise
