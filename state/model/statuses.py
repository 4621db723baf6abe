"""Statuses of runs, sessions, uploads and checkpoints. The values are stored in the database: never rename one."""

from enum import StrEnum


class RunStatus(StrEnum):
    """Status of a run."""

    ACTIVE = "active"  # work to do, or a session under way
    WAITING = "waiting"  # waits for quota until a known time
    PARKED = "parked"  # needs the user
    FINISHED = "finished"
    CANCELLED = "cancelled"


class Phase(StrEnum):
    """Phase of one session."""

    PLANNED = "planned"  # recorded in the database, not pushed yet
    PUSHING = "pushing"  # the push is intended; Kaggle may or may not have the kernel
    PUSHED = "pushed"  # Kaggle has the kernel
    QUEUED = "queued"  # Kaggle reports that it waits for a machine
    RUNNING = "running"  # Kaggle reports that it runs
    ENDED = "ended"  # Kaggle reports that it stopped
    COLLECTED = "collected"  # its checkpoint is on the local disk, verified
    PUBLISHING = "publishing"  # the upload is intended; Kaggle may or may not have the dataset
    PUBLISHED = "published"  # its checkpoint is a dataset that the next session can mount
    NO_CHECKPOINT = "no_checkpoint"  # it ended and left no checkpoint newer than its parent
    LOST = "lost"  # given up: no output will be collected

    @property
    def over(self) -> bool:
        """True when relay no longer works on the session. Its checkpoint may still turn out to be damaged."""
        return self in (Phase.PUBLISHED, Phase.NO_CHECKPOINT, Phase.LOST)

    @property
    def on_kaggle(self) -> bool:
        """True when the session, as far as relay knows, takes a slot on Kaggle."""
        return self in (Phase.PUSHING, Phase.PUSHED, Phase.QUEUED, Phase.RUNNING)

    @property
    def awaited(self) -> bool:
        """True when Kaggle has the session and its output has not been collected yet."""
        return self in (Phase.PUSHED, Phase.QUEUED, Phase.RUNNING, Phase.ENDED)

    @property
    def under_way(self) -> bool:
        """True when the session may still produce a checkpoint newer than all existing ones."""
        return self is Phase.PUSHING or self.awaited


class Outcome(StrEnum):
    """Outcome of a session."""

    FINISHED = "finished"  # the pipeline is done
    YIELDED = "yielded"  # stopped itself in time
    TIMED_OUT = "timed_out"  # killed at the session limit
    FAILED = "failed"
    LOST = "lost"


class InputsStatus(StrEnum):
    """Upload status of the run's own data files."""

    NONE = ""  # not on Kaggle, or the run has no such files
    PUBLISHING = "publishing"  # the upload is intended; Kaggle may or may not have the dataset
    PUBLISHED = "published"  # a dataset that sessions mount


class CheckpointStatus(StrEnum):
    """Status of a checkpoint, which decides what may be done with it."""

    COLLECTED = "collected"  # on the local disk, every byte verified
    PUBLISHED = "published"  # Kaggle lists its dataset with the right sizes
    ABANDONED = "abandoned"  # the user resumed from an older one
    PRUNED = "pruned"  # retention removed its dataset
    DAMAGED = "damaged"  # no intact copy is left
