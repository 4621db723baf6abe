"""A home folder to look at: its database, its runs, and what a person should know of it. No Kaggle, no daemon, quick to import."""

from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.clock import Stop, SystemClock
from orchestrator.disk import shortage
from orchestrator.errors import BadInput
from orchestrator.files import Home
from orchestrator.settings import Settings
from state.failures import StoreUnavailable
from state.model import RunState
from state.read_only import ReadOnlyStore
from state.reading import Reader
from state.revisions import SchemaError

if TYPE_CHECKING:  # imported where somebody writes: looking must not wait for SQLAlchemy
    from state.store import Store


class Onlooker:
    """One home folder, its database opened when it is first needed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self.home = Home(settings.home)
        self.stop = Stop()
        """Set to make the daemon, and any waiting, end."""
        self.stop.tell(self.clock.wake)

    @cached_property
    def store(self) -> "Store":
        """The database, which is made where it does not exist."""
        from state.store import Store

        try:
            return Store.at(self.home.path)
        except SchemaError as error:
            raise BadInput(f"{self.home.path / 'relay.db'}: {error}") from error
        except (OSError, StoreUnavailable) as error:
            if isinstance(error, StoreUnavailable) and self.has_store:
                raise
            raise BadInput(
                f"{self.home.path} cannot hold relay's state ({error}): name another folder with --home"
            ) from error

    @cached_property
    def looking(self) -> Reader:
        """The database, only to be read: that works while it is locked, and where nothing can be written."""
        try:
            return ReadOnlyStore(self.home.path)
        except SchemaError:
            return self.store

    def warnings(self) -> list[str]:
        """Sentences about the home folder that a person should read."""
        path = self.home.path
        if not path.exists():
            return []
        full = shortage(path)
        mode = path.stat().st_mode & 0o777
        open_ = f"{path} is open to other users of this machine: type `chmod 700 {path}`" if mode & 0o077 else ""
        return [sentence for sentence in (full, open_) if sentence]

    @property
    def has_store(self) -> bool:
        """Whether there is a database; looking at it must not make one."""
        return (self.home.path / "relay.db").exists()

    def run(self, name: str) -> RunState:
        """A run by its id, or by its pipeline's name where that is enough."""
        if not self.has_store:
            raise BadInput(f"there is no run in {self.home.path}: relay start PIPELINE makes one")
        runs = self.looking.runs()
        found = [run for run in runs if run.id == name] or [run for run in runs if run.name == name]
        if len(found) == 1:
            return self.looking.load(found[0].id)
        if found:
            raise BadInput(f"{name} has {len(found)} runs: name one of {', '.join(run.id for run in found)}")
        known = f"the runs are {', '.join(run.id for run in runs)}" if runs else "relay start PIPELINE makes one"
        raise BadInput(f"there is no run {name}: {known}")
