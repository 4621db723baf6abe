"""Runs as a database and a home folder hold them, made of facts in a moment: what the pages' tests look at."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.base.disk import private_folder
from orchestrator.core.plan import checkpoint_of, slug_of
from orchestrator.engine.home import HomeLayout
from orchestrator.pipeline import loader
from orchestrator.pipeline.model import Pipeline
from stages.contract import REPORT_NAME, Cursor, FileEntry, Manifest, Report
from state.facts.base import Fact
from state.facts.checkpoint import CheckpointPublished, PublishIntended
from state.facts.run import RunFinished, RunStarted
from state.facts.session import (
    Judgement,
    NothingCollected,
    OutputCollected,
    PushConfirmed,
    PushIntended,
    SeenEnded,
    SeenQueued,
    SeenRunning,
    SessionPlanned,
)
from state.model.metrics import Metric
from state.store import Store

ROOT = Path(__file__).parents[2]
AT = datetime(2030, 1, 7, tzinfo=UTC)
TINY = loader.load(ROOT / "examples" / "tiny.yaml")
VERSIONS = {"jax": "0.10.2", "python": "3.11.7"}
EVIL = "</script><script>window.hacked = true</script><img src=x onerror='window.hacked = true'>"


@dataclass
class Told:
    """A run that is made up as it is told; `now` goes on with what happens."""

    run: str = "tiny-0001"
    pipeline: Pipeline = TINY
    now: datetime = AT
    past: list[tuple[datetime, Fact]] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    reports: list[tuple[str, Report]] = field(default_factory=list)
    artifacts: dict[str, str] = field(default_factory=dict)
    parent: Manifest | None = None
    sessions: int = 0

    def happen(self, *facts: Fact, after_s: float = 0.0) -> None:
        """Something happened so many seconds later."""
        self.now += timedelta(seconds=after_s)
        self.past += [(self.now, fact) for fact in facts]

    def session(
        self, to: int, *, lasts_s: float = 100.0, first_s: float = 20.0, last_s: float = 90.0, lost: int = 0
    ) -> None:
        """A session that reaches a position of the pipeline and publishes its checkpoint."""
        begin = self._begun(lasts_s=lasts_s)
        cursor = self.cursor(to)
        self._steps(begin, to + lost, first_s, last_s)
        manifest = self._manifest(cursor)
        outcome = "finished" if to == self.pipeline.total_steps else "yielded"
        judged = Judgement(outcome=outcome, furthest=self.cursor(to + lost), steps_lost=lost)
        self._report(outcome, cursor)
        name, key = checkpoint_of(self.run, self.sessions, 1), self.key
        self.happen(SeenEnded(**key, worker="complete", message=""), after_s=lasts_s)
        self.happen(OutputCollected(**key, judgement=judged, checkpoint=name, manifest=manifest), after_s=10)
        self.happen(PublishIntended(**key))
        self.happen(CheckpointPublished(**key), after_s=20)
        self.parent = manifest

    def failure(self, excerpt: str, cause: str = "bad-data") -> None:
        """A session that leaves nothing."""
        self._begun(lasts_s=30.0)
        self.happen(SeenEnded(**self.key, worker="error", message=""), after_s=30)
        judged = Judgement(outcome="failed", cause=cause, reason="it broke", excerpt=excerpt)
        self.happen(NothingCollected(**self.key, judgement=judged), after_s=5)

    def running(self) -> None:
        """A session that runs and has not told of a step."""
        self._begun(lasts_s=100.0)

    @property
    def key(self) -> dict[str, int]:
        """The newest session's."""
        return {"number": self.sessions, "attempt": 1}

    def cursor(self, position: int) -> Cursor:
        """So many steps after the pipeline's beginning."""
        for stage in self.pipeline.stages:
            if position <= stage.steps:
                return Cursor(stage=stage.name, step=position)
            position -= stage.steps
        raise AssertionError("beyond the end")

    def started(self) -> RunStarted:
        """The run's first fact."""
        return RunStarted(
            run=self.run,
            pipeline_name=self.pipeline.name,
            owner="me",
            accelerator=self.pipeline.slot,
            pipeline=self.pipeline.canonical(),
            pipeline_path="tiny.yaml",
            pipeline_digest=self.pipeline.digest,
        )

    def keep(self, home: Path) -> Store:
        """Write it all into a home folder, as relay itself would have."""
        store, place = Store.at(home), HomeLayout(home)
        state = store.begin_run(self.started(), AT, later=self.past, metrics=self.metrics)
        for slug, report in self.reports:
            session = next(session for session in state.sessions if session.slug == slug)
            owned = replace(report, token=session.token)
            (private_folder(place.incoming(session)) / REPORT_NAME).write_text(owned.to_json(), encoding="utf-8")
        for stage, text in self.artifacts.items():
            path = private_folder(place.artifacts(self.run)) / f"transcripts-{stage}.jsonl"
            path.write_text(text, encoding="utf-8")
        return store

    # --- underneath ---------------------------------------------------------------

    def _begun(self, lasts_s: float) -> int:
        self.sessions += 1
        begin = 0 if self.parent is None else self.pipeline.position(self.parent.cursor)
        planned = SessionPlanned(
            **self.key,
            slug=slug_of(self.run, self.sessions, 1),
            token=f"t{self.sessions}",
            start=self.cursor(begin) if begin else self.pipeline.beginning,
            parent=checkpoint_of(self.run, self.parent.session, 1) if self.parent else None,
            budget_s=lasts_s * 0.9,
            limit_s=lasts_s,
        )
        self.happen(planned, PushIntended(**self.key))
        self.happen(PushConfirmed(**self.key, kernel_version=1), after_s=2)
        self.happen(SeenQueued(**self.key))
        self.happen(SeenRunning(**self.key), after_s=30)
        return begin

    def _steps(self, begin: int, end: int, first_s: float, last_s: float) -> None:
        count = max(1, end - begin)
        for number, position in enumerate(range(begin + 1, end + 1)):
            cursor = self.cursor(position)
            at_s = first_s + (last_s - first_s) * number / max(1, count - 1)
            kind = next(stage.kind for stage in self.pipeline.stages if stage.name == cursor.stage)
            for name, value in values_of(kind, position).items():
                self.metrics.append(
                    Metric(
                        run=self.run,
                        session=self.sessions,
                        attempt=1,
                        number=number,
                        stage=cursor.stage,
                        step=cursor.step,
                        name=name,
                        value=value,
                        at_s=at_s,
                    )
                )

    def _manifest(self, cursor: Cursor) -> Manifest:
        return Manifest(
            run=self.run,
            session=self.sessions,
            attempt=1,
            token=f"t{self.sessions}",
            cursor=cursor,
            parent=self.parent.digest if self.parent else None,
            files=(FileEntry(path="state.bin", size_bytes=1000 + self.sessions, sha256="0" * 64),),
        )

    def _report(self, outcome: str, reached: Cursor) -> None:
        report = Report(
            run=self.run,
            session=self.sessions,
            attempt=1,
            token="",
            outcome=outcome,
            started=self.pipeline.beginning,
            reached=reached,
            timings={"save_s": 4.0},
            versions=VERSIONS,
        )
        self.reports.append((slug_of(self.run, self.sessions, 1), report))


