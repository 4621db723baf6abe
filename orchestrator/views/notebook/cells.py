"""Cells of a notebook, and the notebook document that they make up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.views.notebook.library import PACKAGE, LibraryModule

KAGGLE_ACCELERATORS = {
    "TpuV5E8": "tpuV5e8",
    "TpuV6E8": "tpuV6e8",
    "NvidiaTeslaT4": "nvidiaTeslaT4",
}
"""Names of accelerators in the metadata of Kaggle's notebooks."""
HIDDEN = {"_kg_hide-input": True, "jupyter": {"source_hidden": True}}
"""Cell metadata with which Kaggle and JupyterLab fold a cell's code away."""


@dataclass(frozen=True)
class NotebookCell:
    """Cell of a notebook. `hidden` folds its code away until a reader opens it."""

    text: str
    is_code: bool = False
    hidden: bool = False


def markdown(text: str) -> NotebookCell:
    return NotebookCell(text.strip())


def code(text: str, *, hidden: bool = False) -> NotebookCell:
    return NotebookCell(text.strip(), True, hidden)


def module_cells(module: LibraryModule, *, hidden: bool = True) -> list[NotebookCell]:
    """Return the heading of a module and the cell that writes its file."""
    heading = f"#### `{module.path.removeprefix(f'{PACKAGE}/')}`\n\n{module.sentence}"
    return [markdown(heading), code(f"%%writefile {module.path}\n{module.text}", hidden=hidden)]


def document(cells: Sequence[NotebookCell], accelerator: str) -> Any:
    """Return the notebook (nbformat 4.5) of these cells, with Kaggle's settings. Raises if it is not valid."""
    import nbformat
    from nbformat import v4

    made = []
    for number, cell in enumerate(cells):
        options = {"id": f"cell-{number:03d}", "metadata": HIDDEN if cell.hidden else {}}
        made.append((v4.new_code_cell if cell.is_code else v4.new_markdown_cell)(cell.text, **options))
    on_kaggle = {
        "accelerator": KAGGLE_ACCELERATORS.get(accelerator, "none"),
        "dataSources": [],
        "isGpuEnabled": accelerator.startswith("Nvidia"),
        "isInternetEnabled": True,
        "language": "python",
        "sourceType": "notebook",
    }
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
        "kaggle": on_kaggle,
    }
    notebook = v4.new_notebook(cells=made, metadata=metadata)
    nbformat.validate(notebook)
    return notebook
