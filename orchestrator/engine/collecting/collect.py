"""The steps that collect an ended session, in order."""

from orchestrator.core.plan import checkpoint_of
from orchestrator.engine.collecting.download import Verified, fetch_newest, ignored
from orchestrator.engine.collecting.extras import fetch_curves, keep_artifacts
from orchestrator.engine.collecting.files import list_files
from orchestrator.engine.collecting.judgement import concluded
from orchestrator.engine.collecting.manifests import candidates
from orchestrator.engine.collecting.report import report_of
from orchestrator.engine.quarantine import Quarantine
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.port import Platform
from stages.contract import BLOB_NAME
from state.facts.session import NothingCollected, OutputCollected
from state.model.run_state import RunState, Session


def collect_output(
    state: RunState,
    session: Session,
    pipeline: Pipeline,
    gateway: Platform,
    quarantine: Quarantine,
    *,
    believe_empty: bool = True,
    verified: Verified = ignored,
) -> OutputCollected | NothingCollected:
    """Fetch what the session left. Safe to repeat: intact files are kept, and nothing on Kaggle changes.

    `verified` is called for each file of a checkpoint as soon as it is fetched and verified, while others are still
    being fetched.

    Raises Transient if Kaggle cannot be reached, or lists nothing and `believe_empty` is False; DiskRefused if this
    disk is full. A checkpoint that does not verify is quarantined and fetched once more; then the session's newest
    older one that verifies is used.
    """
    home = quarantine.home
    into = home.checkpoint(session.run, checkpoint_of(session.run, session.number, session.attempt))
    files = list_files(session, gateway, quarantine, believe_empty=believe_empty)
    report = report_of(session, files)
    found = list(candidates(state, session, pipeline, files))
    taken = fetch_newest(session, pipeline, found, files, into, verified)
    if taken is not None:
        keep_artifacts(into / BLOB_NAME, home.artifacts(session.run))
    fetch_curves(files, home.curves(session.run))
    return concluded(session, pipeline, report, home, taken)
