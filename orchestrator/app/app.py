"""The composition root: the only module that creates relay's components and connects them."""

import contextlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.app.forecast_keeper import ForecastKeeper
from orchestrator.app.notify import config as notify_config
from orchestrator.app.origins import beginning, begun_as_named
from orchestrator.app.platforms import Platforms
from orchestrator.app.run_evidence import KeepsEvidence
from orchestrator.app.settings import Settings
from orchestrator.app.workspace import Workspace
from orchestrator.base.clock import monotonic_s
from orchestrator.base.disk import disk_errors, ignore_full_disk
from orchestrator.base.errors import BadInput, Permanent
from orchestrator.base.process_id import is_alive
from orchestrator.core.decide_request import answered
from orchestrator.core.pipeline_change import departure, goes_on_as
from orchestrator.core.plan import limits_for
from orchestrator.engine.adopt.command import Adoption
from orchestrator.engine.backups import Backups
from orchestrator.engine.daemon import Daemon, LeaseKeeper, Listener
from orchestrator.engine.effects import EffectContext
from orchestrator.engine.home_identity import identity_of
from orchestrator.engine.tick import TickResult
from orchestrator.kaggle.gateway import Gateway
from orchestrator.kaggle.model_gateway import ModelGateway
from orchestrator.pipeline import loader
from orchestrator.pipeline.difference import first_difference
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.site import Site, account_text
from orchestrator.platforms.port import Platform
from orchestrator.views.lost import lost_sentence, pipeline_of
from state.facts.checkpoint import CheckpointPublished
from state.facts.run import RunStarted
from state.failures import RunDamaged, StoreCorrupt, StoreUnavailable
from state.leases import LeaseLost
from state.model.run_state import Run, RunState
from state.model.statuses import RunStatus
from state.notification_marks import NotificationMarks
from state.read_only import ReadOnlyStore

if TYPE_CHECKING:  # apprise is slow to import: only when messages are sent
    from orchestrator.app.notify.sender import Senders
    from orchestrator.kaggle.client import KaggleGateway

OPEN = (RunStatus.ACTIVE, RunStatus.WAITING, RunStatus.PARKED)
SETTLED = (RunStatus.FINISHED, RunStatus.CANCELLED, RunStatus.PARKED)


