"""Pin the data of a run: digests of the rows read, stored in checkpoints and verified by every later session.

There are two kinds of pins. `gsm8k train` pins a split of a set: its number of rows, and digests over the rows in
reading order after 1, 2, 4, 8, … rows and after the last. Every stage of a run reads a split in the same order, so
stages that stop at different rows can still be compared, and no row is read only for its digest. `sft: gsm8k:300 train`
pins a stage's selection: its examples, in order.
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
"""Number of digest digits shown in messages."""


@dataclass(frozen=True)
class Pin:
    """Pin of a sequence of rows. `rows` is their number; `read` maps a count to the SHA-256 of the first rows read."""

    rows: int
    read: Mapping[int, str]
    revision: str = ""
    """Commit of the Hugging Face repository that the rows are from; empty for other sources."""

    @property
    def digest(self) -> str:
        """Digest of all rows that were read."""
        return self.read[max(self.read)] if self.read else ""

    def differs(self, other: "Pin") -> bool:
        """Return True if the two pins cannot be of the same rows. Rows read by only one of them are not compared."""
        return self.rows != other.rows or any(self.read[count] != other.read[count] for count in self._common(other))

    def where(self, other: "Pin") -> tuple[str, str]:
        """Return the first pair of digests that differ, else those of all rows."""
        common = sorted(self._common(other))
        count = next((count for count in common if self.read[count] != other.read[count]), None)
        return (self.digest, other.digest) if count is None else (self.read[count], other.read[count])

    def with_(self, other: "Pin") -> "Pin":
        """Return the combination of two pins of the same rows."""
        return Pin(self.rows, {**self.read, **other.read}, self.revision or other.revision)

    def _common(self, other: "Pin") -> set[int]:
        return self.read.keys() & other.read.keys()


class RowsRead:
    """Accumulates the digests of a pin while rows are read."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._count = 0
        self._read: dict[int, str] = {}

    def add(self, row: Example | str) -> None:
        """Add the next row: its example, or the reason why it is not one."""
        for value in [row] if isinstance(row, str) else _values(row):
            data = value.encode("utf-8", "surrogatepass")
            self._digest.update(b"%d:" % len(data) + data)
        self._count += 1
        if self._count & (self._count - 1) == 0:
            self._read[self._count] = self._digest.hexdigest()

    def pin(self, rows: int | None = None, revision: str = "") -> Pin:
        """Return the pin. `rows` is the size of the split; by default the number of rows read."""
        read = {**self._read, self._count: self._digest.hexdigest()} if self._count else {}
        return Pin(self._count if rows is None else rows, read, revision)


TEXTS = tuple(each.name for each in dataclasses.fields(Example) if each.name != "quality")
QUALITIES = tuple(each.name for each in dataclasses.fields(Quality))


def _values(row: Example) -> list[str]:
    """Return all values of an example that the digest covers: its texts and its quality."""
    return [
        *(getattr(row, name) for name in TEXTS),
        *(repr(getattr(row.quality, name)) for name in QUALITIES),
    ]


@dataclass
class Pins:
    """Pins of everything a run has read so far. Each stage's context has its own; checkpoints store them."""

    known: dict[str, Pin] = field(default_factory=dict)
    stand_ins: set[str] = field(default_factory=set)
    """Names of sets (or the model) for which the stage uses stand-ins."""

    def recall(self, described: Mapping[str, Any]) -> None:
        """Load pins from a checkpoint (`described` is the parsed JSON)."""
        for name, value in described.items():
            read = {int(count): digest for count, digest in value["read"].items()}
            self.known[name] = Pin(value["rows"], read, value["revision"])

    def described(self) -> dict[str, Any]:
        """Return the pins as plain values for a checkpoint; equal pins give equal values."""
        return {
            name: {"rows": pin.rows, "read": {str(n): pin.read[n] for n in sorted(pin.read)}, "revision": pin.revision}
            for name, pin in sorted(self.known.items())
        }

    def revision(self, name: str) -> str:
        """Return the commit from which a set's rows were fetched before; empty if they were not."""
        pin = self.known.get(f"{name} train")
        return pin.revision if pin else ""

    def same(self, name: str, digest: str) -> bool:
        """Return True if `digest` equals the one pinned under this name. Pins it if there is none yet."""
        return self.known.setdefault(name, Pin(1, {1: digest})).digest == digest

    def metrics(self) -> dict[str, float]:
        """Return the metric `stand_in_<name>` for each stand-in, which marks a step as not trained on real data."""
        return {f"{STAND_IN_METRIC}{name}": 1.0 for name in sorted(self.stand_ins)}

    def hold(self, name: str, found: Pin, where: str) -> None:
        """Add a pin. Raises StageFailed `data-changed` if the run has read other rows under this name."""
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
