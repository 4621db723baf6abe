"""Backups of the database in `backups/` below relay's home: made by hand and by the daemon, found again, put back."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.base.disk import is_unread, private_folder, shortage, sync_folder
from orchestrator.engine.home import HomeLayout
from state import backups as copies
from state.failures import StoreCorrupt, StoreUnavailable

KEPT = 5
"""Backups that the daemon makes by itself; those that a person makes stay until a person removes them."""

BY_ITSELF, BY_HAND, DAMAGED = "checkpoint", "relay", "damaged"
"""Beginnings of their names. A copy in which a run is damaged is kept to be looked at, and never put back by itself."""

NAME = re.compile(r"(?P<kind>relay|checkpoint)-(?P<number>\d{6,})-\d{8}T\d{6}Z\.db")
BESIDE = ("", "-wal", "-shm", "-journal")
"""Ends of the names of the files that together are a database."""


@dataclass(frozen=True)
class Backups:
    """The backups of one home folder. They are numbered, so that a clock that was set does not change which is the newest."""

    home: HomeLayout

    def all(self) -> list[Path]:
        """Every backup, oldest first."""
        found = [(int(match["number"]), path) for path in self._files() if (match := NAME.fullmatch(path.name))]
        return [path for _, path in sorted(found)]

    def newest(self) -> Path | None:
        """The newest one, damaged or not."""
        return next(reversed(self.all()), None)

    def make(self, at: datetime, into: Path | None = None, kind: str = BY_HAND) -> Path:
        """Copy the database, checked by SQLite, into `backups` or another folder.

        Raises StoreUnavailable where there is no room or the database is held, StoreCorrupt where it is damaged.
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
        if problem := shortage(folder, size_bytes):
            raise StoreUnavailable(problem)
        return copies.copied(self.home.database, folder / f"{kind}-{self._next():06d}-{at:%Y%m%dT%H%M%SZ}.db")

    def make_by_hand(self, at: datetime, into: Path | None = None) -> tuple[Path, list[copies.Ailment]]:
        """The same for a person, with what is damaged in it; then it bears another name."""
        made = self.make(at, into)
        severe = [found for found in copies.ailments(made) if found.severe]
        if severe:
            made = made.replace(made.with_name(made.name.replace(BY_HAND, DAMAGED, 1)))
        return made, severe

    def make_by_itself(self, at: datetime) -> Path:
        """The same for the daemon: of a database in which nothing is damaged, and only the newest few are kept.

        A damaged one must not push out the backups from which it can be mended. Raises as `make` does.
        """
        made = self.make(at, kind=BY_ITSELF)
        severe = [found for found in copies.ailments(made) if found.severe]
        if severe:
            made.unlink()
            raise StoreCorrupt(f"{_who(severe[0])} is damaged ({severe[0].says}): relay doctor says what can be done")
        mine = [path for path in self.all() if path.name.startswith(BY_ITSELF)]
        for path in mine[:-KEPT]:
            path.unlink(missing_ok=True)
        return made

    def sound(self, tell: Callable[[str], None]) -> Path | None:
        """The newest backup in which nothing is damaged; `tell` hears of those that are passed over."""
        for path in reversed(self.all()):
            severe = [found for found in copies.ailments(path) if found.severe]
            if not severe:
                return path
            tell(f"{path} is passed over: {_who(severe[0])} is damaged in it ({severe[0].says})")
        return None

    def put_back(self, backup: Path, at: datetime, fence: int = 0) -> Path | None:
        """Put a copy of the backup in the database's place; answers the folder that the replaced one lies in (None: there was none).

        Whoever still works on the replaced one hears that the lease is lost; `fence` is that of its last daemon, if known.
        """
        ready = self.home.path / "relay.db.restored"
        copies.copied(backup, ready)
        copies.hand_over(ready, fence, at)
        database, aside = self.home.database, None
        beside = [path for end in BESIDE if (path := database.with_name(database.name + end)).exists()]
        if beside:
            aside = private_folder(
                private_folder(self.home.backups) / f"replaced-{self._next():06d}-{at:%Y%m%dT%H%M%SZ}"
            )
            for path in beside:  # the database first: a log beside a new database would be played into that one
                path.replace(aside / path.name)
        ready.replace(database)
        sync_folder(self.home.path)
        return aside

    def _next(self) -> int:
        names = [path.name for path in self._files()]
        return 1 + max((int(found[1]) for name in names if (found := re.search(r"-(\d{6,})-\d{8}T", name))), default=0)

    def _files(self) -> list[Path]:
        """Everything in the folder. Raises StoreUnavailable where the disk does not say: a number must not be given twice."""
        try:
            return list(self.home.backups.iterdir())
        except OSError as error:
            if is_unread(error):
                raise StoreUnavailable(
                    f"{self.home.backups} cannot be read ({error.strerror}): see to the disk that holds it"
                ) from error
            return []


def _who(ailment: copies.Ailment) -> str:
    return f"run {ailment.run}" if ailment.run else "the database"
