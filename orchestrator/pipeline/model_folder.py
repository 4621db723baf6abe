"""Checks `source` in a pipeline's `model:` section; folders there have paths relative to the pipeline file."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.pipeline.references import ADDRESS, MODEL, PART, model_problem

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


HUB = re.compile(r"(https?:)?/*(www\.)?(huggingface\.co|hf\.co)/+(models/+)?", re.IGNORECASE)
NAME = re.compile(rf"{PART}/[A-Za-z0-9_][A-Za-z0-9._-]*")
FORM = "owner/model/framework/variation/version on Kaggle, owner/name on Hugging Face, or a folder that exists"


def home_problem(path: str) -> str:
    """Return why a path that begins with ~ is not valid, with the remedy; empty for any other."""
    return f"{path!r} begins with ~, which only a shell understands: write the whole path" if path[:1] == "~" else ""


def source_problem(source: str) -> str:
    """Return why this is neither a model's name nor a path, with the remedy; empty if it is one.

    Sessions check the form only roughly, so that runs of earlier releases stay readable.
    """
    if source.startswith("~"):
        return home_problem(source)
    if hub := HUB.match(source):
        parts = re.split(r"[/?#]", source[hub.end() :])
        meant = "/".join(parts[:2])
        return f"{source!r} is an address: write {meant if NAME.fullmatch(meant) else 'owner/name, as on the page'}"
    if ADDRESS.match(source):
        return model_problem(source)
    if source.startswith(("/", ".")) or NAME.fullmatch(source):
        return ""
    if "://" in source:
        return f"{source!r} is an address, and sessions fetch models by their names: write {FORM}"
    if source.count("/") == 4:
        return "" if MODEL.fullmatch(source) else model_problem(source)
    return f"{source!r} is no model's name: write {FORM}"
