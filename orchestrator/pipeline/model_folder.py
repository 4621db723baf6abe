"""Folders in a pipeline's `model:` section: their paths are relative to the pipeline file."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PLACES = ("source", "tokenizer")
"""Keys of `model:` that may name a path."""


def with_absolute_paths(model: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the section with absolute paths, since a session works in another folder than the pipeline file's.

    A source is a path if it begins with a dot, or if a folder of that name exists beside the pipeline file; a tokenizer
    if it begins with a dot, or if such a file exists.
    """
    found = dict(model)
    for key in PLACES:
        value = model.get(key)
        if not isinstance(value, str) or not value or value.startswith("/"):
            continue
        path = folder / value
        if value.startswith(".") or (path.is_dir() if key == "source" else path.is_file()):
            found[key] = str(path.resolve())
    return found


def similar_folder(source: Any, folder: Path) -> str:
    """Return the path of the folder whose name is most similar to `source`, relative to `folder`; empty if none is."""
    if not isinstance(source, str) or not source:
        return ""
    above = (folder / source).parent
    names = sorted(path.name for path in above.iterdir() if path.is_dir()) if above.is_dir() else []
    close = difflib.get_close_matches(Path(source).name, names, n=1, cutoff=0.7)
    return str(Path(source).parent / close[0]) if close else ""
