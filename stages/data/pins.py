"""Pins the data of a run: digests of the rows that it has read, which its checkpoints carry and every later session is held to.

Two kinds of pins have names of their own. `gsm8k train` is of a set's split, whatever a stage makes of it: how many rows it
has, and digests of the rows in the order in which they were read, after 1, 2, 4, 8, … of them and after the last. Every stage
of a run reads a split in the same order, so two stages that stop at different rows can still be compared, and no row is
read for the sake of its digest. `sft: gsm8k:300 train` is of what a stage chose: its examples, in order.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stages.contract import STAND_IN_METRIC
from stages.data.examples import Example, Quality
from stages.stage import StageFailed

CHANGED = "data-changed"
SHOWN = 12
"""Digits of a digest that a sentence shows."""


@dataclass(frozen=True)
class Pin:
    """`rows`: how many there are. `read`: SHA-256 of the first so many of them, in the order in which they were read."""

    rows: int
    read: Mapping[int, str]
    revision: str = ""
    """The commit of the hub's repository, where the rows are from there."""

    @property
    def digest(self) -> str:
        """Of all rows that were read."""
        return self.read[max(self.read)] if self.read else ""

    def differs(self, other: "Pin") -> bool:
        """Whether the two cannot be of the same rows; of rows that only one of them has read nothing is known."""
        return self.rows != other.rows or any(self.read[count] != other.read[count] for count in self._common(other))

    def where(self, other: "Pin") -> tuple[str, str]:
        """The first digests that differ, or the last ones."""
        common = sorted(self._common(other))
        count = next((count for count in common if self.read[count] != other.read[count]), None)
        return (self.digest, other.digest) if count is None else (self.read[count], other.read[count])

    def with_(self, other: "Pin") -> "Pin":
        """What both know of the same rows."""
        return Pin(self.rows, {**self.read, **other.read}, self.revision or other.revision)

    def _common(self, other: "Pin") -> set[int]:
        return self.read.keys() & other.read.keys()


class RowsRead:
    """Makes a pin while rows are read."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._count = 0
        self._read: dict[int, str] = {}

    def add(self, row: Example | str) -> None:
        """The next row: the example that it is, or why it is none."""
        for value in [row] if isinstance(row, str) else _values(row):
            data = value.encode("utf-8", "surrogatepass")
            self._digest.update(b"%d:" % len(data) + data)
        self._count += 1
        if self._count & (self._count - 1) == 0:
            self._read[self._count] = self._digest.hexdigest()

    def pin(self, rows: int | None = None, revision: str = "") -> Pin:
        """The pin of a split of so many rows, or of just what was read."""
        read = {**self._read, self._count: self._digest.hexdigest()} if self._count else {}
        return Pin(self._count if rows is None else rows, read, revision)


TEXTS = tuple(each.name for each in dataclasses.fields(Example) if each.name != "quality")
QUALITIES = tuple(each.name for each in dataclasses.fields(Quality))


def _values(row: Example) -> list[str]:
    """All that an example is: its texts, and what is known of its quality, by which stages choose."""
    return [
        *(getattr(row, name) for name in TEXTS),
        *(repr(getattr(row.quality, name)) for name in QUALITIES),
    ]


@dataclass
class Pins:
    """What a run has read so far. Each stage's context has its own; it travels in the checkpoints."""

    known: dict[str, Pin] = field(default_factory=dict)
    stand_ins: set[str] = field(default_factory=set)
    """The sets, or the model, in whose place the stage has something that was made up."""

    def recall(self, described: Mapping[str, Any]) -> None:
        """Take over what a checkpoint says (`described`, as read from JSON)."""
        for name, value in described.items():
            read = {int(count): digest for count, digest in value["read"].items()}
            self.known[name] = Pin(value["rows"], read, value["revision"])

    def described(self) -> dict[str, Any]:
        """For a checkpoint: plain values, the same for the same pins."""
        return {
            name: {"rows": pin.rows, "read": {str(n): pin.read[n] for n in sorted(pin.read)}, "revision": pin.revision}
            for name, pin in sorted(self.known.items())
        }

    def revision(self, name: str) -> str:
        """The commit that a set's rows were fetched at before; empty where they were not."""
        pin = self.known.get(f"{name} train")
        return pin.revision if pin else ""

    def same(self, name: str, digest: str) -> bool:
        """Whether this is the digest that is pinned under this name; it is pinned where there is none yet."""
        return self.known.setdefault(name, Pin(1, {1: digest})).digest == digest

    def metrics(self) -> dict[str, float]:
        """What tells a step that is on something made up from a real one: `stand_in_<name>`, for each of `stand_ins`."""
        return {f"{STAND_IN_METRIC}{name}": 1.0 for name in sorted(self.stand_ins)}

    def hold(self, name: str, found: Pin, where: str) -> None:
        """Pin what was found; raises StageFailed `data-changed` where the run has read other rows under this name."""
        before = self.known.get(name)
        if before is not None and found.differs(before):
            old, new = before.where(found)
            raise StageFailed(
                CHANGED,
                f"data: {name} is no longer what this run began with: that had {before.rows:,} rows (SHA-256 "
                f"{old[:SHOWN]}…), and {where} has {found.rows:,} ({new[:SHOWN]}…): bring the old rows back, or start a new "
                "run with these",
            )
        self.known[name] = before.with_(found) if before else found