class App(Workspace):
    """relay connected to one home folder and, on first use, to Kaggle."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.notice: Callable[[str], None] = warn_stderr
        """Callback for sentences that concern no single run."""
        self.begun: Callable[[], None] = lambda: None
        """Callback invoked once the daemon holds the lease, so that no other daemon works on the database."""
        self.requested_by = ""
        """Program that stores requests for the user, named in them and in the run's history; empty for commands."""
        self.before_moving: Callable[[tuple[str, ...]], None] = lambda sentences: None
        """Callback before a run begins on another platform than the checkpoint that it begins from, with what becomes of
        the numbers; it raises BadInput, or leaves the program, if the run shall not begin."""
        self.sends_messages = False
        """True if the daemon sends notifications (see `orchestrator.app.notify`). Rehearsals send none."""

    @cached_property
    def gateway(self) -> Gateway:
        """Client for Kaggle. Raises BadInput if credentials are missing."""
        return self._client

    @cached_property
    def platforms(self) -> Platforms:
        """The platforms that runs of this home folder may have."""
        return Platforms(lambda: self.gateway, self.clock)

    def platform_of(self, run: str) -> Platform:
        """Return the platform of a run, by its id."""
        return self.platforms.of(Pipeline.from_canonical(self.store.load(run).run.pipeline))

    def require_accounts(self) -> None:
        """Raise BadInput if there are no credentials for Kaggle, unless all open runs are on clusters."""
        runs = self.store.open_runs() if self.has_store else []
        try:
            on_clusters = [
                Pipeline.from_canonical(self.store.load(run).run.pipeline).platform != "kaggle" for run in runs
            ]
        except RunDamaged:
            on_clusters = []
        if not on_clusters or not all(on_clusters):
            _ = self.gateway

    @property
    def own_models(self) -> ModelGateway:
        """The account's own models on Kaggle. Raises BadInput if credentials are missing."""
        return self._client.own_models

    @cached_property
    def _client(self) -> "KaggleGateway":
        from orchestrator.kaggle.client import connect

        gateway = connect(
            self.settings.environ,
            Path.home(),
            sleep=self.clock.sleep,
            stopping=self.stop.is_set,
            uploads=self.home.uploads,
        )
        for warning in gateway.warnings:
            self.notice(warning)
        return gateway

    @cached_property
    def identity(self) -> str:
        """Id of this home folder. A copied folder gets an id of its own."""
        return identity_of(self.home.path)

    # --- runs ----------------------------------------------------------------

    def start(self, path: Path, *, new: bool = False, origin: str = "", weights_only: bool = False) -> Run:
        """Create a run of a pipeline file, from what `origin` names if it is given. Raises what `begin` raises."""
        pipeline = loader.load(path)
        if origin:
            pipeline = begun_as_named(self, pipeline, path, origin, weights_only=weights_only)
        return self.begin(pipeline, path, new=new)

    def begin(self, pipeline: Pipeline, path: Path, *, new: bool = False, may_wait: bool = False) -> Run:
        """Create a run of a pipeline that was read from `path`.

        Files that the pipeline names are resolved relative to the folder of `path`. With `may_wait` the run of the
        pipeline's origin need not have the checkpoint yet. Raises BadInput if a run of the pipeline is still open, or
        if it cannot begin from its origin; nothing is created then.
        """
        if not new:
            self.refuse_lost(path, pipeline)
        self._refuse_a_second(path, pipeline, new)
        owner = self.platforms.of(pipeline).owner()
        begun = beginning(self, pipeline, str(path), owner, may_wait=may_wait)
        pipeline = begun.pipeline
        if begun.numbers:
            self.before_moving(begun.numbers)
        store = self.store  # opened first: raises if the home folder is unusable, before anything is written there
        fact = RunStarted(
            run=f"{pipeline.name}-{secrets.token_hex(2)}",
            pipeline_name=pipeline.name,
            owner=owner,
            accelerator=pipeline.slot,
            pipeline=pipeline.canonical(),
            pipeline_path=str(path),
            pipeline_digest=pipeline.digest,
            home=self.identity,
            origin=begun.origin,
            inputs_dataset=begun.inputs_dataset,
        )
        try:
            with disk_errors(self.home.path):
                self.home.keep_inputs(fact.run, [path.parent / name for name in pipeline.inputs.files])
            return store.begin_run(fact, self.clock.now()).run
        except BaseException:
            shutil.rmtree(self.home.run(fact.run), ignore_errors=True)
            raise

    def start_or_continue(self, path: Path) -> Run:
        """Return the open run of the same pipeline, or create a run."""
        pipeline = loader.load(path)
        for run in self.open_runs(pipeline.name):
            if goes_on_as(self.expected(self.store.load(run.id)), pipeline):
                return run
        return self.start(path)

    def adoption(self, path: Path | None = None) -> Adoption:
        """Return the dependencies of `relay adopt`, on the platform of the pipeline file `path`; by default on Kaggle."""
        known, damaged = self._known() if self.has_store else ((), ())
        platform: Platform = self.gateway if path is None else self.platforms.of(loader.load(path))
        return Adoption(platform, self.home, self.clock, known, lambda: self.store, lambda: self.identity, damaged)

    def _known(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the ids of the readable runs and those of the damaged runs."""
        known, damaged = [], []
        for run, _ in self.store.run_names():
            try:
                self.store.load(run)
            except RunDamaged:
                damaged.append(run)
            else:
                known.append(run)
        return tuple(known), tuple(damaged)

    def is_settled(self, run: str) -> bool:
        """Return whether a run is finished, cancelled or parked. `run` is its id."""
        return self.store.load(run).run.status in SETTLED

    def expected(self, state: RunState) -> RunState:
        """Return a run's state once its open requests are answered."""
        return answered(state, self.reader.requests(state.run.id), self.clock.now())

    def open_runs(self, pipeline_name: str) -> list[Run]:
        """Return the runs of a pipeline that are open once their requests are answered.

        Raises RunDamaged if a damaged run may be one of them.
        """
        if not self.has_store:
            return []
        ids = [run for run, name in self.store.run_names() if pipeline_name in (name, pipeline_of(run))]
        runs = [self.expected(self.store.load(run)).run for run in ids]
        return [run for run in runs if run.name == pipeline_name and run.status in OPEN]

    def refuse_lost(self, path: Path, pipeline: Pipeline) -> None:
        """Raise BadInput if a lost run may be of this pipeline: a new run would spend the quota again."""
        lost = self.lost()
        if self.has_store:
            lost = [run for run in lost if pipeline_of(run) == pipeline.name]
        if lost:
            sentence = lost_sentence(self.home, lost, gone=not self.has_store)
            raise BadInput(f"{path}: {sentence}; relay start --new begins another run anyway")

    def _refuse_a_second(self, path: Path, pipeline: Pipeline, new: bool) -> None:
        for run in self.open_runs(pipeline.name):
            if not goes_on_as(self.expected(self.store.load(run.id)), pipeline):
                known = Pipeline.from_canonical(run.pipeline)  # stored text may lack keys with a default
                work = [one.work.canonical() for one in (known, pipeline)]
                change = first_difference(*map(json.loads, work))
                raise BadInput(
                    f"{path}: {change} while run {run.id} is {run.status}: relay edit {run.id} --pipeline {path} changes that "
                    f"run, relay cancel {run.id} ends it, and another name in the file makes a second one beside it"
                )
            if not new:
                raise BadInput(
                    f"{path}: run {run.id} of this pipeline is {run.status}: relay daemon continues it, and --new starts "
                    "another"
                )

    # --- the daemon ----------------------------------------------------------

    def work(self, listener: Listener, done: Callable[[], bool] = lambda: False) -> None:
        """Run the daemon until `stop` is set or `done` returns True."""
        with self._daemon(listener) as daemon:
            self._back_up()
            daemon.run(done)

    def work_once(self, listener: Listener) -> None:
        """Advance each run as far as possible without waiting."""
        with self._daemon(listener) as daemon:
            daemon.round()
            daemon.between()

    def working_daemon(self) -> str:
        """Return the process that is known to work on this home folder as its daemon; empty if there is none."""
        lease = self.reader.lease() if self.has_store else None
        if lease is None or not lease.held(self.clock.now(), is_alive(lease.holder)):
            return ""
        node, pid, _ = lease.holder.rsplit("/", 2)
        return f"process {pid} on {node}"

    @contextlib.contextmanager
    def _daemon(self, listener: Listener) -> Iterator[Daemon]:
        self.require_database()
        for warning in self.warnings():
            self.notice(warning)
        if lost := self.lost():
            self.notice(lost_sentence(self.home, lost))
        self.store.verify()
        try:
            with LeaseKeeper(self.store, self.clock) as keeper, self._senders(keeper) as senders:
                keep_evidence = KeepsEvidence(self, self.notice)
                forecasts = ForecastKeeper(self, self.notice, monotonic_s)

                def hear(run: str, tick: TickResult) -> None:
                    listener(run, tick)
                    keep_evidence(run, tick)
                    forecasts.heard(run, tick)
                    if any(isinstance(fact, CheckpointPublished) for fact in tick.facts):
                        self._back_up()
                    if senders is not None and (tick.facts or tick.failure):
                        senders.wake()

                self.begun()
                yield Daemon(
                    *(self.store, self.shell_for, self.clock, keeper, hear, self.notice, monotonic_s, self.stop),
                    between=forecasts.renew,
                )
        except LeaseLost as error:
            raise Permanent(f"{error}: this daemon stopped before its next effect") from error

    def _back_up(self) -> None:
        """Back up the database if it has any run. A failed backup is reported and stops nothing."""
        try:
            if self.store.run_names():
                Backups(self.home).make_by_itself(self.clock.now())
        except (StoreUnavailable, StoreCorrupt) as error:
            self.notice(f"no backup was made of the database: {error}")

    def _senders(self, keeper: LeaseKeeper) -> contextlib.AbstractContextManager["Senders | None"]:
        """Return the senders of notifications; None if no service is configured or the configuration is unusable."""
        try:
            addresses = notify_config.read(self.home.path, self.settings.environ) if self.sends_messages else None
            if addresses is None:
                return contextlib.nullcontext()
            from orchestrator.app.notify.sender import Outbox, Senders
            from orchestrator.app.notify.services import services

            for warning in addresses.warnings:
                self.notice(warning)
            marks, reader = NotificationMarks(self.home.path), ReadOnlyStore(self.home.path)
            outbox = Outbox(marks, reader, addresses.events, self.clock.now, self.notice, lambda: keeper.fence)
            return Senders(outbox, services(addresses))
        except (BadInput, StoreUnavailable) as error:
            self.notice(f"{error}; no messages are sent until this is fixed and the daemon is restarted")
            return contextlib.nullcontext()

    def shell_for(self, state: RunState) -> EffectContext:
        """Return what the effects of one run need. Raises BadInput if the credentials belong to another account."""
        pipeline, wanted, number = Pipeline.from_canonical(state.run.pipeline), state.run.owner, state.run.platform
        if (leaving := departure(state, self.store.requests(state.run.id))) is not None:
            (pipeline, wanted), number = leaving, number + 1  # answered first: what is left need not be reachable
        platform = self.platforms.of(pipeline)
        owner = platform.owner()
        if owner != wanted:
            raise BadInput(
                f"run {state.run.id} belongs to {account_text(Site.of(pipeline), wanted)}, and the credentials are {owner}'s: "
                f"use that account's, or relay cancel {state.run.id}"
            )
        limits = limits_for(pipeline)
        return EffectContext(platform, self.home, self.clock, limits, self.identity, self.platforms.at, number)


def warn_stderr(sentence: str) -> None:
    """Print a sentence on standard error, unless its disk is full."""
    with ignore_full_disk():
        click.echo(f"relay: {sentence}", err=True)
