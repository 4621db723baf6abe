"""Checks that a pushed notebook has a format which the local Kaggle accepts."""

import json
from typing import Any


def problem_of(text: str) -> str:
    """Return why a source is not a valid notebook, in one sentence; empty if it is valid."""
    try:
        notebook = json.loads(text)
    except ValueError as error:
        return f"The notebook is not valid JSON: {error}"
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        return "The notebook has no list of cells; only the format 4 of Jupyter notebooks is accepted"
    for number, cell in enumerate(notebook["cells"], start=1):
        if not _is_cell(cell):
            return f"Cell {number} of the notebook has no cell_type or no source"
    return ""


def _is_cell(cell: Any) -> bool:
    if not isinstance(cell, dict) or cell.get("cell_type") not in ("code", "markdown", "raw"):
        return False
    source = cell.get("source")
    return isinstance(source, str) or (isinstance(source, list) and all(isinstance(line, str) for line in source))
