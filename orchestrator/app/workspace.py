"""Read access to one home folder: its database, runs and warnings. No Kaggle, no daemon, fast to import."""

from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.app.settings import Settings
from orchestrator.base.clock import Stop, SystemClock
from orchestrator.base.disk import FULL, disk_error, modes_for_others, shortage_message
from orchestrator.base.errors import BadInput
from orchestrator.engine.home import HomeLayout
from orchestrator.views.lost import lost_sentence, pipeline_of
from state.model.run_state import RunState
from state.read_only import ReadOnlyStore
from state.reader import Reader
from state.revisions import SchemaError

if TYPE_CHECKING:  # imported on use: what only reads needs no classes of facts
    from state.store import Store


class Workspace:
    """Home folder, whose database is opened on first use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self.home = HomeLayout(settings.home)
        self.stop = Stop()
        """Signal that ends the daemon and any waiting."""
        self.stop.tell(self.clock.wake)

    @cached_property
    def store(self) -> "Store":
        """The database, created if it does not exist."""
        from state.store import Store

        try:
            return Store.at(self.home.path)
        except SchemaError as error:
            raise BadInput(f"{self.home.path / 'relay.db'}: {error}") from error
        except OSError as error:
            if error.errno in FULL:
                raise disk_error(error, self.home.database) from error
            raise BadInput(
                f"{self.home.path} cannot hold relay's state ({error}): name another folder with --home"
            ) from error

    @cached_property
    def reader(self) -> Reader:
        """The database, read-only: readable while it is locked and on a read-only disk."""
        try:
            return ReadOnlyStore(self.home.path)
        except SchemaError:
            return self.store

    def warnings(self) -> list[str]:
        """Return warnings about the home folder for the user."""
        path = self.home.path
        if not path.exists():
            return []
        full = shortage_message(path)
        open_ = (
            f"{path} is open to other users of this machine: type `chmod 700 {path}`" if modes_for_others(path) else ""
        )
        return [sentence for sentence in (full, open_) if sentence]

    @property
    def has_store(self) -> bool:
        """True if a non-empty database exists. The check does not create one."""
        try:
            return self.home.database.stat().st_size > 0
        except OSError:
            return False

    def lost(self) -> list[str]:
        """Return the runs that have a folder here but are missing from the database."""
        folders = self.home.run_folders()
        known = {run for run, _ in self.reader.run_names()} if folders and self.has_store else set()
        return [run for run in folders if run not in known]

    def require_database(self) -> None:
        """Raise BadInput if runs have folders here but there is no database: a new one would begin all runs again."""
        if not self.has_store and (lost := self.lost()):
            raise BadInput(lost_sentence(self.home, lost, gone=True))

    def run(self, name: str) -> RunState:
        """Load a run by its id or an unambiguous pipeline name. Raises BadInput, or RunDamaged for a damaged run."""
        self.require_database()
        if not self.has_store:
            raise BadInput(f"there is no run in {self.home.path}: relay start PIPELINE makes one")
        runs = self.reader.run_names()
        found = [run for run, _ in runs if run == name] or [run for run, pipeline in runs if pipeline == name]
        if len(found) == 1:
            return self.reader.load(found[0])
        if found:
            raise BadInput(f"{name} has {len(found)} runs: name one of {', '.join(found)}")
        if mine := [run for run in self.lost() if name in (run, pipeline_of(run))]:
            raise BadInput(lost_sentence(self.home, mine))
        known = f"the runs are {', '.join(run for run, _ in runs)}" if runs else "relay start PIPELINE makes one"
        raise BadInput(f"there is no run {name}: {known}")
