"""The diagram of a pipeline: its boxes in order, and their text in Mermaid's language. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.base.terminal import escape_controls
from orchestrator.views.writeup.ledger import Ledger
from orchestrator.views.writeup.tables import Cell, cell_text, listed
from orchestrator.views.writeup.traced import TracedNumber

MERMAID_FILE = "pipeline.mmd"
DATA_SHOWN = 3
"""Maximum number of data sets named in a box."""
CLASSES = {
    "model": "fill:#eceff1,stroke:#455a64,color:#1b2733",
    "training": "fill:#dbe9fb,stroke:#1f5fa8,color:#12263f",
    "evaluation": "fill:#dff3e4,stroke:#1d7a46,color:#0f2b1b",
    "other": "fill:#fdf1d8,stroke:#9a6a00,color:#33270b",
}
"""Style of each class of boxes."""


@dataclass(frozen=True)
class DiagramBox:
    """A box: its class, and its lines, of which the first is its title."""

    style: str
    lines: tuple[Cell, ...]

    def texts(self, ledger: Ledger, file: str) -> list[str]:
        """Return the lines as text, recorded as printed in `file`."""
        return [escape_controls(" ".join(cell_text(line, ledger, file).split())) for line in self.lines]


def boxes(values: Mapping[str, Any]) -> list[DiagramBox]:
    """Return the boxes of a pipeline: the base model, then each stage in order."""
    model = values["model"]
    first = [DiagramBox("model", (model["base"], "base model"))] if model else []
    accuracies = {found["name"].name: found["accuracy"] for found in values["evaluations"]}
    return [*first, *(_box(stage, accuracies.get(stage["name"].name)) for stage in values["stages"])]


def _box(stage: Mapping[str, Any], accuracy: TracedNumber | None) -> DiagramBox:
    style = "training" if stage["trains"] else "evaluation" if stage["kind"] == "evaluate" else "other"
    noun = " step" if stage["steps"] == 1 else " steps"
    steps: Cell = (stage["steps"], noun) if stage["finished"] else (stage["done"], " of ", stage["steps"], noun)
    lines: list[Cell] = [stage["name"], steps]
    if stage["kind"] != stage["name"]:
        lines.insert(1, stage["kind"])
    if stage["data"]:
        more = ["…"] if len(stage["data"]) > DATA_SHOWN else []
        lines.append(listed([*stage["data"][:DATA_SHOWN], *more]))
    if accuracy is not None:
        lines.append((accuracy, " right"))
    return DiagramBox(style, tuple(lines))


def mermaid(found: Sequence[DiagramBox], ledger: Ledger, title: str = "") -> str:
    """Return the diagram in Mermaid's language, as one flow from left to right."""
    lines = [*(["---", f"title: {title}", "---"] if title else []), "flowchart LR"]
    for number, box in enumerate(found):
        label = "<br/>".join(mermaid_text(text) for text in box.texts(ledger, MERMAID_FILE))
        lines.append(f'  n{number}["{label}"]')
    if len(found) > 1:
        lines.append("  " + " --> ".join(f"n{number}" for number in range(len(found))))
    return "\n".join([*lines, *_styles(found)]) + "\n"


def _styles(found: Sequence[DiagramBox]) -> Iterator[str]:
    for style, css in CLASSES.items():
        members = [f"n{number}" for number, box in enumerate(found) if box.style == style]
        if members:
            yield f"  classDef {style} {css}"
            yield f"  class {','.join(members)} {style}"


def mermaid_text(text: str) -> str:
    """Return a text for a quoted label. Everything that is not plain becomes one of Mermaid's entity codes."""
    plain = " .,:/+-_%()=…→"
    return "".join(
        character if character.isalnum() or character in plain else f"#{ord(character)};" for character in text
    )
