"""Messages for runs that are missing from the database although they have a folder, and for damaged runs."""

from collections.abc import Sequence
from typing import Any

from orchestrator.engine.backups import Backups
from orchestrator.engine.home import HomeLayout
from state.failures import RunDamaged, StoreCorrupt
from state.reader import Reader

NAMED_MAX = 5
"""Maximum number of runs that a sentence names; the others are counted."""


def pipeline_of(run: str) -> str:
    """Return the pipeline name in a run's id."""
    return run.rpartition("-")[0]


def lost_sentence(home: HomeLayout, lost: Sequence[str], *, gone: bool = False) -> str:
    """Describe the runs that are missing and the commands that bring them back. `gone`: there is no database at all."""
    more = f" and {len(lost) - NAMED_MAX} more" if len(lost) > NAMED_MAX else ""
    names = f"{', '.join(lost[:NAMED_MAX])}{more}"
    backup = Backups(home).newest()
    ways = [f"relay restore brings back {backup}"] if gone and backup is not None else []
    ways.append(f"relay adopt {lost[0]} rebuilds {'it' if len(lost) == 1 else 'that one'} from what its platform has")
    what = (
        f"{home.database} is gone" if gone else f"{home.database} lacks runs that have folders in {home.path / 'runs'}"
    )
    return f"{what}, and {names} {'is' if len(lost) == 1 else 'are'} here: {', and '.join(ways)}"


def lost_documents(store: Reader | None, home: HomeLayout) -> list[dict[str, Any]]:
    """List the runs that have a folder but are missing from the database, for `relay status --json`."""
    folders = home.run_folders()
    known = {run for run, _ in store.run_names()} if folders and store is not None else set()
    lost = [run for run in folders if run not in known]
    if not lost:
        return []
    backup = Backups(home).newest() if store is None else None
    says = lost_sentence(home, lost, gone=store is None)
    type_ = None if backup is None else "relay restore"
    return [{"id": run, "message": says, "command": type_ or f"relay adopt {run}"} for run in lost]


def damaged_document(run: str, error: StoreCorrupt) -> dict[str, Any]:
    """Describe a run that cannot be read, with the command to type first."""
    why = error.why if isinstance(error, RunDamaged) else str(error)
    return {"id": run, "message": f"it is damaged in the database: {why}", "command": f"relay doctor {run}"}
