"""One function for each command that touches the world. Each looks before it makes, so doing it again after a crash is safe."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import assert_never

from kaggle_kernels import build
from orchestrator.clock import Clock
from orchestrator.collect import collect
from orchestrator.commands import Collect, Inspect, Look, Prune, Publish, PublishInputs, Push, ReadQuota
from orchestrator.custody import Custody, lacking, listed_damage, refuse_public
from orchestrator.disk import on_disk
from orchestrator.errors import Ambiguous, NoSlot, OutOfQuota, Permanent, Refused, Transient, Vanished
from orchestrator.files import Home
from orchestrator.kaggle.gateway import DatasetSeen, Gateway, KernelPush, LogLine, SessionSeen, Worker
from orchestrator.pipeline import Pipeline
from orchestrator.plan import Limits, inputs_of, order_for, refresh_time
from orchestrator.quarantine import Quarantine
from stages.contract import COMPILED_NAME, MANIFEST_NAME, Manifest, Progress
from state.facts import (
    CheckpointPruned,
    CheckpointPublished,
    Fact,
    InputsPublished,
    PushConfirmed,
    PushRefused,
    RunWaiting,
    SeenEnded,
    SeenQueued,
    SeenRunning,
)
from state.model import Checkpoint, Metric, Phase, QuotaRow, RunState, Session, Snapshot, Watch

Effect = PublishInputs | Push | Look | Collect | Publish | Inspect | Prune | ReadQuota


@dataclass(frozen=True)
class Shell:
    """What an effect may use."""

    gateway: Gateway
    home: Home
    clock: Clock
    limits: Limits


@dataclass(frozen=True)
class Result:
    """What came of an effect: facts, and what was observed on the way."""

    facts: tuple[Fact, ...] = ()
    watch: Watch | None = None
    metrics: tuple[Metric, ...] = ()
    quota: QuotaRow | None = None


def perform(command: Effect, snapshot: Snapshot, pipeline: Pipeline, shell: Shell) -> Result:
    """Carry out one command; errors of `orchestrator.errors` mean that nothing is to be recorded."""
    with on_disk(shell.home.path):  # the gateway translates its own: what is left are this machine's files
        return _carry_out(command, snapshot, pipeline, shell)


def _carry_out(command: Effect, snapshot: Snapshot, pipeline: Pipeline, shell: Shell) -> Result:
    state = snapshot.state
    match command:
        case ReadQuota():
            return read_quota(command, snapshot, shell)
        case PublishInputs():
            return publish_inputs(snapshot, pipeline, shell)
        case Push():
            return push(snapshot, state.session(command.number, command.attempt), pipeline, shell)
        case Look():
            return look(snapshot, state.session(command.number, command.attempt), shell)
        case Collect():
            return collected(snapshot, state.session(command.number, command.attempt), pipeline, shell)
        case Publish():
            return publish(snapshot, state.session(command.number, command.attempt), pipeline, shell)
        case Inspect():
            return inspect(state, state.session(command.number, command.attempt), pipeline, shell)
        case Prune():
            return prune(state, state.checkpoint(command.checkpoint), shell)
        case _:
            assert_never(command)


QUOTA_TRIES = 3
"""A quota that cannot be had holds nothing up for longer: a session that Kaggle cannot pay for, it declines."""


def read_quota(command: ReadQuota, snapshot: Snapshot, shell: Shell) -> Result:
    """Ask for the week's hours; a missing answer is unknown, not zero. When they are renewed is remembered from earlier."""
    try:
        found = shell.gateway.quota(command.accelerator)
    except (Transient, Refused):
        if snapshot.watch.failures + 1 < QUOTA_TRIES:
            raise
        found = None
    before = snapshot.quota.refreshes_at if snapshot.quota else None
    row = QuotaRow(
        owner=snapshot.state.run.owner,
        accelerator=command.accelerator,
        used_s=found.used_s if found else 0.0,
        reserved_s=found.reserved_s if found else 0.0,
        total_s=found.total_s if found else None,
        refreshes_at=(found.refreshes_at if found else None) or before,
        read_at=shell.clock.now(),
    )
    return Result(quota=row)


# --- push --------------------------------------------------------------------


