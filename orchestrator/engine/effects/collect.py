"""Collects an ended session: the rest of its log, and everything that it left."""

from dataclasses import replace

from orchestrator.base.errors import Refused
from orchestrator.core.plan import checkpoint_of
from orchestrator.engine.collecting.collect import collect_output
from orchestrator.engine.collecting.download import ignored
from orchestrator.engine.effects.context import WELL, EffectContext, EffectResult
from orchestrator.engine.effects.eager_upload import EagerUpload
from orchestrator.engine.effects.session_log import read_log
from orchestrator.engine.effects.session_status import require, seen_of
from orchestrator.engine.quarantine import Quarantine
from orchestrator.pipeline.model import Pipeline
from state.facts.session import OutputCollected
from state.model.run_state import Session
from state.model.snapshot import Snapshot

EMPTY_TRIES = 3
"""Number of attempts before relay accepts an empty listing of a session's output.

An empty response also parses as an empty listing, and accepting it would discard the session's work. The same number
applies to a log that this disk cannot read, which tells how far the session came.
"""


def collect(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """Fetch the rest of the log, the report and the newest checkpoint, and judge how the session ended."""
    version, _ = seen_of(session.slug, session.kernel_version, shell.gateway)
    session = replace(session, kernel_version=version)
    last_try = snapshot.watch.failures + 1 >= EMPTY_TRIES
    log = read_log(session, shell, snapshot.watch.log_lines, needed=not last_try)
    began_s = shell.clock.monotonic()
    quarantine = Quarantine(shell.home, session.run, shell.clock.now())
    uploader = EagerUpload(checkpoint_of(session.run, session.number, session.attempt), shell.gateway, shell.clock)
    try:
        fact = collect_output(
            snapshot.state,
            session,
            pipeline,
            shell.gateway,
            quarantine,
            believe_empty=last_try,
            verified=uploader.send if pipeline.handoff == "dataset" else ignored,
        )
    except Refused:
        require(session, shell)
        raise
    took_s = shell.clock.monotonic() - began_s
    if isinstance(fact, OutputCollected):
        fact = replace(fact, sent_s=uploader.sent_s)
    fact = replace(fact, fetched_s=took_s - uploader.sent_s)
    return EffectResult((*quarantine.found, fact), WELL, tuple(log.metrics))
