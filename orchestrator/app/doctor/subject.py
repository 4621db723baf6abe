"""What every look of the doctor's is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.engine.backups import Backups
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.home_identity import known_identity
from state.backups import Ailment, ailments
from state.failures import StoreCorrupt, StoreUnavailable
from state.model import RunState
from state.read_only import ReadOnlyStore
from state.revisions import SchemaError


@dataclass(frozen=True)
class DoctorSubject:
    """One home folder; `run` is the id of the one that was asked about, empty for all."""

    home: HomeLayout
    user_home: Path
    environ: Mapping[str, str]
    now: datetime
    run: str = ""

    @property
    def has_database(self) -> bool:
        """Whether there is a database with anything in it."""
        path = self.home.database
        return path.exists() and path.stat().st_size > 0

    @property
    def backups(self) -> Backups:
        """The copies of its database."""
        return Backups(self.home)

    @property
    def identity(self) -> str:
        """Its id; empty where it has none of its own yet."""
        return known_identity(self.home.path)

    def ailments(self) -> list[Ailment]:
        """What is wrong with the database; raises StoreUnavailable where it cannot be read now."""
        return ailments(self.home.database) if self.has_database else []

    def roll(self) -> list[str]:
        """The runs that the database knows, the one that was asked about alone; empty where nobody can say."""
        try:
            known = [run for run, _ in ReadOnlyStore(self.home.path).roll()] if self.has_database else []
        except (SchemaError, StoreCorrupt, StoreUnavailable):
            return []
        return [run for run in known if self.run in ("", run)]

    def states(self) -> list[RunState]:
        """Those of them that can be read."""
        found = []
        for run in self.roll():
            try:
                found.append(ReadOnlyStore(self.home.path).load(run))
            except (StoreCorrupt, StoreUnavailable):
                continue  # said of the database
        return found