def push(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: Shell) -> Result:
    """Start the session's kernel unless Kaggle has it already."""
    state = snapshot.state
    adopted = _adopt(session, shell)
    if adopted is not None:
        return Result((adopted,))
    try:
        pushed = shell.gateway.push(_kernel(state, session, pipeline))
    except NoSlot as error:
        watch = _in_line(snapshot, shell, str(error))
        return Result((PushRefused(number=session.number, attempt=session.attempt, reason=str(error)),), watch)
    except OutOfQuota as error:
        until = error.until or _refresh(snapshot, shell)
        refused = PushRefused(number=session.number, attempt=session.attempt, reason=str(error))
        return Result((refused, RunWaiting(until=until.isoformat(), reason=str(error))))
    except Ambiguous as error:
        adopted = _adopt(session, shell)
        if adopted is None:
            raise Transient(f"{error}; Kaggle does not have it yet") from error
        return Result((adopted,))
    return Result((PushConfirmed(number=session.number, attempt=session.attempt, kernel_version=pushed.version),))


def _refresh(snapshot: Snapshot, shell: Shell) -> datetime:
    now = shell.clock.now()
    return refresh_time(snapshot.quota, now) if snapshot.quota else now + timedelta(hours=1)


def _adopt(session: Session, shell: Shell) -> Fact | None:
    """The kernel that an earlier try left, if it was really started: Kaggle keeps the source of a push that it declined."""
    found = shell.gateway.find_kernel(session.slug)
    if found is None:
        return None
    order = build.order_in(found.source)
    if order is None or order.token != session.token:
        raise Permanent(
            f"Kaggle has a kernel {found.ref} that is not this run's: delete it there, then type relay retry {session.run}"
        )
    if not found.private:
        raise Permanent(
            f"the kernel {found.ref} is public: make it private on Kaggle, then type relay retry {session.run}"
        )
    seen = seen_of(session.slug, found.version, shell.gateway)
    if seen.worker is Worker.NEW_SCRIPT:
        return None
    empty = seen.worker is Worker.QUEUED and session.reason  # an answer without content reads so too
    if seen.worker is Worker.UNKNOWN or empty:
        raise Transient(f"Kaggle has {found.ref}, and it is not certain that it is going to run")
    return PushConfirmed(number=session.number, attempt=session.attempt, kernel_version=found.version, adopted=True)


def _kernel(state: RunState, session: Session, pipeline: Pipeline) -> KernelPush:
    datasets, kernels = list(pipeline.inputs.datasets), []
    if pipeline.inputs.files:
        datasets.append(f"{state.run.owner}/{inputs_of(state.run.id)}")
    if session.parent is not None:
        parent = state.checkpoint(session.parent)
        if pipeline.handoff == "kernel-output" and parent.published_at is None:
            kernels.append(f"{state.run.owner}/{state.session(parent.session, parent.attempt).slug}")
        else:
            datasets.append(f"{state.run.owner}/{parent.name}")
    return KernelPush(
        slug=session.slug,
        source=build.script(order_for(state, session, pipeline)),
        machine_shape=pipeline.hardware.promise.machine_shape,
        dataset_sources=tuple(datasets),
        kernel_sources=tuple(kernels),
        model_sources=pipeline.model_sources,
        internet=pipeline.internet,
        timeout_s=int(session.limit_s),
    )


def _later(shell: Shell, why: str) -> Watch:
    """No failure, but no use in asking again at once."""
    return Watch(not_before=shell.clock.now() + timedelta(seconds=shell.limits.retry_s), failure=why)


def _in_line(snapshot: Snapshot, shell: Shell, why: str) -> Watch:
    """Somebody else has the slot: no use in asking again soon, and the place in the line stays."""
    now = shell.clock.now()
    return Watch(
        not_before=now + timedelta(seconds=shell.limits.slot_s),
        failure=why,
        slot_since=snapshot.watch.slot_since or now,
        slot_seen_at=now,
    )


# --- look --------------------------------------------------------------------


