"""Platform that a run has left, since it goes on on another one."""

from dataclasses import dataclass

from stages.documents import Document


@dataclass(frozen=True, kw_only=True)
class LeftPlatform(Document):
    """Account on a platform with sessions and checkpoints of a run from before it went on elsewhere."""

    owner: str
    accelerator: str
    """Accelerator whose slots and quota the sessions used there: `tpu`, `gpu` or `cpu`."""
    site: str
    """How the platform is reached, as canonical JSON (`orchestrator.pipeline.site.Site`)."""
