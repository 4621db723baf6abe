"""Creates, finds and restores database backups, which lie in `backups/` below relay's home."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.base.disk import is_unread, private_folder, replace_file, shortage_message, sync_folder
from orchestrator.engine.home import HomeLayout
from state import backups as copies
from state.failures import StoreCorrupt, StoreUnavailable

KEPT = 5
"""Number of automatic backups that the daemon keeps; backups that the user makes stay until the user deletes them."""

BY_ITSELF, BY_HAND, DAMAGED = "checkpoint", "relay", "damaged"
"""Prefixes of backup names. A backup with a damaged run is kept for inspection, and never restored automatically."""

NAME = re.compile(r"(?P<kind>relay|checkpoint)-(?P<number>\d{6,})-\d{8}T\d{6}Z\.db")
BESIDE = ("", "-wal", "-shm", "-journal")
"""Suffixes of the files that together form a database."""


@dataclass(frozen=True)
class Backups:
    """Backups of one home folder. They are numbered, so a changed clock does not change which one is the newest."""

    home: HomeLayout

    def all(self) -> list[Path]:
        """Return every backup, oldest first."""
        found = [(int(match["number"]), path) for path in self._files() if (match := NAME.fullmatch(path.name))]
        return [path for _, path in sorted(found)]

    def newest(self) -> Path | None:
        """Return the newest backup, damaged or not; None if there is none."""
        return next(reversed(self.all()), None)

    def make(self, at: datetime, into: Path | None = None, kind: str = BY_HAND) -> Path:
        """Copy the database, checked by SQLite, into `backups` or another folder.

        Raises StoreUnavailable if there is no room or the database is locked, StoreCorrupt if it is damaged.
        """
        folder = self.home.backups if into is None else into
        try:
            if into is None:
                private_folder(folder)
            else:
                folder.mkdir(parents=True, exist_ok=True)
            size_bytes = self.home.database.stat().st_size
        except OSError as error:
            raise StoreUnavailable(f"{folder} cannot hold a backup: {error.strerror or error}") from error
        if problem := shortage_message(folder, size_bytes):
            raise StoreUnavailable(problem)
        return copies.copy_database(self.home.database, folder / f"{kind}-{self._next():06d}-{at:%Y%m%dT%H%M%SZ}.db")

    def make_by_hand(self, at: datetime, into: Path | None = None) -> tuple[Path, list[copies.Defect]]:
        """Make a backup for the user, and return it with any severe damage; a damaged one gets another name."""
        made = self.make(at, into)
        severe = [found for found in copies.defects(made) if found.severe]
        if severe:
            made = made.replace(made.with_name(made.name.replace(BY_HAND, DAMAGED, 1)))
        return made, severe

    def make_by_itself(self, at: datetime) -> Path:
        """Make an automatic backup of an undamaged database, and keep only the newest few.

        A backup of a damaged database must not displace those from which it can be repaired. Raises as `make` does.
        """
        made = self.make(at, kind=BY_ITSELF)
        severe = [found for found in copies.defects(made) if found.severe]
        if severe:
            made.unlink()
            raise StoreCorrupt(
                f"{_subject(severe[0])} is damaged ({severe[0].says}): relay doctor says what can be done"
            )
        automatic = [path for path in self.all() if path.name.startswith(BY_ITSELF)]
        for path in automatic[:-KEPT]:
            path.unlink(missing_ok=True)
        return made

    def sound(self, tell: Callable[[str], None]) -> Path | None:
        """Return the newest undamaged backup, or None; `tell` gets a sentence for each one that is skipped."""
        for path in reversed(self.all()):
            severe = [found for found in copies.defects(path) if found.severe]
            if not severe:
                return path
            tell(f"{path} is passed over: {_subject(severe[0])} is damaged in it ({severe[0].says})")
        return None

    def put_back(self, backup: Path, at: datetime, fence: int = 0) -> Path | None:
        """Restore a copy of the backup; return the folder with the replaced database, or None if there was none.

        A process that still uses the replaced database finds its lease lost. `fence` is the fencing token of that
        database's last daemon, if known.
        """
        ready = self.home.path / "relay.db.restored"
        copies.copy_database(backup, ready)
        copies.supersede_lease(ready, fence, at)
        database, aside = self.home.database, None
        beside = [path for end in BESIDE if (path := database.with_name(database.name + end)).exists()]
        if beside:
            aside = private_folder(
                private_folder(self.home.backups) / f"replaced-{self._next():06d}-{at:%Y%m%dT%H%M%SZ}"
            )
            for path in beside:  # the database first: a log beside a new database would be replayed into it
                replace_file(path, aside / path.name)
        replace_file(ready, database)
        sync_folder(self.home.path)
        return aside

    def _next(self) -> int:
        names = [path.name for path in self._files()]
        return 1 + max((int(found[1]) for name in names if (found := re.search(r"-(\d{6,})-\d{8}T", name))), default=0)

    def _files(self) -> list[Path]:
        """Return everything in the folder.

        Raises StoreUnavailable if the disk cannot list it: a number must not be used twice.
        """
        try:
            return list(self.home.backups.iterdir())
        except OSError as error:
            if is_unread(error):
                raise StoreUnavailable(
                    f"{self.home.backups} cannot be read ({error.strerror}): check the disk that holds it"
                ) from error
            return []


def _subject(defect: copies.Defect) -> str:
    return f"run {defect.run}" if defect.run else "the database"
