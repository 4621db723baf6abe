"""`relay checkpoints`: list the checkpoints of a run, verify them, pull copies from Kaggle, or request pruning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from orchestrator.app.app import App
from orchestrator.base.disk import disk_errors
from orchestrator.base.errors import BadInput, RelayError
from orchestrator.core.moving import site_at
from orchestrator.engine.checkpoint_checks import damage_here, entries_of, lacking, listed_damage
from orchestrator.engine.checkpoint_copies import CheckpointCopies
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.quarantine import Quarantine
from orchestrator.platforms.names import name_in
from orchestrator.platforms.port import Platform
from orchestrator.views.checkpoints import checkpoints_view
from orchestrator.views.json_output import print_json
from orchestrator.views.printing import print_view
from stages.contract import COMPILED_NAME, Manifest
from state.model.run_state import Checkpoint, RunState
from state.model.statuses import CheckpointStatus

FORMAT = 1
ALL = "all"


@dataclass(frozen=True)
class RemoteCopies:
    """Access to the copies on Kaggle, or the reason why they are not compared."""

    gateways: Mapping[int, Platform]
    """The platforms with usable checkpoints, by their number in the run (`Run.platform`); none if one cannot be reached."""
    left_out: str = ""


def checkpoints(app: App, name: str, *, verify: bool, pull: str | None, prune: bool, as_json: bool) -> int:
    """List, verify, pull or prune the checkpoints of a run. Return the exit status: 1 if one is damaged.

    Raises BadInput for an unknown checkpoint, and for credentials that are missing or belong to another account.
    """
    state = app.run(name)
    if pull is not None:
        bring_back(app, state, _chosen(state, pull), "--pull")
    if prune:
        app.store.request(state.run.id, "prune", {}, app.clock.now())
        click.echo(f"{state.run.id}: prune requested; the daemon does it when it is idle", err=as_json)
    kaggle = _remote_copies(app, state) if verify else RemoteCopies({})
    document = inventory(state, app.home, kaggle, verify=verify)
    if as_json:
        print_json(document)
    else:
        print_view(checkpoints_view(document))
    return 1 if document["problems"] else 0


# --- inventory -----------------------------------------------------------------


def inventory(state: RunState, home: HomeLayout, kaggle: RemoteCopies, *, verify: bool) -> dict[str, Any]:
    """Describe every checkpoint of a run.

    With `verify`, every local byte, the chain of parents and Kaggle's listing are checked.
    """
    rows, problems = [], []
    for checkpoint in state.checkpoints:
        found = _problems(state, checkpoint, home, kaggle.gateways.get(checkpoint.platform)) if verify else []
        problems += [{"checkpoint": checkpoint.name, "problem": text, "remedy": remedy} for text, remedy in found]
        rows.append(_row(state, checkpoint, home, verify=verify))
    return {
        "format": FORMAT,
        "run": state.run.id,
        "platform": name_in(state.run.pipeline),
        "checkpoints": rows,
        "verified": verify,
        "compared_with_kaggle": verify and bool(kaggle.gateways),
        "not_compared_because": kaggle.left_out or None,
        "problems": problems,
    }


def _row(state: RunState, checkpoint: Checkpoint, home: HomeLayout, *, verify: bool) -> dict[str, Any]:
    return {
        "name": checkpoint.name,
        "stage": checkpoint.cursor.stage,
        "step": checkpoint.cursor.step,
        "session": checkpoint.session,
        "attempt": checkpoint.attempt,
        "size_bytes": checkpoint.size_bytes,
        "status": checkpoint.status.value,
        "verified_at": checkpoint.verified_at.isoformat(),
        "platform": site_at(state.run, checkpoint.platform).platform,
        "dataset": f"{state.run.owner_at(checkpoint.platform)}/{checkpoint.place}" if checkpoint.on_kaggle else None,
        "here": _here(checkpoint, home, verify=verify),
        "digest": checkpoint.digest,
        "parent": checkpoint.parent,
    }


def _here(checkpoint: Checkpoint, home: HomeLayout, *, verify: bool) -> str:
    """Return `whole` or `damaged` if every byte was read, else `yes`, `part` or `no`, judged by file sizes."""
    folder = home.checkpoint(checkpoint.run, checkpoint.name)
    entries = [entry for entry in entries_of(checkpoint) if entry.path != COMPILED_NAME]
    paths = [(folder / entry.path, entry.size_bytes) for entry in entries]
    there = [path.is_file() and path.stat().st_size == size_bytes for path, size_bytes in paths]
    if not any(path.is_file() for path, _ in paths):
        return "no"
    if verify:
        return "damaged" if damage_here(checkpoint, home) else "whole"
    return "yes" if all(there) else "part"


# --- verification --------------------------------------------------------------


def _problems(
    state: RunState, checkpoint: Checkpoint, home: HomeLayout, gateway: Platform | None
) -> list[tuple[str, str]]:
    """Return the problems of a usable checkpoint, each with its remedy."""
    if not checkpoint.usable:
        return []
    pull = f"relay checkpoints {checkpoint.run} --pull {checkpoint.name}"
    older = f"relay resume {checkpoint.run} --from-step STAGE:STEP of an older one"
    remedy = pull if checkpoint.on_kaggle else "relay daemon fetches it again before it is published"
    found = [(damage.says, remedy) for damage in damage_here(checkpoint, home).values()]
    found += [(text, older) for text in _broken_links(state, checkpoint)]
    if gateway is not None and checkpoint.status is CheckpointStatus.PUBLISHED:
        again = "relay daemon publishes it again once a session reports it"
        found += [(text, again) for text in _listing_problems(checkpoint, gateway)]
    return found


def _broken_links(state: RunState, checkpoint: Checkpoint) -> list[str]:
    """Return where the chain of digests does not match the checkpoint from which the session started."""
    manifest = Manifest.from_json(checkpoint.manifest)
    session = state.session(checkpoint.session, checkpoint.attempt)
    origin = state.run.origin.checkpoint if state.run.origin else None
    begun_from, parent = session.parent or origin, state.parent_digest(session)
    found = []
    if manifest.digest != checkpoint.digest:
        found.append(f"its manifest has the digest {manifest.digest[:12]} and not {checkpoint.digest[:12]}")
    if not manifest.parent == checkpoint.parent == parent:
        found.append(f"it names the parent {(manifest.parent or 'none')[:12]} and its session began from {begun_from}")
    return found


def _listing_problems(checkpoint: Checkpoint, gateway: Platform) -> list[str]:
    seen = gateway.find_dataset(checkpoint.place)
    if seen is None:
        return [f"its dataset is not on {gateway.label}"]
    if not seen.private:
        return [f"its dataset {seen.ref} is public"]
    if seen.status != "ready":
        return [f"its dataset is {seen.status}"]
    missing = [f"{name} is missing from the dataset" for name in lacking(checkpoint, seen)]
    return missing or list(listed_damage(checkpoint, seen).values())


# --- Kaggle ----------------------------------------------------------------------


def _remote_copies(app: App, state: RunState) -> RemoteCopies:
    """Return access to the run's platforms if credentials are found and belong to the run's accounts."""
    run = state.run
    numbers = {run.platform, *(checkpoint.platform for checkpoint in state.checkpoints if checkpoint.usable)}
    try:
        platforms = {number: app.platforms.at(run, number) for number in numbers}
        owner = platforms[run.platform].owner()
    except RelayError as error:
        return RemoteCopies({}, str(error))
    if owner != run.owner:
        return RemoteCopies({}, f"the run belongs to {run.owner}, and the credentials are {owner}'s")
    return RemoteCopies(platforms)


def _chosen(state: RunState, wanted: str) -> list[Checkpoint]:
    """Return the checkpoints that `--pull` names: one, with or without the run's prefix, or all usable ones."""
    if wanted == ALL:
        return [checkpoint for checkpoint in state.checkpoints if checkpoint.usable]
    found = [c for c in state.checkpoints if wanted in (c.name, c.name.removeprefix(f"{state.run.id}-"))]
    if not found:
        known = ", ".join(checkpoint.name for checkpoint in state.checkpoints) or "none yet"
        raise BadInput(f"--pull {wanted}: {state.run.id} has no such checkpoint: its checkpoints are {known}")
    if found[0].status is CheckpointStatus.PRUNED:
        raise BadInput(
            f"--pull {wanted}: it was removed from {name_in(state.run.pipeline)} to free space, so there is nothing to bring back"
        )
    return found


