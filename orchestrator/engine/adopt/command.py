"""`relay adopt`: finds a run on its platform, rebuilds its database, and reports the result."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pydantic

from orchestrator.base.clock import Clock
from orchestrator.base.disk import private_folder
from orchestrator.base.errors import BadInput, Corrupt, Transient
from orchestrator.core.plan import inputs_of, limits_for, slug_of
from orchestrator.engine.adopt.evidence import (
    FoundRun,
    look,
    newest_dataset,
    order_in_kernel,
    origin_in,
    runs_on_kaggle,
)
from orchestrator.engine.adopt.rebuild import History, goes_on, inputs_facts, rebuild
from orchestrator.engine.backups import Backups
from orchestrator.engine.effects import EffectContext
from orchestrator.engine.home import HomeLayout
from orchestrator.pipeline import loader
from orchestrator.pipeline.model import Pipeline, canonical_in
from orchestrator.pipeline.sections import SLUG
from orchestrator.platforms.names import KAGGLE, name_in
from orchestrator.platforms.port import DatasetSeen, Platform
from stages.documents import ContractError
from state.facts.base import Fact
from state.facts.run import RunStarted, RunTakenOver
from state.failures import RunExists
from state.model.statuses import RunStatus
from state.store import Store

FORMAT = 1

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Adoption:
    """Context for rebuilding a run: `known` are this home's runs; `store` opens its database at the end.

    Runs that are `damaged` in the database are replaced by the rebuilt ones.
    """

    gateway: Platform
    home: HomeLayout
    clock: Clock
    known: tuple[str, ...]
    store: Callable[[], Store]
    identity: Callable[[], str] = str
    """Function that returns the home folder's id, which is created when the first run is rebuilt."""
    damaged: tuple[str, ...] = ()

    def list(self, tell: Tell) -> dict[str, Any]:
        """List the runs on the platform, and whether this home has them; return them as a document too (see docs/json.md)."""
        found, listed = runs_on_kaggle(self.gateway), []
        for one in found:
            kernels = f"{one.kernels} kernel{'' if one.kernels == 1 else 's'}"
            asks = "" if one.whole and self.gateway.label == KAGGLE else " --pipeline FILE"
            remedy = f"relay adopt {one.run}{asks}"
            here = one.run in self.known
            tell(f"{one.run}  {kernels}  {'is in this home' if here else f'not in this home: {remedy}'}")
            listed.append({"run": one.run, "kernels": one.kernels, "here": here, "command": None if here else remedy})
        if not found:
            tell(f"no kernel of the account {self.gateway.owner()} belongs to a run of relay")
        return {"format": FORMAT, "owner": self.gateway.owner(), "runs": listed}

    def adopt(self, run: str, path: Path | None, tell: Tell) -> dict[str, Any]:
        """Rebuild the run's database, and report the result, as a document too.

        Raises BadInput if that is impossible; then nothing is created. Everything fetched lies where the run will look
        for it, so a second try after a crash continues. The run itself is written in one transaction at the end.
        """
        if run in self.known:
            raise BadInput(f"{run} is in {self.home.path} already: relay daemon continues it")
        if not SLUG.fullmatch(run):
            raise BadInput(f"{run!r} cannot be a run's name: relay adopt lists those that are on {self.gateway.label}")
        given = None if path is None else loader.load(path)
        evidence = look(run, inputs_of(run), self.gateway)
        if evidence is None:
            raise BadInput(self._absent(run))
        _refuse_moved(evidence, self.gateway)
        canonical = _canonical(evidence, given, path)
        pipeline = _read(canonical, run)
        if pipeline.inputs.files and evidence.inputs is None and pipeline.origin.run:  # forks share their parent's
            evidence = replace(evidence, inputs=self._inherited_inputs(pipeline.origin.run))
        if pipeline.inputs.files:
            _check_inputs(evidence, path, self.gateway.label)
        private_folder(self.home.path)
        shell = EffectContext(self.gateway, self.home, self.clock, limits_for(pipeline))
        history = self._history(evidence, pipeline, canonical, path)
        if pipeline.inputs.files and evidence.inputs is not None:
            history.happened(*_inputs(evidence, pipeline, shell))
        elif pipeline.inputs.files and path is not None:
            self.home.keep_inputs(run, [path.parent / name for name in pipeline.inputs.files])
        rebuild(history, evidence, pipeline, shell)
        try:
            instead = run in self.damaged
            if instead:
                tell(f"{run}  the database as it was is kept as {Backups(self.home).make_by_hand(self.clock.now())[0]}")
            self.store().begin_run(
                history.started, history.created_at, later=history.facts, metrics=history.metrics, instead=instead
            )
        except RunExists as error:
            raise BadInput(f"{run} is in {self.home.path} already: relay daemon continues it") from error
        _clear(self.home.adopting(run))
        _say(history, tell)
        return _document(history)

    def _inherited_inputs(self, run: str) -> DatasetSeen | None:
        """Return the dataset of data files of the nearest run, from this one back, that published one."""
        while run:
            if (found := newest_dataset(inputs_of(run), self.gateway)) is not None:
                return found
            order = order_in_kernel(slug_of(run, 1, 1), self.gateway)
            canonical = canonical_in(order) if order is not None else None
            run = Pipeline.from_canonical(canonical).origin.run if canonical is not None else ""
        return None

    def _history(self, evidence: FoundRun, pipeline: Pipeline, canonical: str, path: Path | None) -> History:
        first = evidence.orders[0]
        began_with = canonical if first.pipeline_digest == evidence.orders[-1].pipeline_digest else canonical_in(first)
        now = self.clock.now()
        began = next((order.created_at for order in evidence.orders if order.created_at), "")
        started = RunStarted(
            run=evidence.run,
            pipeline_name=pipeline.name,
            owner=self.gateway.owner(),
            accelerator=pipeline.slot,
            pipeline=began_with or canonical,
            pipeline_path=str(path) if path else f"{self.gateway.owner()}/{first.slug}",
            pipeline_digest=first.pipeline_digest,
            home=self.identity(),
            origin=origin_in(evidence.orders, pipeline),
        )
        history = History(started, datetime.fromisoformat(began) if began else now, now)
        if started.home:  # from now on, this home folder works on the run
            history.happened(RunTakenOver(home=started.home, generation=int(now.timestamp())))
        return history

    def _absent(self, run: str) -> str:
        datasets = [name for name in self.gateway.list_datasets(f"{run}-") if name.startswith((f"{run}-c", f"{run}-i"))]
        if datasets:
            names = ", ".join([*datasets[:3], *(["…"] if len(datasets) > 3 else [])])
            return (
                f"{self.gateway.label} has only the datasets {names} of {run}, and no kernel that holds its pipeline: start another "
                "run"
            )
        found = [one.run for one in runs_on_kaggle(self.gateway)]
        there = f"the runs there are {', '.join(found)}" if found else "there is no kernel of any run"
        return f"{self.gateway.label} has no kernel of {run} under the account {self.gateway.owner()}: {there}"


