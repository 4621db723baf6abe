"""Finds the public data sets and the model that some tests are held against; none is part of this repository."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def real_data(name: str) -> Path:
    """The path of a public file such as `gsm8k_train.jsonl`; skips the test where it is not on this machine.

    Looked for in the folder that RELAY_REAL_DATA names, else in `shared/real` beside this checkout.
    """
    folder = Path(os.environ.get("RELAY_REAL_DATA") or ROOT.parent / "shared" / "real")
    path = folder / name
    if not path.is_file():
        pytest.skip(
            f"{name} is not in {folder}: name a folder with the public GSM8K, MBPP and UltraFeedback files in RELAY_REAL_DATA"
        )
    return path


def real_model() -> Path:
    """The folder of a real Gemma 3 270M as at Hugging Face, named by RELAY_REAL_MODEL; else skips the test."""
    if not (named := os.environ.get("RELAY_REAL_MODEL")):
        pytest.skip("name the folder of a Gemma 3 270M from Hugging Face in RELAY_REAL_MODEL")
    return Path(named)
