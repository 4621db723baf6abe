"""Contents of the tables that a write-up has as pictures. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.views.writeup.ledger import Ledger
from orchestrator.views.writeup.traced import Traced, TracedNumber, TracedText

Cell = Traced | str | None | tuple["Cell", ...]
"""A value, a text of relay's own, nothing, or several of these, one directly after the other."""
SESSIONS_MAX = 30
"""Maximum number of sessions in a picture; of more, the first and the last ones are shown."""


@dataclass(frozen=True)
class TableContent:
    """A table for a picture; columns in `right` are set to the right. `note` is a line below it."""

    file: str
    title: str
    header: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    right: frozenset[int] = frozenset()
    note: str = ""


def cell_text(cell: Cell, ledger: Ledger, file: str) -> str:
    """Return a cell as text, its values recorded as printed in `file`."""
    if cell is None:
        return "–"
    if isinstance(cell, TracedNumber | TracedText):
        return ledger.printed(cell, file)
    if isinstance(cell, str):
        return cell
    return "".join(cell_text(part, ledger, file) for part in cell)


def listed(cells: Sequence[Cell]) -> Cell:
    """Return cells as one, with commas between them."""
    return tuple(part for cell in cells for part in (", ", cell))[1:]


def tables(values: Mapping[str, Any]) -> Iterator[TableContent]:
    """Yield the tables that have rows."""
    for table in (_evaluations(values), _hours(values), _data(values), _sessions(values)):
        if table.rows:
            yield table


def _evaluations(values: Mapping[str, Any]) -> TableContent:
    rows = tuple(
        (
            found["name"] if found["finished"] else (found["name"], " (so far)"),
            found["asked"],
            found["accuracy"],
            None if found["accuracy_low"] is None else (found["accuracy_low"], " to ", found["accuracy_high"]),
            found["format"],
        )
        for found in values["evaluations"]
    )
    header = ("evaluation", "problems", "right", (values["confidence"], " interval"), "right format")
    return TableContent("evaluations.png", "Evaluations", header, rows, frozenset({1, 2, 3, 4}))


def _hours(values: Mapping[str, Any]) -> TableContent:
    rows = tuple((found["label"], found["what"], found["time"], found["share"]) for found in values["hours"]["classes"])
    header = ("class of time", "what it is", "quota", "share")
    note = "Partly estimated: a session reported no classes." if values["hours"]["estimated"] else ""
    return TableContent("hours.png", "Quota by class of time", header, rows, frozenset({2, 3}), note)


def _data(values: Mapping[str, Any]) -> TableContent:
    return TableContent(
        "data.png", "Data sets", ("data", "source", "licence", "used in"), tuple(map(_set, values["data"]))
    )


def _set(found: Mapping[str, Any]) -> tuple[Cell, ...]:
    used = [(use["stage"], " (at most ", use["most"], ")") if use["most"] else use["stage"] for use in found["uses"]]
    return found["name"], found["repository"] or "a file of our own", found["licence"], listed(used)


def _sessions(values: Mapping[str, Any]) -> TableContent:
    found = values["sessions"]["all"]
    cut = len(found) > SESSIONS_MAX
    shown = [*found[: SESSIONS_MAX // 2], *found[-SESSIONS_MAX // 2 :]] if cut else found
    rows = [
        (
            session["name"],
            session["outcome"],
            _place(session["begin"]),
            _place(session["end"]),
            session["time"],
            session["steps_lost"],
        )
        for session in shown
    ]
    if cut:
        rows.insert(SESSIONS_MAX // 2, ("…", "", "", "", "", ""))
    header = ("session", "how it ended", "from", "to", "quota", "steps lost")
    return TableContent("sessions.png", "Sessions", header, tuple(rows), frozenset({4, 5}))


def _place(place: Mapping[str, Any] | None) -> Cell:
    return None if place is None else (place["stage"], " ", place["step"])