def _refuse_moved(evidence: FoundRun, platform: Platform) -> None:
    """Raise BadInput if sessions before the newest are missing: they ran elsewhere, and their history is not here.

    Not on Kaggle: users delete kernels there, and the checkpoints tell of those sessions.
    """
    if platform.label == KAGGLE:
        return
    there = {order.session for order in evidence.orders}
    missing = [number for number in range(1, max(there)) if number not in there]
    if not missing:
        return
    names = f"{missing[0]} to {missing[-1]}" if len(missing) > 1 else str(missing[0])
    newest = max((name for name, seen in evidence.datasets.items() if seen.status == "ready"), default="")
    other = (
        f", or relay start FILE --from {platform.owner()}/{newest} begins another run from its newest checkpoint there"
    )
    raise BadInput(
        f"{platform.label} lacks session{'s' if len(missing) > 1 else ''} {names} of {evidence.run}, as of a run that moved "
        f"between platforms, which relay adopt cannot rebuild: relay restore brings back a backup of its database"
        f"{other if newest else ''}"
    )


def _canonical(evidence: FoundRun, given: Pipeline | None, path: Path | None) -> str:
    """Return the run's newest pipeline: from an order, or from the file if the orders are an older relay's."""
    digest = evidence.orders[-1].pipeline_digest
    if given is not None:
        if given.digest != digest:
            raise BadInput(f"{path} is not the pipeline that {evidence.run} follows: name that one, unchanged")
        return given.canonical()
    try:
        for order in reversed(evidence.orders):
            text = canonical_in(order) if order.pipeline_digest == digest else None
            if text is not None:
                return text
    except ContractError as error:
        raise BadInput(f"{error}: name the pipeline's file with --pipeline") from error
    raise BadInput(
        f"the kernels of {evidence.run} were made by an older relay and do not hold their whole pipeline: name its "
        "file with --pipeline"
    )


