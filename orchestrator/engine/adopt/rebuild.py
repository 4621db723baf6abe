"""Rebuilds a run's facts from what is on Kaggle, through the ordinary state machine.

The last session, if live or not yet published as a dataset, is left to the ordinary tick: it is recorded as pushed and
not yet polled. Earlier sessions are recorded in full.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from orchestrator.base.disk import private_folder, write_whole
from orchestrator.base.errors import Corrupt
from orchestrator.core import parking
from orchestrator.core.plan import checkpoint_of, finished, inputs_of, slug_of, token_of
from orchestrator.engine.adopt.changed_orders import change_before
from orchestrator.engine.adopt.evidence import FoundRun, StartedSession, published_manifest
from orchestrator.engine.collecting.download import fetch_checkpoint
from orchestrator.engine.collecting.extras import fetch_curves, keep_artifacts
from orchestrator.engine.collecting.files import SessionFiles, list_files
from orchestrator.engine.collecting.judgement import concluded
from orchestrator.engine.collecting.manifests import Candidate, candidates
from orchestrator.engine.collecting.report import report_of
from orchestrator.engine.effects import EffectContext
from orchestrator.engine.effects.session_log import read_log
from orchestrator.engine.quarantine import Quarantine
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.port import FileWanted
from stages.contract import BLOB_NAME, COMPILED_NAME, MANIFEST_NAME, Cursor, Manifest, Report
from state import machine
from state.facts.base import Fact
from state.facts.checkpoint import CheckpointPruned, CheckpointPublished, DatasetOffered, PublishIntended
from state.facts.run import (
    InputsIntended,
    InputsOffered,
    InputsPublished,
    RunFinished,
    RunParked,
    RunResumed,
    RunStarted,
)
from state.facts.session import NothingCollected, PushConfirmed, PushIntended, SeenEnded, SessionLost, SessionPlanned
from state.model.dataset_names import name_in
from state.model.metrics import Metric
from state.model.run_state import RunState, Session
from state.model.statuses import CheckpointStatus, Phase

Key = tuple[int, int]


@dataclass
class History:
    """Facts in order, the state they fold to, and notes for the user."""

    started: RunStarted
    created_at: datetime
    now: datetime
    state: RunState = field(init=False)
    facts: list[tuple[datetime, Fact]] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = machine.begin(self.started, self.created_at)

    def happened(self, *facts: Fact) -> None:
        """Add facts. Only the run's start has its own time: Kaggle does not tell when the rest happened."""
        for fact in facts:
            self.state = machine.apply(self.state, fact, self.now)
            self.facts.append((self.now, fact))


def rebuild(history: History, evidence: FoundRun, pipeline: Pipeline, shell: EffectContext) -> None:
    """Fill the history, and fetch what the run needs to go on. Safe to repeat: intact files are kept."""
    manifests, places = _manifests(history, evidence, shell)
    sessions: dict[Key, StartedSession | Manifest] = {ran.key: ran for ran in evidence.sessions}
    for manifest in manifests.values():  # a deleted kernel whose checkpoint still exists
        sessions.setdefault((manifest.session, manifest.attempt), manifest)
    _Replay(history, evidence, shell, manifests, places, dict(sorted(sessions.items()))).tell()


def _manifests(
    history: History, evidence: FoundRun, shell: EffectContext
) -> tuple[dict[str, Manifest], dict[str, str]]:
    """Return the manifests, and the dataset names, of complete datasets of this run, by checkpoint name."""
    tokens = {checkpoint_of(evidence.run, *ran.key): ran.order.token for ran in evidence.sessions}
    found: dict[str, Manifest] = {}
    places: dict[str, str] = {}
    for place, seen in evidence.datasets.items():
        name = name_in(place)
        manifest = published_manifest(evidence.run, place, seen, shell.gateway, shell.home.adopting(evidence.run))
        if manifest is None:
            continue
        token = tokens.get(name) or token_of(history.state, manifest.session, manifest.attempt)
        digest = evidence.taken.get(name, manifest.digest)
        sizes = {file.name: file.size_bytes for file in seen.files}
        whole = all(sizes.get(e.path) == e.size_bytes for e in manifest.files if e.path != COMPILED_NAME)
        if (manifest.token, manifest.digest) == (token, digest) and whole:
            found[name], places[name] = manifest, place
        else:
            history.notes.append(f"the dataset {place} is not what its session left, and is not used")
    return found, places


