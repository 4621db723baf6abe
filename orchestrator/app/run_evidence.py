"""Keeps what ordinary runs show of Kaggle as evidence of their account, while the daemon carries them out."""

from collections.abc import Callable
from itertools import islice

from orchestrator.app import evidence as kept_evidence
from orchestrator.app.workspace import Workspace
from orchestrator.base.errors import RelayError
from orchestrator.core.run_evidence import RunNews, evidence_after, evidence_of_quota, news_only
from orchestrator.engine.home import log_lines
from orchestrator.engine.tick import TickResult
from state.facts.checkpoint import CheckpointPublished, DatasetDropped
from state.facts.run import RunFinished, RunParked
from state.facts.session import NothingCollected, OutputCollected, PushConfirmed, PushRefused
from state.failures import StoreUnavailable

LOG_LINES_READ = 400
"""Number of a log's first lines that are read: they say what was installed and mounted, and often the first save."""
TELLING = (
    OutputCollected,
    NothingCollected,
    CheckpointPublished,
    DatasetDropped,
    PushConfirmed,
    PushRefused,
    RunFinished,
    RunParked,
)
"""Facts that may show whether an assumption holds."""


def keep_of_tick(workspace: Workspace, run: str, tick: TickResult) -> None:
    """Keep what a tick has shown, at the endpoint that this process calls.

    Raises RelayError if the disk refuses or the account's evidence is damaged; the run is not affected.
    """
    telling = [fact for fact in tick.facts if isinstance(fact, TELLING)]
    if not telling and tick.quota is None:
        return
    state, facts = workspace.store.load_with_facts(run)
    collected = [fact for fact in telling if isinstance(fact, OutputCollected | NothingCollected)]
    logs = {}
    for fact in collected:
        session = state.session(fact.number, fact.attempt)
        logs[session.key] = list(islice(log_lines(workspace.home.log(session)), LOG_LINES_READ))
    found = evidence_after(RunNews(state=state, facts=facts, new=tick.facts, logs=logs)) if telling else []
    if tick.quota is not None:
        found += evidence_of_quota(tick.quota, tick.quota.read_at)
    if fresh := news_only(found, kept_evidence.own(workspace, state.run.owner)) if found else []:
        kept_evidence.add(workspace, state.run.owner, fresh)


class KeepsEvidence:
    """Keeps the evidence of every tick, and reports the first failure to do so: no run depends on it."""

    def __init__(self, workspace: Workspace, notice: Callable[[str], None]) -> None:
        self._workspace, self._notice = workspace, notice
        self._failure = ""

    def __call__(self, run: str, tick: TickResult) -> None:
        """Keep what a tick has shown."""
        try:
            keep_of_tick(self._workspace, run, tick)
        except (RelayError, StoreUnavailable) as error:
            if str(error) != self._failure:
                self._failure = str(error)
                self._notice(f"what runs show of Kaggle is not kept as evidence: {error}")