def look(snapshot: Snapshot, session: Session, shell: Shell) -> Result:
    """Ask how the session is; take in the part of its log that is new."""
    session, seen = _seen(session, shell)
    if seen.worker is Worker.NEW_SCRIPT:
        raise Vanished(f"Kaggle has {session.slug} and says that it never ran")
    if seen.worker is Worker.UNKNOWN:
        require(session, shell)
        raise Transient(f"Kaggle's answer about {session.slug} made no sense: {seen.message or seen.worker}")
    facts: list[Fact] = []
    if seen.worker is Worker.QUEUED and session.phase is Phase.PUSHED:
        facts.append(SeenQueued(number=session.number, attempt=session.attempt))
    if seen.worker is Worker.RUNNING and session.phase is not Phase.RUNNING:
        facts.append(SeenRunning(number=session.number, attempt=session.attempt))
    if seen.worker.terminal:
        ended = SeenEnded(
            number=session.number, attempt=session.attempt, worker=seen.worker.value, message=seen.message
        )
        return Result((*facts, ended), replace(_WELL, looked_at=shell.clock.now()))
    known = snapshot.watch.log_lines
    lines = taken_in(session, shell) if seen.worker is Worker.RUNNING else ()
    watch = replace(
        _WELL,
        looked_at=shell.clock.now(),
        dataset_looked_at=snapshot.watch.dataset_looked_at,
        log_lines=max(known, len(lines)),
    )
    return Result(tuple(facts), watch, metrics_in(session, lines, known))


def _seen(session: Session, shell: Shell) -> tuple[Session, SessionSeen]:
    """The session and how it is. The answer to a push may name a version that never runs; then we ask without one."""
    seen = shell.gateway.session(session.slug, session.kernel_version)
    if seen.worker is not Worker.NEW_SCRIPT or session.kernel_version is None:
        return session, seen
    return replace(session, kernel_version=None), shell.gateway.session(session.slug, None)


def seen_of(slug: str, version: int | None, gateway: Gateway) -> SessionSeen:
    """How a kernel's session is. A kernel's newest version need not be the one that runs; then we ask without one."""
    seen = gateway.session(slug, version)
    return gateway.session(slug, None) if seen.worker is Worker.NEW_SCRIPT and version is not None else seen


_WELL = Watch()


def require(session: Session, shell: Shell) -> None:
    """Raise Vanished where Kaggle has no kernel of the session's name."""
    if shell.gateway.find_kernel(session.slug) is None:
        raise Vanished(f"Kaggle has no kernel {session.slug} any more")


def taken_in(session: Session, shell: Shell) -> tuple[LogLine, ...]:
    """The log as Kaggle shows it now, added to the file on this disk; a log that cannot be had holds nothing up."""
    try:
        lines = shell.gateway.log(session.slug, session.kernel_version)
    except (Transient, Refused):
        return ()
    shell.home.append_log(session, lines)
    return lines


def metrics_in(session: Session, lines: tuple[LogLine, ...], known: int = 0) -> tuple[Metric, ...]:
    """The values in a log's lines from number `known` on."""
    found = []
    for line in lines:
        event = Progress.from_line(line.text) if line.number >= known else None
        if event is None or event.event != "step":
            continue
        for name, value in sorted((event.metrics or {"done": float(event.step)}).items()):
            found.append(
                Metric(
                    run=session.run,
                    session=session.number,
                    attempt=session.attempt,
                    number=event.number,
                    stage=event.stage,
                    step=event.step,
                    name=name,
                    value=value,
                    at_s=event.at_s,
                )
            )
    return tuple(found)


# --- collect -----------------------------------------------------------------


def collected(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: Shell) -> Result:
    """Bring the rest of the log, the report and the newest checkpoint home, and say how the session ended."""
    session, _ = _seen(session, shell)
    lines = taken_in(session, shell)
    quarantine = Quarantine(shell.home, session.run, shell.clock.now())
    try:
        fact = collect(snapshot.state, session, pipeline, shell.gateway, shell.home, quarantine)
    except Refused:
        require(session, shell)
        raise
    return Result((*quarantine.found, fact), _WELL, metrics_in(session, lines, snapshot.watch.log_lines))


# --- publish -----------------------------------------------------------------


