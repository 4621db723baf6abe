"""Create home folders that look as if relay had worked in them for weeks, for benchmarks of commands and pages."""

import functools
import hashlib
import math
from collections.abc import Iterator
from datetime import datetime, timedelta

from orchestrator.pipeline.loader import parse
from orchestrator.pipeline.model import Pipeline
from stages.contract import Cursor, FileEntry, Manifest
from state.facts.base import Fact
from state.facts.checkpoint import CheckpointPublished, PublishIntended
from state.facts.run import RunFinished, RunStarted
from state.facts.session import (
    Judgement,
    OutputCollected,
    PushConfirmed,
    PushIntended,
    SeenEnded,
    SeenRunning,
    SessionPlanned,
)
from state.model.metrics import Metric
from state.store import Store

SESSION = timedelta(hours=9)
BETWEEN = timedelta(minutes=20)
TRANSFER = timedelta(minutes=2)
CYCLE = BETWEEN + SESSION + 2 * TRANSFER
"""Time from planning one session to planning the next."""
STEPS_A_SESSION = 400
SIZE_BYTES = 300 * 2**20


def pipeline_of(name: str, sessions: int, slots: int = 1) -> Pipeline:
    """Return a pipeline with one stage of `sessions` sessions with STEPS_A_SESSION steps each."""
    stage = f"{{name: count, kind: counting, steps: {sessions * STEPS_A_SESSION}}}"
    return parse(f"{{name: {name}, accelerator: TpuV5E8, account: {{slots: {slots}}}, stages: [{stage}]}}", name)


def finished_run(store: Store, run: str, sessions: int, begin: datetime, metrics_a_session: int = 100) -> None:
    """Write a finished run of `sessions` full sessions, with its checkpoints and metrics."""
    later = [fact for number in range(1, sessions + 1) for fact in _session(run, number, sessions, begin)]
    later.append((_begin_of(sessions + 1, begin), RunFinished()))
    started = _started(run, pipeline_of(run.rpartition("-")[0], sessions))
    store.begin_run(started, begin, later=later, metrics=_metrics(run, sessions, metrics_a_session))


def live_run(
    store: Store, run: str, sessions: int, since: datetime, metrics_a_session: int = 100, slots: int = 1
) -> str:
    """Write a run of `sessions` full sessions plus one running since `since`. Return the slug of the latter."""
    begin = since - BETWEEN - sessions * CYCLE
    later = [fact for number in range(1, sessions + 1) for fact in _session(run, number, sessions + 1, begin)]
    later += _session(run, sessions + 1, sessions + 1, begin)[:4]
    started = _started(run, pipeline_of(run.rpartition("-")[0], sessions + 1, slots))
    store.begin_run(started, begin, later=later, metrics=_metrics(run, sessions, metrics_a_session))
    return f"{run}-s{sessions + 1:04d}"


def _started(run: str, pipeline: Pipeline) -> RunStarted:
    return RunStarted(
        run=run,
        pipeline_name=pipeline.name,
        owner="me",
        accelerator="tpu",
        pipeline=pipeline.canonical(),
        pipeline_path=f"{pipeline.name}.yaml",
        pipeline_digest=pipeline.digest,
    )


def _begin_of(number: int, begin: datetime) -> datetime:
    """Return the time at which a session of a run that began at `begin` is planned."""
    return begin + (number - 1) * CYCLE


def _session(run: str, number: int, sessions: int, begin: datetime) -> list[tuple[datetime, Fact]]:
    """Return the facts of one session; the first four are those of a session that still runs."""
    at, key = _begin_of(number, begin), {"number": number, "attempt": 1}
    parent = _manifest(run, number - 1) if number > 1 else None
    manifest, end = _manifest(run, number), at + BETWEEN + SESSION
    planned = SessionPlanned(
        **key,
        slug=f"{run}-s{number:04d}",
        token=f"{number:024d}",
        start=Cursor(stage="count", step=(number - 1) * STEPS_A_SESSION),
        parent=f"{run}-c{number - 1:04d}" if parent else None,
        budget_s=SESSION.total_seconds() - 300,
        limit_s=SESSION.total_seconds(),
    )
    judgement = Judgement(outcome="finished" if number == sessions else "yielded", furthest=manifest.cursor)
    collected = OutputCollected(**key, judgement=judgement, checkpoint=f"{run}-c{number:04d}", manifest=manifest)
    return [
        (at, planned),
        (at, PushIntended(**key)),
        (at, PushConfirmed(**key, kernel_version=1)),
        (at + BETWEEN, SeenRunning(**key)),
        (end, SeenEnded(**key, worker="complete", message="")),
        (end + TRANSFER, collected),
        (end + TRANSFER, PublishIntended(**key)),
        (end + 2 * TRANSFER, CheckpointPublished(**key)),
    ]


@functools.cache
def _manifest(run: str, number: int) -> Manifest:
    sha256 = hashlib.sha256(f"{run} {number}".encode()).hexdigest()
    return Manifest(
        run=run,
        session=number,
        attempt=1,
        token=f"{number:024d}",
        cursor=Cursor(stage="count", step=number * STEPS_A_SESSION),
        parent=_manifest(run, number - 1).digest if number > 1 else None,
        files=(FileEntry(path="state.bin", size_bytes=SIZE_BYTES, sha256=sha256),),
        digests={"weights": sha256},
    )


def _metrics(run: str, sessions: int, count: int) -> Iterator[Metric]:
    for session in range(1, sessions + 1):
        for number in range(count):
            step = (session - 1) * STEPS_A_SESSION + (number + 1) * STEPS_A_SESSION // count
            share = step / (sessions * STEPS_A_SESSION)
            for name, value in (("loss", 2.0 * math.exp(-3 * share)), ("reward", 1.0 - math.exp(-2 * share))):
                yield Metric(
                    run=run,
                    session=session,
                    attempt=1,
                    number=number,
                    stage="count",
                    step=step,
                    name=name,
                    value=value,
                    at_s=SESSION.total_seconds() * (number + 1) / count,
                )
