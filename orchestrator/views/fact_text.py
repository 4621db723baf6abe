"""Sentences for facts, as the daemon prints them."""

from datetime import datetime

from orchestrator.base.humanize import counted, duration, utc_time
from orchestrator.engine.tick import TickResult
from orchestrator.platforms.names import KAGGLE
from stages.contract import Cursor
from state.facts.base import Fact, SessionFact
from state.facts.checkpoint import (
    CheckpointCarried,
    CheckpointDamaged,
    CheckpointInspected,
    CheckpointPruned,
    CheckpointPublished,
    CheckpointWithdrawn,
    DamageFound,
    DatasetDropped,
    ModelPublished,
)
from state.facts.run import (
    InputsDropped,
    InputsPublished,
    OriginCarried,
    OriginDropped,
    OriginFound,
    PipelineChanged,
    PipelineKept,
    PlatformLeft,
    RunCancelled,
    RunFinished,
    RunParked,
    RunResumed,
    RunTakenOver,
    RunWaiting,
    RunWoken,
)
from state.facts.session import (
    NothingCollected,
    OutputCollected,
    PushConfirmed,
    PushHeld,
    PushRefused,
    PushUnclear,
    PushUnfound,
    SeenEnded,
    SeenQueued,
    SeenRunning,
    SessionLost,
    SessionPlanned,
    SessionResized,
    SessionSought,
    TwinEnded,
    TwinSeen,
)


def describe_tick(tick: TickResult) -> list[str]:
    """Return a sentence for each event of a tick; empty for a tick that only polled or waited."""
    said = [text for fact in tick.facts if (text := describe_fact(fact, tick.platform))]
    return [*said, f"trying again later: {tick.failure}"] if will_be_retried(tick) else said


def will_be_retried(tick: TickResult) -> bool:
    """Return whether something failed and will be retried. A failure that parked the run is described by that fact."""
    return bool(tick.failure) and not any(isinstance(fact, RunParked) for fact in tick.facts)


def describe_fact(fact: Fact, platform: str = KAGGLE) -> str:
    """Describe a fact in one sentence; empty if another fact describes it better. `platform`: name of the run's platform."""
    match fact:
        case PushHeld():
            return fact.reason
        case CheckpointCarried():
            return f"the checkpoint of session {_key(fact)} is carried over to the run's platform"
        case SessionPlanned() | SessionResized() | PushConfirmed() | PushRefused():
            return f"session {_key(fact)} {_before(fact, platform)}"
        case SeenQueued():
            return f"session {_key(fact)} waits for a machine"
        case SeenRunning():
            return f"session {_key(fact)} runs"
        case PushUnclear() | PushUnfound() | TwinSeen() | TwinEnded() | DatasetDropped():
            return _conflict(fact, platform)
        case SessionFact():
            return _after(fact, platform)
        case CheckpointPruned() | DamageFound() | ModelPublished():
            return _checkpoint(fact, platform)
        case PipelineChanged() | PipelineKept() | PlatformLeft() | InputsDropped() | InputsPublished():
            return _pipeline(fact)
        case _:
            return _run(fact)


def _checkpoint(fact: CheckpointPruned | DamageFound | ModelPublished, platform: str) -> str:
    match fact:
        case CheckpointPruned():
            return f"{fact.checkpoint} removed from {platform}"
        case DamageFound():
            kept = f"; kept as {fact.kept}" if fact.kept else ""
            return f"{fact.checkpoint}: damaged ({fact.place}): {fact.problem}{kept}"
        case ModelPublished():
            seen = "public" if fact.public else "private"
            return f"{_at(fact.cursor)} published as {fact.model} ({fact.layout}, {seen})"


def _before(
    fact: SessionPlanned | SessionResized | PushConfirmed | PushRefused,
    platform: str,
) -> str:
    match fact:
        case SessionPlanned():
            begins = "from the place of the fork" if fact.start.step else "from the beginning"
            parent = f"from {fact.parent}" if fact.parent else begins
            return f"planned {parent}, at {_at(fact.start)}, {duration(fact.budget_s)} of {duration(fact.limit_s)}"
        case PushConfirmed():
            return f"found on {platform}" if fact.adopted else f"pushed to {platform}"
        case PushRefused():
            return f"not accepted: {fact.reason}"
        case SessionResized():
            return f"will have {duration(fact.budget_s)} of {duration(fact.limit_s)}: the quota or the pipeline has changed"


