"""Begins or joins the runs of `relay probe`, follows them, and keeps what they saw as evidence of the account."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path

from orchestrator.app import evidence as kept_evidence
from orchestrator.app.app import SETTLED, App
from orchestrator.app.probe import account
from orchestrator.app.probe.derived import machine_pipeline, measuring_pipeline
from orchestrator.app.probe.names_and_versions import publish_versions, try_deleted_name, untried, versioned_source
from orchestrator.app.probe.trial import publish_trial, trial_dataset
from orchestrator.core.assumptions import Evidence, Verdict
from orchestrator.core.probe_evidence import ProbedRun, evidence, evidence_of, refuses_version
from orchestrator.engine.home import log_lines
from orchestrator.pipeline.model import Pipeline
from stages.contract import PROBE
from stages.documents import ContractError
from stages.probing.findings import ProbeReport
from state.model.run_state import Run
from state.model.statuses import RunStatus

FRESH = timedelta(days=14)
"""Age below which a finished probe of the same pipeline is not repeated."""
WATCH_S = 2.0
"""Seconds between two looks at a run that another process carries out."""
LOG_LINES_READ = 400


@dataclass(frozen=True)
class ProbeBegun:
    """Run of a probe: a new one, one that was open, or one that is fresh."""

    run: Run
    is_new: bool


def begin_machine(app: App, trained: Pipeline, path: Path, say: Callable[[str], None], *, again: bool) -> ProbeBegun:
    """Begin the CPU probe of a pipeline, unless one is open or fresh.

    Models that this account may not read are left out, and kept as evidence. Raises BadInput, with nothing begun.
    """
    owner = app.gateway.owner()
    denied = account.denied_models(app.gateway, trained.model_sources)
    trial = trial_dataset(owner)
    models = [] if denied else trained.model_sources
    with_version, without = (
        machine_pipeline(trained, path, trial.ref, trial.sha256, models, versions)
        for versions in (versioned_source(owner), None)
    )
    keep(app, owner, account.evidence_of_denied(denied, app.clock.now()))
    known = _known(app, with_version, again=again)
    refused = known is not None and goes_on_without_version(app, known.id)
    found = (None if refused else known) or _known(app, without, again=again)
    if found is not None:
        return ProbeBegun(found, is_new=False)
    app.refuse_lost(path, with_version)
    mounts_version = _publish_trials(app, owner, say) and not refused
    return ProbeBegun(app.begin(with_version if mounts_version else without, path, new=again), is_new=True)


def _publish_trials(app: App, owner: str, say: Callable[[str], None]) -> bool:
    """Upload what the sessions mount, and keep what is seen of it; returns whether a dataset with versions is there."""
    keep(app, owner, publish_trial(app.gateway, app.clock, say))
    if untried(kept_evidence.own(app, owner)):
        keep(app, owner, try_deleted_name(app.gateway, app.clock, say))
    problem = publish_versions(app.gateway, app.clock, say)
    if problem:
        keep(app, owner, [evidence("dataset-version-mounts", Verdict.UNKNOWN, app.clock.now(), problem, {})])
    return not problem


def goes_on_without_version(app: App, run: str) -> bool:
    """Return True if a probe was parked over its source with a version: the next one begins without that source."""
    return refuses_version(app.store.load(run))


def known_measuring(app: App, trained: Pipeline, path: Path, *, again: bool) -> Run | None:
    """Return the open or fresh run that measures the pipeline, or None if a new one would be begun."""
    return _known(app, measuring_pipeline(trained, path), again=again)


def begin_measuring(app: App, trained: Pipeline, path: Path, *, again: bool) -> ProbeBegun:
    """Begin the run that measures a pipeline on its accelerator, unless one is open or fresh. It costs quota."""
    if (known := known_measuring(app, trained, path, again=again)) is not None:
        return ProbeBegun(known, is_new=False)
    return ProbeBegun(app.begin(measuring_pipeline(trained, path), path, new=again), is_new=True)


def _known(app: App, pipeline: Pipeline, *, again: bool) -> Run | None:
    """Return the account's newest run of a probe that is open, or, unless `again`, finished a short time ago."""
    if not app.has_store:
        return None
    owner = app.gateway.owner()
    runs = [app.store.load(run).run for run, name in app.store.run_names() if name == pipeline.name]
    for run in reversed([run for run in runs if run.owner == owner]):
        if run.status in (RunStatus.ACTIVE, RunStatus.WAITING) or (run.status is RunStatus.PARKED and not again):
            return run
        ended_at = app.store.facts(run.id)[-1][0]
        if run.status is RunStatus.FINISHED and not again and app.clock.now() - ended_at < FRESH:
            return run
    return None


def follow(app: App, run: str, carry_out: Callable[[Callable[[], bool]], None]) -> bool:
    """Wait until a run is settled; returns False if the user ended the waiting before.

    `carry_out` runs a daemon until its argument returns True. It is not called while another daemon works here.
    """

    def settled() -> bool:
        return app.store.load(run).run.status in SETTLED

    while not settled() and not app.stop.is_set():
        if app.working_daemon():
            app.clock.sleep(WATCH_S)
        else:
            carry_out(settled)
    return settled()


def probed(app: App, run: str) -> ProbedRun:
    """Return everything that is known of a probe's run."""
    state, facts = app.reader.load_with_facts(run)
    logs = {session.key: list(islice(log_lines(app.home.log(session)), LOG_LINES_READ)) for session in state.sessions}
    return ProbedRun(state=state, facts=facts, report=_report(app.home.artifacts(run) / PROBE), logs=logs)


def _report(path: Path) -> ProbeReport:
    """Read the artifact; an empty report if no session has left a readable one."""
    try:
        return ProbeReport.from_json(path.read_bytes())
    except (OSError, ContractError):
        return ProbeReport()


def keep_of_run(app: App, run: ProbedRun, *, of_account: bool) -> None:
    """Keep what a settled run saw as evidence of its account, once.

    `of_account`: with what the account's quota and lists show now, if its credentials are still the ones in use.
    """
    owner, found = run.state.run.owner, evidence_of(run)
    known = kept_evidence.own(app, owner)
    if not any(seen in known for seen in found):
        asked = of_account and app.gateway.owner() == owner
        keep(app, owner, [*found, *(account.evidence_of_account(app.gateway, run) if asked else ())])


def keep(app: App, owner: str, found: Sequence[Evidence]) -> None:
    """Keep evidence of an account."""
    if found:
        kept_evidence.add(app, owner, found)