@dataclass
class _Replay:
    history: History
    evidence: FoundRun
    shell: EffectContext
    manifests: Mapping[str, Manifest]
    places: Mapping[str, str]
    sessions: Mapping[Key, StartedSession | Manifest]
    pruned: list[str] = field(default_factory=list)
    """Checkpoints recorded as pruned at the end: the next session still had them when it started."""

    def tell(self) -> None:
        keys = list(self.sessions)
        for index, key in enumerate(keys):
            following = keys[index + 1] if index + 1 < len(keys) else None
            match self.sessions[key]:
                case StartedSession() as ran:
                    self._record_started(ran, following)
                case manifest:
                    self._record_orphan(manifest)
        self.history.happened(*change_before(self.state.run, self.evidence.orders[-1]))
        self._bring_home()
        for name in self.pruned:
            if self.state.checkpoint(name).usable:
                self.history.happened(CheckpointPruned(checkpoint=name))
        last = self.state.last
        if (last is None or last.phase.over) and finished(self.state, self.pipeline):
            self.history.happened(RunFinished())

    @property
    def state(self) -> RunState:
        return self.history.state

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline that the run followed at this point of its history."""
        return Pipeline.from_canonical(self.state.run.pipeline)

    # --- one session ---------------------------------------------------------

    def _record_started(self, ran: StartedSession, following: Key | None) -> None:
        order = ran.order
        self.history.happened(*change_before(self.state.run, order))
        self._planned(
            SessionPlanned(
                number=order.session,
                attempt=order.attempt,
                slug=order.slug,
                token=order.token,
                start=order.start,
                parent=order.parent.name if order.parent and not order.parent.run else None,
                budget_s=order.budget_s,
                limit_s=order.limit_s,
            ),
            ran.version,
        )
        name = checkpoint_of(order.run, *ran.key)
        ended = ran.seen.worker.terminal
        if following is None and not (ended and name in self.manifests):
            return  # the ordinary tick polls, collects and publishes
        number, attempt = ran.key
        if not ended and name not in self.manifests and name not in self.evidence.taken:
            why = f"a later session was begun while {self.shell.gateway.label} called it {ran.seen.worker}"
            self.history.happened(SessionLost(number=number, attempt=attempt, reason=why))
            return
        word, message = ran.seen.worker.value, ran.seen.message
        self.history.happened(SeenEnded(number=number, attempt=attempt, worker=word, message=message))
        left_more = following is not None and following[0] > number
        self._ended(self.state.session(number, attempt), name, left_more)

    def _planned(self, planned: SessionPlanned, version: int | None) -> None:
        """Record a planned session, preceded by the user's decision that it implies.

        A session started although the run would have parked, or not from the newest checkpoint, shows that the user
        asked for it.
        """
        head = self.state.head
        names = {checkpoint.name for checkpoint in self.state.checkpoints}
        chosen = planned.parent if planned.parent in names and head and head.name != planned.parent else None
        parked = parking.park_reason(self.state, self.pipeline)
        if parked or chosen:
            remedy = f"relay resume {self.state.run.id}"
            why = parked or RunParked(reason="the user resumed from an older checkpoint", remedy=remedy)
            self.history.happened(why, RunResumed(checkpoint=chosen or ""))
        number, attempt = planned.number, planned.attempt
        confirmed = PushConfirmed(number=number, attempt=attempt, kernel_version=version, adopted=True)
        self.history.happened(planned, PushIntended(number=number, attempt=attempt), confirmed)

    def _ended(self, session: Session, name: str, left_more: bool) -> None:
        home = self.shell.home
        quarantine = Quarantine(home, session.run, self.history.now)
        files = list_files(session, self.shell.gateway, quarantine)
        report = report_of(session, files)
        self.history.metrics += read_log(session, self.shell).metrics
        fetch_curves(files, home.curves(session.run))
        found = list(candidates(self.state, session, self.pipeline, files))
        self.history.happened(*quarantine.found)
        digest = self.evidence.taken.get(name)
        if name in self.manifests:
            self._record_end(session, report, self.manifests[name])
        elif digest is not None or left_more:
            newer = [c for c in found if self._position(c.manifest.cursor) > self._position(session.start)]
            fitting = [c for c in newer if digest in (None, c.manifest.digest)]
            chosen = max(fitting, key=lambda c: self._position(c.manifest.cursor), default=None)
            self._record_end(session, report, chosen.manifest if chosen else None, chosen, files)
            if chosen is None and digest is not None:
                self.history.notes.append(f"the checkpoint {name} is not on {self.shell.gateway.label} any more")
        else:
            self._record_end(session, report, None)

    def _position(self, cursor: Cursor) -> int:
        return self.pipeline.position(cursor)

    def _record_end(
        self,
        session: Session,
        report: Report | None,
        taken: Manifest | None,
        candidate: Candidate | None = None,
        files: SessionFiles | None = None,
    ) -> None:
        """Record a session's end; fetch a checkpoint that is in no dataset yet, for the ordinary tick to publish."""
        fact = concluded(session, self.pipeline, report, self.shell.home, taken)
        self.history.happened(fact)
        if isinstance(fact, NothingCollected):
            return
        name = fact.checkpoint
        if name not in self.manifests:
            newest = self._is_newest(session.key)
            if newest and candidate is not None and files is not None and self._fetch(candidate, name, files):
                return
            self.pruned.append(name)
        self._published(session.key, name)

    def _is_newest(self, key: Key) -> bool:
        """Return True if no later checkpoint was published: then this one is not pruned but still unpublished."""
        return all((manifest.session, manifest.attempt) < key for manifest in self.manifests.values())

    def _fetch(self, candidate: Candidate, name: str, files: SessionFiles) -> bool:
        into = self.shell.home.checkpoint(self.evidence.run, name)
        quarantine = Quarantine(self.shell.home, self.evidence.run, self.history.now)
        try:
            fetch_checkpoint(candidate, replace(files, quarantine=quarantine), into)
        except Corrupt as error:
            self.history.notes.append(f"the checkpoint {name} cannot be used: {error}")
            return False
        finally:
            self.history.happened(*quarantine.found)
        return True

    def _published(self, key: Key, name: str) -> None:
        number, attempt = key
        self.history.happened(PublishIntended(number=number, attempt=attempt))
        if self.places.get(name, name) != name:
            self.history.happened(DatasetOffered(number=number, attempt=attempt, dataset=self.places[name]))
        self.history.happened(CheckpointPublished(number=number, attempt=attempt))

    def _record_orphan(self, manifest: Manifest) -> None:
        """Record a session of which only the checkpoint is left."""
        run, key = manifest.run, (manifest.session, manifest.attempt)
        parent = next((c for c in self.state.checkpoints if c.digest == manifest.parent), None)
        limit_s = self.pipeline.limit_s
        self._planned(
            SessionPlanned(
                number=key[0],
                attempt=key[1],
                slug=slug_of(run, *key),
                token=manifest.token,
                start=parent.cursor if parent else self.pipeline.beginning,
                parent=parent.name if parent else None,
                budget_s=self.pipeline.budget_s(limit_s),
                limit_s=limit_s,
            ),
            None,
        )
        gone = f"its kernel is not on {self.shell.gateway.label} any more"
        self.history.happened(SeenEnded(number=key[0], attempt=key[1], worker="", message=gone))
        session = self.state.session(*key)
        done = self._position(manifest.cursor) >= self.pipeline.total_steps
        report = Report(
            run=run,
            session=key[0],
            attempt=key[1],
            token=manifest.token,
            outcome="finished" if done else "yielded",
            started=session.start,
            reached=manifest.cursor,
            reason=gone,
        )
        self._record_end(session, report, manifest)

    # --- fetching checkpoints ------------------------------------------------

    def _bring_home(self) -> None:
        """Fetch the newest published checkpoints, as many as are kept; one that does not verify is no longer used."""
        published = [c for c in self.state.checkpoints if c.status is CheckpointStatus.PUBLISHED]
        alive = [c.name for c in published if c.name not in self.pruned]
        for name in alive[-self.pipeline.keep_checkpoints :]:
            try:
                _download(self.manifests[name], name, self.places[name], self.shell)
            except Corrupt as error:
                self.history.notes.append(f"the dataset {name} is damaged, and is not used: {error}")
                self.pruned.append(name)
        usable = [c.name for c in self.state.checkpoints if c.usable and c.name not in self.pruned]
        if usable:
            blob = self.shell.home.checkpoint(self.evidence.run, usable[-1]) / BLOB_NAME
            keep_artifacts(blob, self.shell.home.artifacts(self.evidence.run))


