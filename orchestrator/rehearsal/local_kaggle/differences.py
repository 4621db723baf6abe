"""Ways in which the local Kaggle can differ from what relay assumes: `relay rehearse --differs KEY`.

A key is that of an assumption in `orchestrator.core.assumptions`. A difference changes the rules, adds faults or changes
the environment of sessions. Where an assumption only matters after something went wrong, the difference includes that.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.base.errors import BadInput
from orchestrator.base.validation import unknown
from orchestrator.rehearsal.local_kaggle.faults import (
    NO_FAULTS,
    CallAction,
    CallFault,
    DatasetAction,
    DatasetFault,
    FaultPlan,
    PushAction,
    PushFault,
    SessionAction,
    SessionFault,
)
from orchestrator.rehearsal.local_kaggle.rules import HOUR_S, PerKind, Rules

EVERY = range(1, 100)
"""Numbers of the sessions, pushes or dataset versions that a lasting fault hits."""
LATER_THAN_SOUGHT_S = HOUR_S
"""Seconds that are longer than relay searches for what it has made."""
NO_ADDRESS = "http://127.0.0.1:9"
"""Proxy that nothing listens at."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Difference of the local Kaggle from one assumption."""

    says: str
    """What this Kaggle does, as a clause."""
    rules: Callable[[Rules], Rules] = lambda rules: rules
    faults: FaultPlan = NO_FAULTS
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of every session."""


def _behaves(**changes: Any) -> Callable[[Rules], Rules]:
    return lambda rules: replace(rules, behaviour=replace(rules.behaviour, **changes))


def _sessions(action: SessionAction, numbers: Iterable[int] = EVERY, **more: Any) -> FaultPlan:
    return FaultPlan(sessions=tuple(SessionFault(session=number, action=action, **more) for number in numbers))


def _datasets(action: DatasetAction, numbers: Iterable[int] = EVERY, seconds: float = 0.0) -> FaultPlan:
    return FaultPlan(datasets=tuple(DatasetFault(version=n, action=action, seconds=seconds) for n in numbers))


def _pushes(action: PushAction, numbers: Iterable[int], seconds: float = 0.0) -> FaultPlan:
    return FaultPlan(pushes=tuple(PushFault(push=n, action=action, seconds=seconds) for n in numbers))


def _per_kind(number: PerKind, factor: float) -> PerKind:
    return PerKind(number.tpu * factor, number.gpu * factor, number.cpu * factor)


SLOT_HELD = _sessions(SessionAction.HOLD_SLOT, seconds=HOUR_S / 2)
"""Slots that stay taken for half an hour after each session, so that Kaggle declines the next push."""
HANGS = _sessions(SessionAction.STALL, (2,), step=1)
"""The second session hangs until its limit."""

DIFFERENCES: Mapping[str, Difference] = {
    "declined-push-has-error": Difference(
        says="a declined push is answered with status 400, and slots stay taken for half an hour",
        rules=_behaves(declined_code=400),
        faults=SLOT_HELD,
    ),
    "declined-source-kept": Difference(
        says="the source of a declined push is dropped, and slots stay taken for half an hour",
        rules=_behaves(keeps_declined=False),
        faults=SLOT_HELD,
    ),
    "late-push": Difference(
        says="the second push is answered with 504 and carried out an hour later",
        faults=_pushes(PushAction.LATE, (2,), LATER_THAN_SOUGHT_S),
    ),
    "shown-soon": Difference(
        says="the second kernel and the first dataset are shown after an hour",
        faults=replace(
            _pushes(PushAction.LAG, (2,), LATER_THAN_SOUGHT_S),
            datasets=_datasets(DatasetAction.LAG, (1,), LATER_THAN_SOUGHT_S).datasets,
        ),
    ),
    "rejected-source-named": Difference(
        says="the second push loses its data sources, and the answer does not name them",
        rules=_behaves(names_rejected=False),
        faults=_pushes(PushAction.REFUSE_INPUTS, (2,)),
    ),
    "title-is-slug": Difference(says="a new kernel gets another name", rules=_behaves(name_suffix="-1")),
    "source-size": Difference(
        says="a kernel's source may have 50,000 bytes", rules=lambda rules: replace(rules, source_bytes_max=50_000)
    ),
    "new-script-status": Difference(
        says="a version that never runs is QUEUED, and the answer to the second push names such a version",
        rules=_behaves(tells_never_run=False),
        faults=_pushes(PushAction.PHANTOM, (2,)),
    ),
    "version-label": Difference(
        says="whatever version is asked for, the newest one is answered for", rules=_behaves(tells_versions=False)
    ),
    "kernels-sorted": Difference(
        says="the list of kernels names no accelerator", rules=_behaves(names_accelerators=False)
    ),
    "lists-complete": Difference(says="every second entry of a list is missing", rules=_behaves(lists_all=False)),
    "queue-time": Difference(
        says="a session waits ten times as long for its machine",
        rules=lambda rules: replace(rules, queue_s=_per_kind(rules.queue_s, 10)),
    ),
    "session-limit": Difference(
        says="a session is ended after half of its time", rules=_behaves(session_limit_share=0.5)
    ),
    "limit-ends-cancelled": Difference(
        says="a session that reaches the limit ends as ERROR without a reason, and the second session hangs",
        rules=_behaves(limit_cancels=False),
        faults=HANGS,
    ),
    "weekly-quota": Difference(
        says="the account has a quarter of the weekly hours",
        rules=lambda rules: replace(rules, quota_s=_per_kind(rules.quota_s, 0.25)),
    ),
    "quota-answered": Difference(
        says="Kaggle does not state the quota",
        faults=FaultPlan(calls=(CallFault(call="GetAcceleratorQuota*", action=CallAction.EMPTY, times=0),)),
    ),
    "sessions-at-once": Difference(says="slots stay taken for half an hour after each session", faults=SLOT_HELD),
    "accelerator-devices": Difference(
        says="a session has no accelerator, only the processor", environment={"RELAY_STAND_IN": "0"}
    ),
    "internet": Difference(
        says="a session does not reach the internet",
        environment=dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), NO_ADDRESS),
    ),
    "output-kept": Difference(
        says="a session that does not end by itself loses its output, and the second session hangs",
        rules=_behaves(keeps_unclean=False),
        faults=HANGS,
    ),
    "output-listed-complete": Difference(
        says="the largest file of a session is listed ten minutes after its end", rules=_behaves(output_listed_s=600.0)
    ),
    "output-unchanged": Difference(
        says="a bit of the second session's largest file is flipped", faults=_sessions(SessionAction.FLIP_OUTPUT, (2,))
    ),
    "output-size": Difference(
        says="a session may leave 1,000 bytes", rules=lambda rules: replace(rules, output_bytes_max=1000)
    ),
    "log-kept": Difference(says="sessions leave no log", faults=_sessions(SessionAction.LOSE_LOG)),
    "kernel-output-mounted": Difference(
        says="the output of a kernel is not mounted", rules=_behaves(mounts_outputs=False)
    ),
    "unknown-suffix-kept": Difference(
        says="a line end is added to each file with an unknown suffix", rules=_behaves(keeps_unknown=False)
    ),
    "ready-means-listed": Difference(
        says="a dataset is READY at once, before its files are listed", faults=_datasets(DatasetAction.READY_EARLY)
    ),
    "sentinel-mounted": Difference(
        says="the second session mounts what was there before", faults=_sessions(SessionAction.MOUNT_PREVIOUS, (2,))
    ),
    "dataset-version-mounts": Difference(
        says="a source with a version mounts that version", rules=lambda rules: replace(rules, pins_versions=True)
    ),
    "mount-layout": Difference(
        says="inputs are mounted three folders below the usual place",
        rules=lambda rules: replace(
            rules,
            dataset_layouts=("elsewhere/{owner}/of/{slug}",),
            kernel_layouts=("elsewhere/{owner}/of/{slug}",),
        ),
    ),
    "processing-time": Difference(
        says="a dataset is processed for twenty times as long",
        rules=lambda rules: replace(rules, dataset_processing_s=20 * rules.dataset_processing_s),
    ),
    "description-returned": Difference(
        says="the description of a dataset is not returned", rules=_behaves(keeps_descriptions=False)
    ),
    "accepted-dataset-shown": Difference(
        says="the first dataset is accepted and never shown", faults=_datasets(DatasetAction.VANISH, (1,))
    ),
    "deleted-name-free": Difference(
        says="the name of what was deleted stays taken", rules=lambda rules: replace(rules, frees_names=False)
    ),
    "name-length": Difference(says="a name may have 8 characters", rules=_behaves(name_characters_max=8)),
    "private-storage": Difference(
        says="the account has no room for another dataset", faults=_datasets(DatasetAction.NO_ROOM)
    ),
    "dataset-size": Difference(
        says="a dataset may have one file", rules=lambda rules: replace(rules, dataset_files_max=1)
    ),
    "model-licence": Difference(says="no licence of a model has been accepted", rules=_behaves(accepts_licences=False)),
    "model-mounted": Difference(says="models are not mounted", rules=_behaves(mounts_models=False)),
    "api-shapes": Difference(
        says="the status of sessions is answered with a web page",
        faults=FaultPlan(calls=(CallFault(call="GetKernelSessionStatus", action=CallAction.HTML, times=0),)),
    ),
    "request-rate": Difference(
        says="every tenth request is refused with 429",
        faults=FaultPlan(
            calls=(
                CallFault(call="*", action=CallAction.STATUS, status=429, retry_after_s=5, probability=0.1, times=0),
            )
        ),
    ),
}
"""Every difference by the key of the assumption."""


@dataclass(frozen=True)
class DifferingKaggle:
    """Rules, faults and environment of a local Kaggle that differs."""

    rules: Rules
    faults: FaultPlan
    environment: Mapping[str, str]


def differing(rules: Rules, faults: FaultPlan) -> DifferingKaggle:
    """Apply the differences of a fault plan, whose own faults come first. Raises BadInput for unknown keys."""
    environment: dict[str, str] = {}
    for key in known(faults.differs):
        difference = DIFFERENCES[key]
        rules, more = difference.rules(rules), difference.faults
        faults = replace(
            faults,
            sessions=faults.sessions + more.sessions,
            calls=faults.calls + more.calls,
            datasets=faults.datasets + more.datasets,
            pushes=faults.pushes + more.pushes,
        )
        environment |= difference.environment
    return DifferingKaggle(rules, faults, environment)


def known(keys: Sequence[str]) -> tuple[str, ...]:
    """Return the keys, each once. Raises BadInput with the closest key if one is unknown."""
    for key in keys:
        if key not in DIFFERENCES:
            raise BadInput(unknown("--differs", key, tuple(DIFFERENCES), what="difference"))
    return tuple(dict.fromkeys(keys))
