"""Home folders that look as if relay had worked in them for weeks: what the measurements of commands and pages stand on."""

import hashlib
import math
from collections.abc import Iterator
from datetime import datetime, timedelta

from orchestrator.pipeline import Pipeline
from orchestrator.pipeline_file import parse
from stages.contract import Cursor, FileEntry, Manifest
from state import facts
from state.facts import Fact, Judgement, RunStarted
from state.model import Metric
from state.store import Store

SESSION = timedelta(hours=9)
BETWEEN = timedelta(minutes=20)
TRANSFER = timedelta(minutes=2)
STEPS_A_SESSION = 400
SIZE_BYTES = 300 * 2**20


def pipeline_of(name: str, sessions: int) -> Pipeline:
    """A stage that takes so many sessions of `STEPS_A_SESSION` steps each."""
    stage = f"{{name: count, kind: counting, steps: {sessions * STEPS_A_SESSION}}}"
    return parse(f"{{name: {name}, accelerator: TpuV5E8, stages: [{stage}]}}", name)


def finished_run(store: Store, run: str, sessions: int, begin: datetime, metrics_a_session: int = 100) -> None:
    """Write a run of so many full sessions that has finished, with its checkpoints and its curves."""
    pipeline = pipeline_of(run.rpartition("-")[0], sessions)
    started = RunStarted(
        run=run,
        pipeline_name=pipeline.name,
        owner="me",
        accelerator="tpu",
        pipeline=pipeline.canonical(),
        pipeline_path=f"{pipeline.name}.yaml",
        pipeline_digest=pipeline.digest,
    )
    later = list(_history(run, sessions, begin))
    store.begin_run(started, begin, later=later, metrics=_metrics(run, sessions, metrics_a_session))


def _history(run: str, sessions: int, at: datetime) -> Iterator[tuple[datetime, Fact]]:
    parent: tuple[str, str] | None = None
    for number in range(1, sessions + 1):
        key = {"number": number, "attempt": 1}
        manifest = _manifest(run, number, parent[1] if parent else None)
        name = f"{run}-c{number:04d}"
        begin = Cursor(stage="count", step=(number - 1) * STEPS_A_SESSION)
        outcome = "finished" if number == sessions else "yielded"
        end = at + BETWEEN + SESSION
        planned = facts.SessionPlanned(
            **key,
            slug=f"{run}-s{number:04d}",
            token=f"{number:024d}",
            start=begin,
            parent=parent[0] if parent else None,
            budget_s=SESSION.total_seconds() - 300,
            limit_s=SESSION.total_seconds(),
        )
        judgement = Judgement(outcome=outcome, furthest=manifest.cursor)
        yield at, planned
        yield at, facts.PushIntended(**key)
        yield at, facts.PushConfirmed(**key, kernel_version=1)
        yield at + BETWEEN, facts.SeenRunning(**key)
        yield end, facts.SeenEnded(**key, worker="complete", message="")
        collected = facts.OutputCollected(**key, judgement=judgement, checkpoint=name, manifest=manifest)
        yield end + TRANSFER, collected
        yield end + TRANSFER, facts.PublishIntended(**key)
        at = end + 2 * TRANSFER
        yield at, facts.CheckpointPublished(**key)
        parent = (name, manifest.digest)
    yield at, facts.RunFinished()


def _manifest(run: str, number: int, parent: str | None) -> Manifest:
    sha256 = hashlib.sha256(f"{run} {number}".encode()).hexdigest()
    return Manifest(
        run=run,
        session=number,
        attempt=1,
        token=f"{number:024d}",
        cursor=Cursor(stage="count", step=number * STEPS_A_SESSION),
        parent=parent,
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