def bring_back(app: App, state: RunState, chosen: Sequence[Checkpoint], asked: str) -> None:
    """Repair damaged or missing local copies. Kaggle is only read. `asked` is what the user typed, for the message."""
    damaged = [checkpoint for checkpoint in chosen if damage_here(checkpoint, app.home)]
    kaggle = _remote_copies(app, state) if damaged else RemoteCopies({})
    if damaged and not kaggle.gateways:
        raise BadInput(f"{asked} needs the account that the run belongs to: {kaggle.left_out}")
    for checkpoint in damaged:
        session = state.session(checkpoint.session, checkpoint.attempt)
        quarantine = Quarantine(app.home, state.run.id, app.clock.now())
        gateway, reach = kaggle.gateways[state.run.platform], app.platforms.at
        copies = CheckpointCopies(checkpoint, session, gateway, app.home, quarantine, state.run, reach=reach)
        with disk_errors(copies.folder):
            lost = copies.repair((copies.from_dataset, copies.from_output, copies.from_left))
        for found in quarantine.found:
            kept = f"; kept as {quarantine.folder / found.kept}" if found.kept else ""
            click.echo(f"{checkpoint.name}: {found.problem}{kept}", err=True)
        said = (
            f"not intact on {name_in(state.run.pipeline)} either: {lost}"
            if lost
            else "brought back, every byte verified"
        )
        click.echo(f"{checkpoint.name}: {said}", err=True)