def _conflict(
    fact: PushUnclear | PushUnfound | TwinSeen | TwinEnded | DatasetDropped,
    platform: str,
) -> str:
    match fact:
        case PushUnclear():
            return f"session {_key(fact)} may or may not be on {platform}, relay looks for it: {fact.reason}"
        case PushUnfound():
            return f"session {_key(fact)} is not on {platform}, and is pushed again"
        case TwinSeen():
            return (
                f"session {_key(fact)} runs twice: {platform} also has version {fact.version} of its kernel "
                f"({fact.worker}), which uses a slot and quota; no other session is started before it ends"
            )
        case TwinEnded():
            return f"session {_key(fact)} no longer runs twice: version {fact.version} of its kernel is over"
        case DatasetDropped():
            return f"{fact.reason}; the next one is called {fact.dataset}"


def _after(fact: SessionFact, platform: str) -> str:
    match fact:
        case SeenEnded():
            return f"session {_key(fact)} ended: {fact.worker}" + (f" ({fact.message})" if fact.message else "")
        case OutputCollected():
            lost = f", {counted(fact.judgement.steps_lost, 'step')} lost" if fact.judgement.steps_lost else ""
            return f"session {_key(fact)} {_outcome(fact)}: {fact.checkpoint} verified at {_at(fact.manifest.cursor)}{lost}"
        case NothingCollected():
            return f"session {_key(fact)} {_outcome(fact)}: no new checkpoint"
        case CheckpointPublished():
            return f"checkpoint of session {_key(fact)} published"
        case CheckpointInspected():
            return f"the dataset of session {_key(fact)} was compared byte for byte: it is intact"
        case CheckpointWithdrawn():
            return f"the dataset of session {_key(fact)} was damaged and is made again: {fact.reason}"
        case CheckpointDamaged():
            return f"session {_key(fact)} made no progress: {fact.reason}"
        case SessionLost():
            return f"session {_key(fact)} lost: {fact.reason}"
        case SessionSought():
            return f"relay looks for session {_key(fact)} again, which may still run on {platform}"
        case _:
            return ""


def _pipeline(fact: PipelineChanged | PipelineKept | PlatformLeft | InputsDropped | InputsPublished) -> str:
    match fact:
        case PlatformLeft():
            return f"continues on another platform, as {fact.owner}: {' '.join(fact.numbers)}"
        case PipelineChanged():
            return f"the pipeline was changed, from the next session on: {'; '.join(fact.difference.splitlines())}"
        case PipelineKept():
            return f"the pipeline stays as it is: {fact.reason}"
        case InputsDropped():
            return f"{fact.reason}; the next one is called {fact.dataset}"
        case InputsPublished():
            return "the pipeline's files are published"


def _run(fact: Fact) -> str:
    match fact:
        case RunTakenOver():
            return f"this home folder has taken over the run ({fact.home})"
        case RunWaiting():
            return f"waiting until {utc_time(datetime.fromisoformat(fact.until))}: {fact.reason}"
        case RunWoken():
            return "continues: the wait is over"
        case RunParked():
            return f"parked: {fact.reason}; type: {fact.remedy}"
        case RunResumed():
            return f"resumed from {fact.checkpoint}" if fact.checkpoint else "resumed"
        case RunFinished():
            return "finished"
        case RunCancelled():
            return "cancelled"
        case _:
            return _beginning(fact)


def _beginning(fact: Fact) -> str:
    """Describe what a run needs before its first session."""
    match fact:
        case InputsDropped():
            return f"{fact.reason}; the next one is called {fact.dataset}"
        case InputsPublished():
            return "the pipeline's files are published"
        case OriginFound():
            return f"begins from {fact.checkpoint}, which is published now"
        case OriginDropped():
            return f"{fact.reason}; the next one is called {fact.dataset}"
        case OriginCarried():
            return f"the checkpoint that the run begins from is on its platform, as {fact.dataset}"
        case _:
            return ""


def _key(fact: SessionFact) -> str:
    return str(fact.number) if fact.attempt == 1 else f"{fact.number} attempt {fact.attempt}"


def _at(cursor: Cursor) -> str:
    return f"{cursor.stage} step {cursor.step}"


def _outcome(fact: OutputCollected | NothingCollected) -> str:
    judgement = fact.judgement
    reason = f" ({judgement.reason})" if judgement.reason and judgement.outcome == "failed" else ""
    return judgement.outcome.replace("_", " ") + reason
