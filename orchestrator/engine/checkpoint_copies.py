"""Repairs the copies of a checkpoint (this disk, session output, dataset) from each other."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.base.disk import private_folder, write_whole
from orchestrator.base.errors import Corrupt, DiskRefused, Refused, Transient
from orchestrator.engine.checkpoint_checks import (
    PROCESSED,
    damage_here,
    entries_of,
    lacking,
    listed_damage,
    refuse_public,
)
from orchestrator.engine.collecting.files import DOCUMENT_BYTES_MAX, TRIES
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.ownership import Mark, overtaken_unawares, refuse_overtaken
from orchestrator.engine.quarantine import Quarantine
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.port import DatasetSeen, FileWanted, Platform
from stages.contract import COMPILED_NAME, MANIFEST_NAME, FileEntry, Manifest, checkpoint_folder
from stages.documents import ContractError
from state.facts.checkpoint import CheckpointDamaged, CheckpointInspected, CheckpointWithdrawn
from state.model.dataset_names import copy_in, place_of
from state.model.run_state import Checkpoint, Run, Session

Source = Callable[[FileEntry, Path, Path], None]
"""Function that fetches one file to the second path, and differing bytes to the third.

Raises Corrupt, Refused or Transient.
"""


def no_other_platform(run: Run, number: int) -> Platform:
    """Raise Refused: there is no access to a platform that the run has left."""
    raise Refused(f"there is no access to platform {number} of {run.id}")


@dataclass(frozen=True)
class CheckpointCopies:
    """Access to every copy of one checkpoint. Damaged bytes go to `quarantine`; the effect records its facts."""

    checkpoint: Checkpoint
    session: Session
    """Session that left the checkpoint."""
    gateway: Platform
    home: HomeLayout
    quarantine: Quarantine
    run: Run
    identity: str = ""
    """Id of this home folder."""
    reach: Callable[[Run, int], Platform] = no_other_platform
    """Function that returns a platform that the run has left, by its number; raises BadInput."""

    @property
    def folder(self) -> Path:
        """Folder of the copy on this disk."""
        return self.home.checkpoint(self.checkpoint.run, self.checkpoint.name)

    # --- this disk -----------------------------------------------------------

    def repair(self, sources: Sequence[Source] | None = None) -> str:
        """Repair the copy on this disk from the session's output, else from the dataset, here or where the run was before.

        Returns an empty string, or why the copy cannot be repaired. Changes nothing on Kaggle. Raises Transient if
        Kaggle cannot be reached; DiskRefused, to be retried, if this disk is full or cannot read a file of which there
        is no other copy.
        """
        damage = damage_here(self.checkpoint, self.home)
        if not damage:
            return ""
        if self.folder.exists() and not self.folder.is_dir():
            self.quarantine.take(self.folder, self.checkpoint.name, self.checkpoint.name, "disk", "it is no folder")
        private_folder(self.folder)
        for file, found in damage.items():
            if found.unread and file != COMPILED_NAME:  # it stays, and is overwritten once there is another copy
                self.quarantine.note(self.checkpoint.name, file, "disk", found.says)
            else:
                self.quarantine.take(self.folder / file, self.checkpoint.name, file, "disk", found.says)
        write_whole(self.folder / MANIFEST_NAME, self.checkpoint.manifest.encode())
        lost = [
            e for e in entries_of(self.checkpoint) if e.path in damage and e.path not in (MANIFEST_NAME, COMPILED_NAME)
        ]
        if lost:
            self.quarantine.make_room_for(Manifest.from_json(self.checkpoint.manifest), self.folder)
        for source in (self.from_output, self.from_dataset, self.from_left) if sources is None else sources:
            lost = [entry for entry in lost if not self._fetched(entry, source)]
        for entry in lost:
            if damage[entry.path].unread:
                raise DiskRefused(
                    f"{self.folder}: {damage[entry.path].says}, and {self.gateway.label} has no copy of it: repair that disk, and it "
                    "continues by itself; once you delete the file, the run continues from an older checkpoint"
                )
        return "; ".join(damage[entry.path].says for entry in lost)

    def _fetched(self, entry: FileEntry, source: Source) -> bool:
        place = "output" if source == self.from_output else "dataset"
        for _try in range(TRIES):
            try:
                with self.quarantine.watching(self.checkpoint.name, entry.path, place) as damaged:
                    source(entry, self.folder / entry.path, damaged)
            except Refused:
                return False
            except Corrupt:
                continue
            return True
        return False

    def from_output(self, entry: FileEntry, into: Path, damaged: Path) -> None:
        """Fetch a file from the session's output; raises Refused if it no longer exists."""
        name = f"{checkpoint_folder(self.checkpoint.cursor)}/{entry.path}"
        platform = self._at(self.session.platform)
        listing = platform.output(self.session.slug, self.session.kernel_version)
        file = next((file for file in listing if file.name == name and not file.refused), None)
        if file is None:
            raise Refused(f"{self.session.slug} has no {name} any more")
        platform.download(file, into, _wanted(entry, damaged))

    def from_dataset(self, entry: FileEntry, into: Path, damaged: Path) -> None:
        """Fetch a file from the dataset; raises Refused if it does not exist."""
        self._from_dataset_at(self.checkpoint.platform, entry, into, damaged)

    def from_left(self, entry: FileEntry, into: Path, damaged: Path) -> None:
        """Fetch a file from the dataset on a platform that the run has left; raises Refused if none has it."""
        for number in reversed(range(self.session.platform, self.checkpoint.platform)):
            with suppress(Refused):
                self._from_dataset_at(number, entry, into, damaged)
                return
        raise Refused(f"no platform that {self.run.id} has left has {entry.path} of {self.checkpoint.place}")

    def _from_dataset_at(self, number: int, entry: FileEntry, into: Path, damaged: Path) -> None:
        platform, place = self._at(number), self.checkpoint.place
        seen = platform.find_dataset(place)
        if seen is None or entry.path not in {file.name for file in seen.files}:
            raise Refused(f"the dataset {place} has no {entry.path}")
        platform.download_dataset_file(place, entry.path, into, _wanted(entry, damaged))

    def _at(self, number: int) -> Platform:
        return self.gateway if number == self.run.platform else self.reach(self.run, number)

    def damaged(self, problem: str, pipeline: Pipeline) -> CheckpointDamaged:
        """Return the fact that no intact copy is left."""
        reached = self.session.furthest or self.checkpoint.cursor
        return CheckpointDamaged(
            number=self.session.number,
            attempt=self.session.attempt,
            reason=f"{self.checkpoint.name} has no intact copy, neither on this disk nor on {self.gateway.label}: {problem}",
            steps_lost=pipeline.position(reached) - pipeline.position(self.session.start),
        )

    # --- the dataset ---------------------------------------------------------

    def verify_dataset(self, pipeline: Pipeline) -> CheckpointInspected | CheckpointWithdrawn | CheckpointDamaged:
        """Verify every byte of the dataset; delete a damaged one if an intact copy is on this disk."""
        number, attempt = self.session.key
        problem = self._dataset_problem()
        if not problem:
            return CheckpointInspected(number=number, attempt=attempt)
        if lost := self.repair():
            return self.damaged(f"{problem}; {lost}", pipeline)
        seen = self.gateway.find_dataset(self.checkpoint.place)
        if seen is not None:
            self.delete(seen)
        following = place_of(self.checkpoint.name, copy_in(self.checkpoint.name, self.checkpoint.place) + 1)
        return CheckpointWithdrawn(number=number, attempt=attempt, reason=problem, dataset=following)

    def delete(self, seen: DatasetSeen) -> None:
        """Delete the dataset of this checkpoint, whose bytes differ from the manifest.

        An intact dataset of another checkpoint is never deleted: another home folder uses other bytes for this name. It
        is left in place if it was made before the user let this home folder take the run over; otherwise Overtaken is
        raised, as for everything that another home folder made.
        """
        mark = Mark.on_dataset(seen)
        refuse_overtaken(mark, f"the dataset {seen.ref}", self.run, self.identity)
        other = self._manifest_there(seen)
        if other is None or not self._is_sound(other, seen):
            self.gateway.delete_dataset(self.checkpoint.place)
        elif mark.generation >= self.run.generation:
            raise overtaken_unawares(f"another checkpoint of the name {seen.ref}", self.run)

    def _is_sound(self, other: Manifest, seen: DatasetSeen) -> bool:
        """Return True if a dataset holds other files than this checkpoint's, and they match its own manifest.

        A dataset whose manifest names the same files is this checkpoint, with a damaged manifest.
        """
        own = {entry.path: entry.sha256 for entry in entries_of(self.checkpoint)}
        sizes = {file.name: file.size_bytes for file in seen.files}
        others = [e for e in other.files if own.get(e.path) != e.sha256.lower() and e.path != COMPILED_NAME]
        if not others or any(sizes.get(entry.path) != entry.size_bytes for entry in others):
            return False
        place = private_folder(self.home.incoming(self.session) / "there")
        try:
            self.quarantine.make_room(sum(entry.size_bytes for entry in others), place)
            return not any(self._differs(entry, place / entry.path) for entry in others)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _differs(self, entry: FileEntry, into: Path) -> bool:
        wanted = FileWanted(size_bytes=entry.size_bytes, sha256=entry.sha256)
        for _try in range(TRIES):
            try:
                self.gateway.download_dataset_file(self.checkpoint.place, entry.path, into, wanted)
            except Refused:
                return True
            except Corrupt:
                continue
            return False
        return True

    def _manifest_there(self, seen: DatasetSeen) -> Manifest | None:
        """Return the manifest in the dataset, unchecked; None if there is none, or if it cannot be parsed."""
        if MANIFEST_NAME not in {file.name for file in seen.files}:
            return None
        into = private_folder(self.home.incoming(self.session)) / f"there.{MANIFEST_NAME}"
        into.unlink(missing_ok=True)
        try:
            wanted = FileWanted(size_bytes_max=DOCUMENT_BYTES_MAX)
            self.gateway.download_dataset_file(self.checkpoint.place, MANIFEST_NAME, into, wanted)
            return Manifest.from_json(into.read_bytes())
        except (Corrupt, ContractError, Refused):
            return None
        finally:
            into.unlink(missing_ok=True)

    def _dataset_problem(self) -> str:
        name = self.checkpoint.place
        seen = self.gateway.find_dataset(name)
        if seen is None:
            return f"the dataset {name} is not there"
        refuse_public(seen, self.checkpoint.run)
        if seen.status in PROCESSED:
            raise Transient(f"{self.gateway.label} is still processing the dataset {name}: {seen.status}")
        if seen.status != "ready":
            return f"the dataset {name} is {seen.status}"
        if missing := lacking(self.checkpoint, seen):
            return f"{missing[0]} is missing from the dataset"
        damage = listed_damage(self.checkpoint, seen)
        for file, problem in damage.items():
            self.quarantine.note(self.checkpoint.name, file, "dataset", problem)
        return next(iter(damage.values()), "") or self._byte_problem()

    def _byte_problem(self) -> str:
        """Fetch each file, compare it, and delete it again. Compiled programs are skipped: a session checks its own."""
        place = private_folder(self.home.incoming(self.session) / "inspected")
        try:
            self.quarantine.make_room(self.checkpoint.size_bytes, place)
            for entry in entries_of(self.checkpoint):
                if entry.path != COMPILED_NAME and (problem := self._entry_problem(entry, place / entry.path)):
                    return problem
            return ""
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _entry_problem(self, entry: FileEntry, into: Path) -> str:
        problem = ""
        for _try in range(TRIES):
            try:
                with self.quarantine.watching(self.checkpoint.name, entry.path, "dataset") as damaged:
                    wanted = _wanted(entry, damaged)
                    self.gateway.download_dataset_file(self.checkpoint.place, entry.path, into, wanted)
            except Corrupt as error:
                problem = str(error)
                continue
            except Refused as error:
                return str(error)
            into.unlink()
            return ""
        return problem


def _wanted(entry: FileEntry, damaged: Path) -> FileWanted:
    return FileWanted(size_bytes=entry.size_bytes, sha256=entry.sha256, damaged=damaged)
