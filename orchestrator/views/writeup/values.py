"""Values of a write-up by their names in the template. Pure."""

from typing import Any

from orchestrator.views.writeup.result_values import (
    evaluation_values,
    gain_values,
    published_values,
    sample_values,
    stand_ins_value,
)
from orchestrator.views.writeup.run_values import (
    checkpoint_values,
    environment_values,
    hours_values,
    model_values,
    run_values,
    session_values,
)
from orchestrator.views.writeup.sources import WriteupSources
from orchestrator.views.writeup.stage_values import data_values, reward_values, stage_values
from orchestrator.views.writeup.traced import code, share


def writeup_values(sources: WriteupSources) -> dict[str, Any]:
    """Return all values that a template can use; docs/writeup.md describes them."""
    evaluations, stages = evaluation_values(sources), stage_values(sources)
    return {
        "run": run_values(sources),
        "model": model_values(sources),
        "stages": stages,
        "rewards": reward_values(stages),
        "data": data_values(sources),
        "evaluations": evaluations,
        "gain": gain_values(sources, evaluations),
        "sample": sample_values(sources),
        "hours": hours_values(sources),
        "sessions": session_values(sources),
        "checkpoint": checkpoint_values(sources),
        "environment": environment_values(sources),
        "stand_ins": stand_ins_value(sources),
        "confidence": _confidence(),
        "has_curves": any(curve["main"] for curve in sources.history["curves"]),
        "published": published_values(sources),
    }


def _confidence() -> Any:
    interval = share("confidence", 0.95, code("stages.training.confidence.Z_95"))
    interval.text = "95 %"
    return interval
