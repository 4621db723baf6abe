"""Facts about a run as a whole."""

from dataclasses import dataclass
from typing import ClassVar

from state.facts.base import Fact
from state.model.run_origin import RunOrigin


@dataclass(frozen=True, kw_only=True)
class RunStarted(Fact):
    name: ClassVar[str] = "run_started"
    run: str
    pipeline_name: str
    owner: str
    accelerator: str
    pipeline: str
    pipeline_path: str
    pipeline_digest: str
    home: str = ""
    """Id of the home folder that works on the run."""
    origin: RunOrigin | None = None
    """Checkpoint of another run that the run begins from."""
    inputs_dataset: str = ""
    """Slug of another run's dataset with the same data files, which the run shares; empty if it publishes its own."""


@dataclass(frozen=True, kw_only=True)
class OriginFound(Fact):
    """The other run has the checkpoint that this run waits for to begin from."""

    name: ClassVar[str] = "origin_found"
    checkpoint: str
    digest: str
    dataset: str


@dataclass(frozen=True, kw_only=True)
class RunTakenOver(Fact):
    """The user assigned the run to this home folder."""

    name: ClassVar[str] = "run_taken_over"
    home: str
    generation: int
    """Fencing number, higher than that of every previous home folder."""


@dataclass(frozen=True, kw_only=True)
class InputsIntended(Fact):
    name: ClassVar[str] = "inputs_intended"


@dataclass(frozen=True, kw_only=True)
class InputsOffered(Fact):
    """Kaggle accepted the pipeline's own data files as a dataset with this slug, or already has such a dataset."""

    name: ClassVar[str] = "inputs_offered"
    dataset: str


@dataclass(frozen=True, kw_only=True)
class InputsDropped(Fact):
    """The upload of the pipeline's own files failed for good; the next upload uses the slug `dataset`."""

    name: ClassVar[str] = "inputs_dropped"
    dataset: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class InputsPublished(Fact):
    name: ClassVar[str] = "inputs_published"


@dataclass(frozen=True, kw_only=True)
class RunWaiting(Fact):
    name: ClassVar[str] = "run_waiting"
    until: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class RunWoken(Fact):
    name: ClassVar[str] = "run_woken"


@dataclass(frozen=True, kw_only=True)
class RunParked(Fact):
    name: ClassVar[str] = "run_parked"
    reason: str
    remedy: str
    excerpt: str = ""
    awaits: str = ""
    """Thing that did not come in time: `queue`, `slot` or `hours`. relay keeps polling and resumes the run once it comes."""
    generation: int = 0
    """Generation of another home folder, if that is the reason; a takeover must use a higher one."""


@dataclass(frozen=True, kw_only=True)
class RunResumed(Fact):
    """The user resumed the run; `checkpoint` optionally names an older checkpoint to resume from."""

    name: ClassVar[str] = "run_resumed"
    checkpoint: str = ""


@dataclass(frozen=True, kw_only=True)
class PipelineChanged(Fact):
    """The user changed the run's pipeline; sessions that are pushed from now on follow the new one."""

    name: ClassVar[str] = "pipeline_changed"
    pipeline: str
    """The new pipeline as canonical JSON."""
    pipeline_digest: str
    pipeline_path: str
    """Path of the file that the user changed."""
    difference: str
    """The difference in words, one line for each value that changed."""
    by: str = ""
    """User and machine that asked for it; empty if unknown."""
    pipeline_text: str = ""
    """The file as the user wrote it, with its comments."""


@dataclass(frozen=True, kw_only=True)
class PlatformLeft(Fact):
    """The run goes on on another platform, with sessions that are planned from now on. `PipelineChanged` follows it."""

    name: ClassVar[str] = "platform_left"
    site: str
    """How the platform that it leaves is reached, as canonical JSON (`orchestrator.pipeline.site.Site`)."""
    owner: str
    """Account on the platform that it goes on on."""
    accelerator: str
    """Accelerator whose slots and quota its sessions use there: `tpu`, `gpu` or `cpu`."""
    checkpoint: str = ""
    """Newest verified checkpoint of the run then, from which it goes on; empty if it had none."""
    digest: str = ""
    """Digest of that checkpoint's manifest."""
    numbers: tuple[str, ...] = ()
    """What was said of the numbers before: a sentence for each part that decides about bits and is, or may be, another."""


@dataclass(frozen=True, kw_only=True)
class OriginCarried(Fact):
    """The checkpoint of another run that this run begins from is published on this run's platform."""

    name: ClassVar[str] = "origin_carried"
    dataset: str
    """Slug of its dataset there."""


@dataclass(frozen=True, kw_only=True)
class OriginOffered(Fact):
    """The platform accepted that checkpoint's files as a dataset with this slug, or already has one; relay polls for it."""

    name: ClassVar[str] = "origin_offered"
    dataset: str


@dataclass(frozen=True, kw_only=True)
class OriginDropped(Fact):
    """The upload of that checkpoint failed for good; the next one uses the slug `dataset`."""

    name: ClassVar[str] = "origin_dropped"
    dataset: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class PipelineKept(Fact):
    """A change of the pipeline was not possible any more when the daemon came to it; nothing changed."""

    name: ClassVar[str] = "pipeline_kept"
    reason: str


@dataclass(frozen=True, kw_only=True)
class RunFinished(Fact):
    name: ClassVar[str] = "run_finished"


@dataclass(frozen=True, kw_only=True)
class RunCancelled(Fact):
    name: ClassVar[str] = "run_cancelled"
