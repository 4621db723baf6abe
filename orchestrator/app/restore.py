"""`relay backup` and `relay restore`: copy the database, or replace it by a copy and report what is lost."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.app.app import App
from orchestrator.base.errors import BadInput
from orchestrator.base.humanize import when
from orchestrator.engine.backups import Backups
from orchestrator.engine.ownership import go_on_here
from orchestrator.views.fact_text import describe_fact
from state.backups import BackupEntry, defects, logged, newest_fact
from state.damaged_rows import UNREADABLE
from state.database import Database
from state.facts.registry import FACTS
from state.failures import StoreCorrupt, StoreUnavailable, holders
from state.revisions import NEWER, newest_revision, revision_of
from state.sql import scalar
from state.store import Store

FORMAT = 1
FACTS_SHOWN = 5
"""Maximum number of lost facts that are listed per run, newest first."""

Tell = Callable[[str], None]


def back_up(app: App, into: Path | None, tell: Tell) -> dict[str, Any]:
    """Copy the database, and report the target and damaged runs. Return the same as a document (docs/json.md)."""
    if not app.has_store:
        app.require_database()
        raise BadInput(f"there is no database in {app.home.path} yet: relay start PIPELINE makes one")
    made, damaged = Backups(app.home).make_by_hand(app.clock.now(), into)
    tell(f"{made} is a complete copy, verified; relay restore {made} puts it back")
    for found in damaged:
        tell(f"{f'run {found.run}' if found.run else 'the database'} is damaged in it, as it is here: {found.says}")
    return {"format": FORMAT, "backup": str(made), "damaged": [{"id": one.run, "message": one.says} for one in damaged]}


@dataclass(frozen=True)
class LostFacts:
    """Facts of one run that are in the replaced database but not in the backup."""

    run: str
    facts: list[BackupEntry]

    def told(self) -> Iterator[str]:
        """Yield a line for each of the newest lost facts."""
        yield f"{self.run}: {len(self.facts)} facts are later than the backup; the newest of them:"
        for entry in self.facts[-FACTS_SHOWN:]:
            yield f"  {entry.at[:19]} UTC  {_describe(entry)}"


def restore(app: App, named: Path | None, tell: Tell) -> dict[str, Any]:
    """Replace the database by a backup, keep the replaced one, and report what was lost. Return the same as a document.

    Raises BadInput if a daemon works here or the backup is damaged; nothing is changed then.
    """
    _refuse_beside_a_daemon(app)
    backups, now = Backups(app.home), app.clock.now()
    backup = _named(app, named) if named is not None else backups.sound(tell)
    if backup is None:
        raise BadInput(
            f"there is no intact backup in {app.home.backups}: relay adopt lists the runs that can be rebuilt from their platform"
        )
    _require_sound(backup)
    fence, before = _fence_and_log(app.home.database)
    after = logged(backup)
    aside = backups.put_back(backup, now, fence)
    made_at = newest_fact(app.home.database)
    go_on_here(Store.at(app.home.path), app.identity, now)
    tell(f"{backup} is in the place of {app.home.database}; it {_known_until(made_at, now)}")
    if aside is not None:
        tell(f"the replaced database is kept in {aside}")
    losses = _losses(before, after)
    for loss in losses:
        for line in loss.told():
            tell(line)
    if before is None and aside is not None:
        tell("what the replaced database had beyond that cannot be read")
    absent = [run for run in app.home.run_folders() if run not in {one.run for one in after}]
    for run in absent:
        tell(f"{run} is not in the backup: relay adopt {run} rebuilds it from what its platform has")
    tell(
        "relay daemon continues from there and finds out what has happened on the runs' platforms since; repeat requests that you "
        "made since"
    )
    return {
        "format": FORMAT,
        "backup": str(backup),
        "replaced": None if aside is None else str(aside),
        "knows_until": None if made_at is None else made_at.isoformat(),
        "lost": [{"id": loss.run, "facts": len(loss.facts)} for loss in losses],
        "absent": absent,
        "command": f"relay adopt {absent[0]}" if absent else "relay daemon",
    }


def _refuse_beside_a_daemon(app: App) -> None:
    try:
        working = app.working_daemon()
    except (StoreCorrupt, StoreUnavailable):
        working = ""  # a daemon cannot work on a damaged database for long
    working = working or (holders(app.home.database) if app.home.database.exists() else "")
    if working:
        raise BadInput(f"{working} works on {app.home.database}: stop that first, then relay restore again")


def _named(app: App, named: Path) -> Path:
    for path in (named, app.home.backups / named):
        if path.is_file():
            return path
    known = ", ".join(path.name for path in Backups(app.home).all()) or "none yet"
    raise BadInput(f"there is no backup {named}: those in {app.home.backups} are {known}")


def _require_sound(backup: Path) -> None:
    for found in defects(backup):
        if found.severe:
            who = f"run {found.run}" if found.run else "it"
            raise BadInput(f"{backup} cannot be put back, {who} is damaged ({found.says}): name an older backup")
    with Database.read_only(backup).transaction() as query:
        revision = revision_of(query)
    if revision is None:
        raise BadInput(f"{backup} is no database of relay's: name a backup that relay made")
    if revision > newest_revision():
        raise BadInput(f"{backup}: {NEWER}")


def _fence_and_log(database: Path) -> tuple[int, list[BackupEntry] | None]:
    """Return the fencing number of the replaced database and its log; 0 and None as far as they cannot be read."""
    if not database.exists():
        return 0, None
    try:
        with Database.read_only(database).transaction() as query:
            fence = int(scalar(query("SELECT max(fence) AS fence FROM lease"), "fence") or 0)
        return fence, logged(database)
    except (StoreCorrupt, StoreUnavailable, ValueError, TypeError):
        return 0, None


def _losses(before: list[BackupEntry] | None, after: list[BackupEntry]) -> list[LostFacts]:
    kept, found = set(after), dict[str, list[BackupEntry]]()
    for entry in before or ():
        if entry not in kept:
            found.setdefault(entry.run, []).append(entry)
    return [LostFacts(run, entries) for run, entries in found.items()]


def _known_until(until: datetime | None, now: datetime) -> str:
    return f"knows what happened until {when(until, now)}" if until else "knows of nothing yet"


def _describe(entry: BackupEntry) -> str:
    try:
        return describe_fact(FACTS[entry.name].from_dict(json.loads(entry.data))) or entry.name
    except UNREADABLE:
        return f"{entry.name}, which cannot be read"
