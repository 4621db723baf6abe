"""Explanations of stage kinds, keys and options, for a terminal of any width."""

from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text


def explanation_view(document: dict[str, Any]) -> RenderableType:
    """Show a document of `orchestrator.pipeline.reference.lookup`."""
    parts: list[RenderableType] = []
    if document["name"]:
        parts += _headed(document)
    else:
        parts.append(Text("Kinds of stage", style="bold underline"))
        for name, meaning in document["kinds"].items():
            parts += [Text(f"  {name}", style="bold"), _indented(meaning)]
        parts += [Text(), Text("Keys of a pipeline file", style="bold underline")]
    for entry in document["entries"]:
        parts += _entry(entry)
    if not document["name"]:
        parts += [Text(), Text("relay explain NAME explains one kind, key or option.")]
    return Group(*parts)


def _headed(document: dict[str, Any]) -> list[RenderableType]:
    if not document["meaning"]:
        return []
    parts: list[RenderableType] = [
        Text(document["name"], style="bold"),
        Padding(Text(document["meaning"]), (0, 0, 0, 2), expand=False),
    ]
    return [*parts, Text()] if document["entries"] else parts


def _entry(entry: dict[str, Any]) -> list[RenderableType]:
    default = f"default {entry['default']}" if entry["default"] else ""
    said = "; ".join(filter(None, (entry["takes"], "required" if entry["required"] else default)))
    head = Text.assemble((entry["key"], "bold"), (f"  {said}" if said else "", "dim"))
    return [Padding(head, (0, 0, 0, 2), expand=False), _indented(entry["meaning"])]


def _indented(text: str) -> Padding:
    return Padding(Text(text), (0, 0, 0, 6), expand=False)
