"""The reference as Markdown tables, by the name of their block in the page."""

from collections.abc import Iterable

from orchestrator.pipeline.reference.entries import Entry, keys, kinds, options_of
from stages.catalog import KINDS


def tables() -> dict[str, str]:
    """Return the blocks `keys`, `model` and `kinds` of docs/pipeline.md."""
    said = kinds()
    chapters = [f"### `{name}`\n\n{said[name]}\n\n{_table(options_of(name))}" for name in KINDS]
    return {"keys": _table(keys()), "model": _table(options_of("model")), "kinds": "\n\n".join(chapters)}


def _table(entries: Iterable[Entry]) -> str:
    lines = ["| name | value | default | meaning |", "|---|---|---|---|", *map(_row, entries)]
    return "\n".join(lines)


def _row(entry: Entry) -> str:
    default = "required" if entry.required else _code(entry)
    return f"| `{entry.key}` | {_cell(entry.takes)} | {_cell(default)} | {_cell(entry.meaning)} |"


def _code(entry: Entry) -> str:
    """Format a default: a value as code, a computed default as words."""
    return entry.default if entry.computed else f"`{entry.default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
