"""Skipped copies of a data set, and inputs that a session lacks: log notes, and errors that end the stage."""

from collections.abc import Sequence
from pathlib import PurePath

from stages.data.layouts import bears_name, is_data, is_unread, names_split, whole_copy
from stages.data.mounted import Brought, MountedFolder, Origin, not_mounted
from stages.data.mounted_datasets import Copy, shows
from stages.data.registry import KnownSet
from stages.stage import StageFailed

MISSING = "data-missing"
UNFIT_FILES = "bad-data"


class PassedBy:
    """Collects the skipped copies of a set: `looked` for the error message, `notes` for the log."""

    def __init__(self, known: KnownSet) -> None:
        self._known = known
        self._refusals: list[str] = []
        self.looked: list[str] = []
        self.notes: list[str] = []

    def add(self, copy: Copy, why: str) -> None:
        """Record a skipped copy and the reason.

        Raises StageFailed `bad-data` for files of `inputs.files` named after the set: the user means them and no other.
        """
        self.looked.append(f"{what_of(copy)} {why}")
        if not self._seems_meant(copy):
            return
        self.notes.append(self.looked[-1])
        if copy.origin.is_brought:
            self._refusals.append(self._refusal(copy, why))
        if copy.named and copy.origin is Origin.FILES:
            self.refuse_others()

    def refuse_others(self) -> None:
        """Raise StageFailed `bad-data` if a copy listed in the pipeline was skipped: others may have other rows."""
        if self._refusals:
            raise StageFailed(UNFIT_FILES, self._refusals[0])

    def _seems_meant(self, copy: Copy) -> bool:
        """Return True if the files seem meant as the set, unlike the output of a run or a model with that name."""
        names = [f"{copy.place}/{path.name}" for path in copy.files]
        tables = [name for name in names if not name.lower().endswith(".json") or names_split(self._known, name)]
        if not copy.problem or (copy.origin.is_brought and copy.named and tables):
            return True
        return any(is_unread(PurePath(name)) for name in names) or shows(self._known, copy)

    def _refusal(self, copy: Copy, why: str) -> str:
        names = ", ".join(path.name for path in copy.files)
        name, key = self._known.name, copy.origin.value
        where = names if copy.origin is Origin.FILES else f"{copy.place} ({names})"
        if copy.named:
            return f"data: {where} of {key} is called after {name} and {why}: mend it, or give it another name"
        return (
            f"data: {where} of {key} has rows of {name} and {why}: complete it with files that are called after the splits, "
            f"or leave it out of {key}"
        )


def place_of(copy: Copy) -> str:
    """Return the copy's location for messages."""
    return "inputs.files" if copy.origin is Origin.FILES else copy.place


def what_of(copy: Copy) -> str:
    """Return a description of the copy, as the subject of a sentence."""
    names = ", ".join(path.name for path in copy.files)
    return f"what inputs.files has ({names})" if copy.origin is Origin.FILES else f"the mounted {copy.place}"


def require_named(known: KnownSet, folders: tuple[MountedFolder, ...], brought: Brought) -> None:
    """Raise StageFailed if inputs named after the set are not mounted, or if `inputs.files` lacks one of its splits."""
    own = [name for name in brought.files if name not in brought.problems]
    files = {*whole_copy(known, own), *(name for name in own if names_split(known, name))}
    _raise_if_lacking(
        [
            name
            for name in not_mounted(brought, folders)
            if name in files or ("/" in name and bears_name(known, name.partition("/")[2]))
        ],
        f"for {known.name}",
        folders,
    )
    halves = [name for name in own if names_split(known, name)]
    if halves and not whole_copy(known, own):
        splits = " and ".join(split for split in (known.train[0], *known.held_out[:1]))
        raise StageFailed(
            UNFIT_FILES,
            f"data: inputs.files has {', '.join(halves)} for {known.name}, which needs files of the splits {splits} in one "
            "format: add the other split, or give the file another name",
        )


def require_all(known: KnownSet, folders: tuple[MountedFolder, ...], brought: Brought) -> None:
    """Raise StageFailed if any listed data input is not mounted: it might be a copy of the set by its columns."""
    lacking = [name for name in not_mounted(brought, folders) if "/" in name or is_data(PurePath(name))]
    _raise_if_lacking(lacking, f"where {known.name} may be", folders)


def _raise_if_lacking(lacking: Sequence[str], purpose: str, folders: tuple[MountedFolder, ...]) -> None:
    if not lacking:
        return
    mounted = {path.name for folder in folders if folder.origin is not Origin.FILES for path in folder.files}
    if changed := [name for name in lacking if name in mounted]:
        said = "is mounted only with another content (its SHA-256 differs)"
        remedy = "relay tries again; if it stays so, begin a new run, which publishes it anew"
    else:
        changed, said = list(lacking), "is not mounted"
        remedy = "relay tries again; if it stays so, look whether Kaggle still has it"
    reason = f"data: {', '.join(changed)} of the pipeline's inputs, {purpose}, {said}: {remedy}"
    raise StageFailed(MISSING, reason, transient=True)
