"""Words and groups of the time classes: the one table that the status, the report and its pages show.

`stages.session.time_accounting.TimeClass` names the classes, and docs/goodput.md explains them.
"""

from dataclasses import dataclass
from enum import StrEnum

from stages.session.time_accounting import TimeClass


class TimeGroup(StrEnum):
    """Groups of time classes, in the order in which they are shown. Pages draw each in one colour and pattern.

    Where two activities overlap on a timeline, the group that comes first is drawn.
    """

    TRAINING = "training"
    STARTUP = "startup"
    SAVING = "saving"
    WASTED = "wasted"
    AFTER_REPORT = "after_report"
    HANDOVER = "handover"
    QUEUE = "queue"
    QUOTA_WAIT = "quota_wait"
    PARKED = "parked"
    DELAY = "delay"


@dataclass(frozen=True)
class TimeWords:
    """Label of a class or group of time, and what belongs to it."""

    label: str
    meaning: str


@dataclass(frozen=True)
class TimeClassWords(TimeWords):
    """Words of a time class, and the group that it is drawn as."""

    group: TimeGroup


TIME_CLASSES: dict[TimeClass, TimeClassWords] = {
    TimeClass.STEP: TimeClassWords("training steps", "steps that a checkpoint holds", TimeGroup.TRAINING),
    TimeClass.ROLLOUT: TimeClassWords(
        "rollouts", "completions sampled for steps that a checkpoint holds", TimeGroup.TRAINING
    ),
    TimeClass.EVALUATION: TimeClassWords("evaluation", "completions that were graded", TimeGroup.TRAINING),
    TimeClass.ACCELERATOR: TimeClassWords(
        "accelerator initialization", "until the accelerator's chips respond", TimeGroup.STARTUP
    ),
    TimeClass.INSTALL: TimeClassWords("environment install", "pip", TimeGroup.STARTUP),
    TimeClass.MODEL: TimeClassWords(
        "model load", "importing, reading the model, putting it on the chips", TimeGroup.STARTUP
    ),
    TimeClass.RESTORE: TimeClassWords(
        "checkpoint restore", "finding, verifying and reading the checkpoint", TimeGroup.STARTUP
    ),
    TimeClass.COMPILE: TimeClassWords("compile", "as JAX measures it", TimeGroup.STARTUP),
    TimeClass.DATA: TimeClassWords(
        "data wait", "reading data sets, and making batches that a step waits for", TimeGroup.STARTUP
    ),
    TimeClass.OTHER: TimeClassWords(
        "other", "before the first line of Python, and what is in no other class", TimeGroup.STARTUP
    ),
    TimeClass.STARTUP: TimeClassWords(
        "start-up", "up to the first step, in sessions that reported no classes", TimeGroup.STARTUP
    ),
    TimeClass.SAVE: TimeClassWords(
        "checkpoint save", "what steps waited for; other work continues meanwhile", TimeGroup.SAVING
    ),
    TimeClass.WASTED: TimeClassWords(
        "wasted", "steps that no checkpoint holds, and a killed session's time after its last report", TimeGroup.WASTED
    ),
    TimeClass.IDLE_TAIL: TimeClassWords(
        "idle tail", "from a session's last report until the platform calls it ended", TimeGroup.AFTER_REPORT
    ),
    TimeClass.NOT_REPORTED: TimeClassWords(
        "not reported yet", "since the live session's last report", TimeGroup.AFTER_REPORT
    ),
    TimeClass.QUEUE: TimeClassWords("queue", "from a push until there is a machine", TimeGroup.QUEUE),
    TimeClass.TRANSFER_DOWN: TimeClassWords(
        "transfer down", "a session's output is downloaded and verified", TimeGroup.HANDOVER
    ),
    TimeClass.TRANSFER_UP: TimeClassWords("transfer up", "a checkpoint is uploaded as a dataset", TimeGroup.HANDOVER),
    TimeClass.DATASET_PROCESSING: TimeClassWords(
        "dataset processing", "from the last uploaded byte until the dataset is complete", TimeGroup.HANDOVER
    ),
    TimeClass.ORCHESTRATOR_DELAY: TimeClassWords(
        "orchestrator delay", "relay's own: until its next poll, between retries, while no daemon ran", TimeGroup.DELAY
    ),
    TimeClass.QUOTA_WAIT: TimeClassWords("waiting for quota", "this week's hours are spent", TimeGroup.QUOTA_WAIT),
    TimeClass.PARKED: TimeClassWords("parked", "the run waits for a person", TimeGroup.PARKED),
}
"""Words of each class."""

OFF_QUOTA = (
    TimeClass.QUEUE, TimeClass.TRANSFER_DOWN, TimeClass.TRANSFER_UP, TimeClass.DATASET_PROCESSING,
    TimeClass.ORCHESTRATOR_DELAY, TimeClass.QUOTA_WAIT, TimeClass.PARKED,
)  # fmt: skip
"""Classes of time that costs no quota, but delays the run."""
ON_QUOTA = tuple(name for name in TimeClass if name not in OFF_QUOTA)
"""Classes of time that Kaggle charges for."""

_SEVERAL = {
    TimeGroup.TRAINING: TimeWords("training", "steps, completions and evaluations that a checkpoint holds"),
    TimeGroup.STARTUP: TimeWords("start-up", "installing, loading, compiling, and waiting for data"),
    TimeGroup.AFTER_REPORT: TimeWords(
        "after the last report", "until the platform calls the session ended; of a live session, until now"
    ),
    TimeGroup.HANDOVER: TimeWords("hand-over", "the checkpoint is downloaded, verified and published as a dataset"),
}
TIME_GROUPS: dict[TimeGroup, TimeWords] = {
    group: _SEVERAL.get(group) or next(words for words in TIME_CLASSES.values() if words.group is group)
    for group in TimeGroup
}
"""Words of each group. A group of a single class has the words of that class."""
SESSION_GROUPS = tuple(group for group in TimeGroup if any(TIME_CLASSES[name].group is group for name in ON_QUOTA))
"""Groups of the time that a session has its machine."""
