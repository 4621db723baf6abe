"""The input of every check of `relay doctor`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.engine.backups import Backups
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.home_identity import known_identity
from orchestrator.platforms.names import KAGGLE, name_in
from state.backups import Defect, defects
from state.failures import StoreCorrupt, StoreUnavailable
from state.model.run_state import RunState
from state.read_only import ReadOnlyStore
from state.revisions import SchemaError


@dataclass(frozen=True)
class DoctorSubject:
    """Home folder to examine. `run` limits the checks to one run by its id; empty for all."""

    home: HomeLayout
    user_home: Path
    environ: Mapping[str, str]
    now: datetime
    run: str = ""

    @property
    def has_database(self) -> bool:
        """True if a non-empty database exists."""
        path = self.home.database
        return path.exists() and path.stat().st_size > 0

    @property
    def backups(self) -> Backups:
        """Backups of the home folder's database."""
        return Backups(self.home)

    @property
    def identity(self) -> str:
        """Id of the home folder; empty if it has none yet."""
        return known_identity(self.home.path)

    def defects(self) -> list[Defect]:
        """Return what is wrong with the database. Raises StoreUnavailable if it cannot be read now."""
        return defects(self.home.database) if self.has_database else []

    def run_ids(self) -> list[str]:
        """Return the ids of the runs in the database, limited to `run` if set; empty if the database cannot be read."""
        try:
            known = [run for run, _ in ReadOnlyStore(self.home.path).run_names()] if self.has_database else []
        except (SchemaError, StoreCorrupt, StoreUnavailable):
            return []
        return [run for run in known if self.run in ("", run)]

    def states_on(self, platform: str) -> list[RunState]:
        """Return the states of the runs on the platform with that name, without the unreadable ones."""
        return [state for state in self.states() if name_in(state.run.pipeline) == platform]

    def platforms(self) -> list[RunState]:
        """Return a run on each platform other than Kaggle that a run here is on."""
        found = {name_in(state.run.pipeline): state for state in reversed(self.states())}
        return [state for name, state in sorted(found.items()) if name != KAGGLE]

    @property
    def on_kaggle(self) -> bool:
        """True if a run here is on Kaggle, or none is anywhere."""
        states = self.states()
        return not states or any(name_in(state.run.pipeline) == KAGGLE for state in states)

    def states(self) -> list[RunState]:
        """Return the states of those runs, without the unreadable ones."""
        found = []
        for run in self.run_ids():
            try:
                found.append(ReadOnlyStore(self.home.path).load(run))
            except (StoreCorrupt, StoreUnavailable):
                continue  # reported by the check of the database
        return found