def publish(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: Shell) -> Result:
    """Make the checkpoint's dataset unless it exists; it counts once Kaggle lists every file with its size.

    Nothing is uploaded that is not, byte for byte, what was collected: a damaged copy is mended from Kaggle or given up.
    """
    custody = custody_of(snapshot.state, session, shell)
    checkpoint, found = custody.checkpoint, custody.quarantine.found
    seen = shell.gateway.find_dataset(checkpoint.name)
    if seen is None and (lost := custody.mend()):
        return Result((*found, custody.damaged(lost, pipeline)), _dataset_seen(snapshot, shell))
    ready = offered(checkpoint.name, seen, published_files(checkpoint, shell.home), session.run, shell)
    if ready is None or lacking(checkpoint, ready):
        return Result(tuple(found), _dataset_seen(snapshot, shell))
    if damage := listed_damage(checkpoint, ready):
        for file, problem in damage.items():
            custody.quarantine.note(checkpoint.name, file, "dataset", problem)
        shell.gateway.delete_dataset(checkpoint.name)
        return Result(tuple(found), _later(shell, f"the dataset {checkpoint.name} is damaged and uploaded again"))
    fact = CheckpointPublished(number=session.number, attempt=session.attempt)
    return Result((*found, fact), _dataset_seen(snapshot, shell))


def custody_of(state: RunState, session: Session, shell: Shell) -> Custody:
    """What it takes to look after the checkpoint of a session."""
    assert session.checkpoint is not None, f"{session.slug} has no checkpoint"
    quarantine = Quarantine(shell.home, session.run, shell.clock.now())
    return Custody(state.checkpoint(session.checkpoint), session, shell.gateway, shell.home, quarantine)


def inspect(state: RunState, session: Session, pipeline: Pipeline, shell: Shell) -> Result:
    """See whether the checkpoint's dataset is what it should be, since a session says that it is not."""
    custody = custody_of(state, session, shell)
    fact = custody.inspect(pipeline)
    return Result((*custody.quarantine.found, fact))


def publish_inputs(snapshot: Snapshot, pipeline: Pipeline, shell: Shell) -> Result:
    """Make the dataset of the pipeline's own files unless it exists."""
    run = snapshot.state.run.id
    files = [shell.home.inputs(run) / Path(name).name for name in pipeline.inputs.files]
    ready = offered(inputs_of(run), shell.gateway.find_dataset(inputs_of(run)), files, run, shell)
    wanted = {path.name: path.stat().st_size for path in files}
    listed = {file.name: file.size_bytes for file in ready.files} if ready else {}
    return Result((InputsPublished(),) if listed == wanted else (), _dataset_seen(snapshot, shell))


def _dataset_seen(snapshot: Snapshot, shell: Shell) -> Watch:
    return replace(_WELL, looked_at=snapshot.watch.looked_at, dataset_looked_at=shell.clock.now())


def offered(name: str, seen: DatasetSeen | None, files: Sequence[Path], run: str, shell: Shell) -> DatasetSeen | None:
    """The dataset, once Kaggle has processed it; it is made where it does not exist. READY alone is no evidence of its files.

    Raises Permanent where it is public.
    """
    if seen is None:
        shell.gateway.create_dataset(name, files)
        return None
    if seen.status == "failed":
        shell.gateway.delete_dataset(name)
        raise Transient(f"Kaggle could not process the dataset {name}; it is uploaded again")
    if seen.status != "ready":
        return None
    refuse_public(seen, run)
    return seen


def published_files(checkpoint: Checkpoint, home: Home) -> list[Path]:
    """The manifest and every file that it names, on this disk; compiled programs that arrived damaged are not."""
    folder = home.checkpoint(checkpoint.run, checkpoint.name)
    manifest = Manifest.from_json(checkpoint.manifest)
    paths = [folder / entry.path for entry in manifest.files]
    return [folder / MANIFEST_NAME, *(path for path in paths if path.name != COMPILED_NAME or path.exists())]


def prune(state: RunState, checkpoint: Checkpoint, shell: Shell) -> Result:
    """Remove an old checkpoint on Kaggle, then here."""
    shell.gateway.delete_dataset(checkpoint.name)
    shell.home.remove_checkpoint(state.run.id, checkpoint.name)
    return Result((CheckpointPruned(checkpoint=checkpoint.name),))
