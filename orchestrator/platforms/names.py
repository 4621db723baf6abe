"""Names of the platforms, as sentences for people have them."""

import json
from collections.abc import Mapping
from functools import lru_cache

KAGGLE = "Kaggle"
PLATFORM_NAMES: Mapping[str, str] = {"kaggle": KAGGLE, "slurm": "Slurm", "ssh": "the machine"}
"""Name of each platform by its word in the pipeline file; also the platform's own `label`."""


def platform_name(word: str) -> str:
    """Return the name of a platform by its word in the pipeline file; the word itself if it has no other name."""
    return PLATFORM_NAMES.get(word, word)


@lru_cache(maxsize=256)
def word_in(stored: str) -> str:
    """Return the word of the platform in a stored pipeline or site (canonical JSON, which leaves Kaggle's out)."""
    try:
        found = json.loads(stored)
    except ValueError:  # texts of tests and of damaged rows
        return "kaggle"
    return str(found.get("platform", "kaggle")) if isinstance(found, dict) else "kaggle"


def name_in(pipeline: str) -> str:
    """Return the name of the platform of a stored pipeline."""
    return platform_name(word_in(pipeline))