def values_of(kind: str, position: int) -> dict[str, float]:
    """What a step of a stage measures, more or less."""
    share = min(1.0, position / 470)
    seen = {
        "tokens": 5_120.0,
        "examples": 64.0,
        "tokens_per_s": 1_234.5,
        "examples_per_s": 9.5,
        "memory_bytes": 12.5 * 2**30,
    }
    if kind == "sft":
        return {"loss": 6 / position, "grad_norm": 1 + share, "learning_rate": 3e-5 * (1 - share), **seen}
    answers = {"mean_length": 150 + 50 * share, "max_length": 539.0, "truncated_share": 0.1 * (1 - share)}
    if kind == "evaluate":
        reach = {"accuracy_low": share * 0.9, "accuracy_high": min(1.0, share * 1.1)}
        return {"accuracy": share, **reach, "format": 0.98, "asked": 64.0, **answers, **seen}
    learnt = {"kl": 0.02, "grad_norm": 0.3, "learning_rate": 3e-6 * (1 - share), "idle_groups": 0.25, "logprob": -0.7}
    return {"loss": 0.01 * share, "reward": 1 + share, "accuracy": share, "format": 0.95, **learnt, **answers, **seen}


def row(key: str, right: bool, **changes: Any) -> dict[str, Any]:
    """An answer of an evaluation's artifact."""
    usual = {
        "key": key,
        "set": "gsm8k",
        "hard": False,
        "format": True,
        "right": right,
        "cut": False,
        "question": f"What is {key} + 1?",
        "answer": f"<answer>{key}</answer>",
        "wanted": "2",
        "disagree": {},
    }
    return {**usual, **changes}


def artifact(rows: Sequence[dict[str, Any]]) -> str:
    """An evaluation's artifact."""
    return "".join(json.dumps(line) + "\n" for line in [{"accuracy": 0.5}, *rows])


def trained(sessions: int = 6) -> Told:
    """A run that came to its end, with transcripts of its first and its last evaluation, one of them hostile."""
    told = Told()
    total = told.pipeline.total_steps
    for number in range(1, sessions + 1):
        told.session(total * number // sessions, lost=3 if 1 < number == sessions - 1 else 0)
    told.happen(RunFinished(), after_s=5)
    told.artifacts = {
        "after-sft": artifact([row("1", False, answer=EVIL), row("2", True), row("3", False)]),
        "after-continued": artifact([row("1", True, question=EVIL), row("2", True), row("4", False)]),
    }
    return told