def _download(manifest: Manifest, name: str, place: str, shell: EffectContext) -> None:
    """Fetch one published checkpoint, the manifest last; raises Corrupt if a file differs twice."""
    into = private_folder(shell.home.checkpoint(manifest.run, name))
    for entry in manifest.files:
        wanted = FileWanted(size_bytes=entry.size_bytes, sha256=entry.sha256)
        optional = entry.path == COMPILED_NAME
        for attempt in range(2):
            try:
                shell.gateway.download_dataset_file(place, entry.path, into / entry.path, wanted)
                break
            except Corrupt:
                if attempt and not optional:
                    raise
    write_whole(into / MANIFEST_NAME, manifest.to_json().encode())


def inputs_facts(evidence: FoundRun, pipeline: Pipeline, shell: EffectContext) -> tuple[Fact, ...]:
    """Fetch and verify the pipeline's own files; raises Corrupt if they are not those that the run began with."""
    assert evidence.inputs is not None, "the caller looked"
    first, name = inputs_of(evidence.run), evidence.inputs.ref.partition("/")[2]
    folder = private_folder(shell.home.inputs(evidence.run))
    for file, sha256 in sorted(pipeline.inputs.sha256.items()):
        shell.gateway.download_dataset_file(name, file, folder / file, FileWanted(sha256=sha256))
    offered = () if name == first else (InputsOffered(dataset=name),)
    return (InputsIntended(), *offered, InputsPublished())


def goes_on(state: RunState) -> str:
    """Describe the newest session's state for the user."""
    last = state.last
    if last is None:
        return "no session was started"
    return "the newest is left to the daemon" if last.phase is Phase.PUSHED else f"the newest is {last.phase}"
