"""The form of a pipeline in which it is rehearsed: on a local Kaggle, and without another run to begin from. Pure."""

from orchestrator.pipeline.later_keys import ON_KAGGLE
from orchestrator.pipeline.model import Pipeline


def rehearsed(pipeline: Pipeline) -> Pipeline:
    """Return the pipeline without its origin and its platform."""
    return pipeline.alone.model_copy(update=ON_KAGGLE)