def _read(canonical: str, run: str) -> Pipeline:
    try:
        return Pipeline.from_canonical(canonical)
    except pydantic.ValidationError as error:
        raise BadInput(
            f"the pipeline of {run} was written by another version of relay: adopt it with that version"
        ) from error


def _check_inputs(evidence: FoundRun, path: Path | None, label: str) -> None:
    name = inputs_of(evidence.run)
    if evidence.inputs is None and path is None:
        raise BadInput(
            f"the dataset {name} with the pipeline's own files is not on {label}: name the pipeline's file with "
            "--pipeline, with those files beside it"
        )
    if evidence.inputs is not None and evidence.inputs.status != "ready":
        raise Transient(f"{label} still processes the dataset {name}: adopt again in a few minutes")


def _inputs(evidence: FoundRun, pipeline: Pipeline, shell: EffectContext) -> tuple[Fact, ...]:
    try:
        return inputs_facts(evidence, pipeline, shell)
    except Corrupt as error:
        raise BadInput(
            f"the dataset {inputs_of(evidence.run)} does not hold what the run began with ({error}): delete it on "
            f"{shell.gateway.label}, then name the pipeline's file with --pipeline"
        ) from error


def _clear(folder: Path) -> None:
    for path in folder.glob("*") if folder.exists() else ():
        path.unlink()
    if folder.exists():
        folder.rmdir()


def _document(history: History) -> dict[str, Any]:
    state = history.state
    head = state.head
    return {
        "format": FORMAT,
        "run": state.run.id,
        "state": state.run.status.value,
        "sessions": len(state.sessions),
        "checkpoint": head and {"name": head.name, "stage": head.cursor.stage, "step": head.cursor.step},
        "notes": [*history.notes],
        "command": None if state.run.status is RunStatus.FINISHED else "relay daemon",
    }


def _say(history: History, tell: Tell) -> None:
    state, run = history.state, history.state.run
    for note in history.notes:
        tell(f"{run.id}  {note}")
    count = len(state.sessions)
    tell(f"{run.id}  {count} session{'' if count == 1 else 's'} found on {name_in(run.pipeline)}, {goes_on(state)}")
    if state.head is not None:
        cursor = state.head.cursor
        tell(f"{run.id}  newest checkpoint {state.head.name} at {cursor.stage} {cursor.step}, verified")
    if run.status.value == "finished":
        tell(f"{run.id} is finished")
        return
    tell(
        f"{run.id} is active: relay daemon continues it. {name_in(run.pipeline)} cannot tell whether it had been paused or "
        f"cancelled: relay pause {run.id} or relay cancel {run.id} says so again. No other daemon may work on this run"
    )
