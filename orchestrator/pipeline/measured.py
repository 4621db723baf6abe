"""The stages that a stage of kind `measure` measures, as the text of its option `plan`."""

import json
from functools import lru_cache

from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.sections import Stage


def planned(pipeline: Pipeline) -> str:
    """Return a pipeline's stages as the text of the option `plan`."""
    return json.dumps([spec.to_dict() for spec in pipeline.specs], sort_keys=True)


def measured_stages(pipeline: Pipeline) -> tuple[Stage, ...]:
    """Return the stages that a pipeline measures; none if it is not that of a probe."""
    plans = [str(stage.options.get("plan", "[]")) for stage in pipeline.stages if stage.kind == "measure"]
    return tuple(stage for plan in plans for stage in _parsed(plan))


@lru_cache(maxsize=64)
def _parsed(plan: str) -> tuple[Stage, ...]:
    return tuple(Stage.model_validate(stage) for stage in json.loads(plan))
