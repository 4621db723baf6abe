"""Select a stage's examples from data sets: filtered, without duplicates and without overlap with held-out problems."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stages.data.examples import Example, Source
from stages.data.fields import Unfit
from stages.data.files import Rows
from stages.data.mounted import Brought, MountedFolder, Origin, mounted_folders
from stages.data.mounted_datasets import copies_of
from stages.data.order import derive_seed, index_at
from stages.data.overlap import HeldOut
from stages.data.pins import Pins, RowsRead
from stages.data.problems import problems_in
from stages.data.readers import open_rows
from stages.data.registry import KNOWN
from stages.options.training import set_and_count

Wants = Callable[[Example], str]
"""Filter function: returns '' to keep an example, else a short reason to leave it out."""


@dataclass(frozen=True)
class Pool:
    """All rows of one data set, with their source."""

    name: str
    train: Rows
    held_out: Rows
    example: Callable[[Any], Example]
    origin: Origin
    place: str
    revision: str = ""
    notes: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """Human-readable source of the rows."""
        match self.origin:
            case Origin.FILES:
                return "the pipeline's inputs.files"
            case Origin.DATASETS:
                return f"{self.place} of inputs.datasets"
            case Origin.OTHER:
                return f"the mounted {self.place}"
            case Origin.STAND_IN:
                return "STAND-IN DATA, made up for rehearsals"
            case Origin.HUB:
                return f"{self.place} at {self.revision[:7]} on the Hugging Face hub"

    def row(self, rows: Rows, number: int) -> Example | Unfit:
        """Convert one row to an example; return the Unfit error if that fails."""
        try:
            return self.example(rows[number])
        except Unfit as unfit:
            return unfit


@dataclass(frozen=True)
class RunData:
    """A run's data context: inputs listed in the pipeline, and the pins to verify against.

    `use` names the stage and the purpose of its examples; it is part of the name of their pin.
    """

    brought: Brought = field(default_factory=Brought)
    pins: Pins = field(default_factory=Pins)
    use: str = ""


@dataclass(frozen=True)
class Choice:
    """Selection from a split in the order given by `seed`: the first `count` examples (0: all) that pass the filter."""

    count: int
    seed: int
    refused: Wants
    of: str
    """Prefix of the reasons in `left_out`."""
    left_out: Counter[str]
    read: RowsRead = field(default_factory=RowsRead)

    def among(self, pool: Pool, rows: Rows) -> Iterator[Example]:
        """Yield the selected examples; no row after the last of them is read."""
        kept = 0
        for position in range(len(rows)):
            example = pool.row(rows, index_at(position, len(rows), self.seed))
            self.read.add(example if isinstance(example, Example) else str(example))
            reason = self.refused(example) if isinstance(example, Example) else str(example)
            if isinstance(example, Unfit) or reason:
                self.left_out[self.of + reason] += 1
                continue
            yield example
            kept += 1
            if kept == self.count:
                return


def open_source(
    names: Sequence[str],
    inputs: Path,
    *,
    seed: int,
    wants: Wants,
    apart_from: Sequence[str] = (),
    scratch: Path | None = None,
    run: RunData | None = None,
) -> Source:
    """Return the examples of the sets in `data:`, each `name` or `name:count`. Equal files give an equal Source.

    `train` holds the first `count` examples (or all) of each set that `wants` keeps, in an order that depends on the
    seed and the set's name. Examples that overlap with the held-out part of their own set or of a set in `apart_from`
    are left out: see `stages.data.overlap`. `held_out` holds what `wants` keeps of the sets' test splits, at most
    `count` of each, independent of the seed, so that runs can be compared. `scratch` is a folder for reading; the
    default is a temporary one. Inputs listed in the pipeline of `run` take precedence over other mounts; stand-ins are
    used only if there is nothing else.

    Raises ValueError (an unknown name or an unsuitable file) and StageFailed `data-missing`, `bad-data`, or
    `data-changed` (other rows than those pinned by the run), each with one sentence.
    """
    counts = _counts(names)
    run = run or RunData()
    with _cache_folder(scratch) as cache:
        others = [set_and_count(name)[0] for name in apart_from]
        folders = mounted_folders(inputs, run.brought)
        pools = {name: _open(name, inputs, folders, cache, run) for name in dict.fromkeys((*counts, *others))}
        asked = HeldOut()
        for pool in pools.values():
            _add_held_out(pool, asked, run.pins)
        left_out: Counter[str] = Counter()
        train = [
            example
            for name, count in counts.items()
            for example in _train(
                pools[name],
                Choice(count, derive_seed(seed, "choice", name), wants, f"{name}: ", left_out),
                asked,
                run.pins,
            )
        ]
        held_out = [
            example
            for name, count in counts.items()
            for example in Choice(count, derive_seed("held out", name), wants, f"{name} (held out): ", left_out).among(
                pools[name], pools[name].held_out
            )
        ]
    for use, examples in (("train", train), ("held out", held_out)):
        _pin_chosen(f"{run.use}: {' '.join(names)}, {use}", examples, pools, run.pins)
    run.pins.stand_ins |= {name for name in counts if pools[name].origin is Origin.STAND_IN}
    origins = {name: pools[name].where for name in counts}
    notes = tuple(note for pool in pools.values() for note in pool.notes)
    return Source(train=tuple(train), held_out=tuple(held_out), left_out=left_out, notes=notes, origins=origins)


def stand_in_sets(inputs: Path, brought: Brought) -> tuple[str, ...]:
    """Return the built-in sets of which only a stand-in is mounted, so that a run reads nothing else for them."""
    folders = mounted_folders(inputs, brought)
    if all(folder.origin is not Origin.STAND_IN for folder in folders):
        return ()
    first = {
        name: next((copy.origin for copy in copies_of(known, folders) if not copy.problem), None)
        for name, known in KNOWN.items()
    }
    return tuple(name for name, origin in first.items() if origin is Origin.STAND_IN)


def _add_held_out(pool: Pool, asked: HeldOut, pins: Pins) -> None:
    """Add every held-out problem to `asked`, and pin the split."""
    read = RowsRead()
    for number in range(len(pool.held_out)):
        row = pool.row(pool.held_out, number)
        read.add(row if isinstance(row, Example) else str(row))
        if isinstance(row, Example):
            asked.add(pool.name, row.question, row.code, judged=row.domain != "chat")
    pins.hold(f"{pool.name} held out", read.pin(revision=pool.revision), pool.where)


def _train(pool: Pool, choice: Choice, asked: HeldOut, pins: Pins) -> Iterator[Example]:
    seen: set[str] = set()

    def refused(example: Example) -> str:
        if example.question in seen:
            return "twice"
        if other := asked.by(example.question, example.code):
            return f"overlaps with {other}"
        return choice.refused(example)

    wary = replace(choice, refused=refused)
    for example in wary.among(pool, pool.train):
        seen.add(example.question)
        yield example
    # The seed is the run's, so every stage of the run reads the split in this order.
    pins.hold(f"{pool.name} train", wary.read.pin(len(pool.train), pool.revision), pool.where)


def _pin_chosen(name: str, examples: Sequence[Example], pools: Mapping[str, Pool], pins: Pins) -> None:
    read = RowsRead()
    for example in examples:
        read.add(example)
    pins.hold(name, read.pin(), " and ".join(dict.fromkeys(pool.where for pool in pools.values())))


def _counts(names: Sequence[str]) -> Mapping[str, int]:
    """Return the number of examples wanted per set, 0 for all. Raises ValueError for a set that is named twice."""
    counts: dict[str, int] = {}
    for name in names:
        found, count = set_and_count(name)
        if found in counts:
            raise ValueError(f"data: {found} is named twice: name it once, with the larger number")
        counts[found] = count
    return counts


def _open(name: str, inputs: Path, folders: tuple[MountedFolder, ...], cache: Path, run: RunData) -> Pool:
    if name.endswith(".jsonl"):
        train, held_out = problems_in(inputs, name, run.brought.files.get(name, ""))
        return Pool(name, train, held_out, lambda example: example, Origin.FILES, name)
    known = KNOWN.get(name)
    if known is None:
        raise ValueError(f"data: {name} is not known; there are {', '.join(KNOWN)}, and .jsonl files of inputs.files")
    opened = open_rows(known, folders, run.brought, cache, run.pins.revision(name))
    return Pool(
        name,
        opened.train,
        opened.held_out,
        known.example,
        opened.origin,
        opened.place,
        opened.revision,
        opened.notes,
    )


@contextmanager
def _cache_folder(scratch: Path | None) -> Iterator[Path]:
    if scratch is not None:
        yield scratch / "data-sets"
        return
    with tempfile.TemporaryDirectory(prefix="relay-data-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
