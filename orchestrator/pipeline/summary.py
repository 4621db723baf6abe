"""Summary of a pipeline's plan from the file alone, without network or credentials."""

from typing import Any

from kaggle_kernels import build
from orchestrator.pipeline.model import Pipeline
from stages.contract import Order


def outline(pipeline: Pipeline) -> dict[str, Any]:
    """Return the plan as JSON: stages in order, session limits, mounts, pins, and the kernel's size."""
    return {
        "pipeline": pipeline.name,
        "digest": pipeline.digest,
        "seed": pipeline.seed,
        "accelerator": pipeline.accelerator,
        "devices": pipeline.hardware.promise.devices,
        "quota": pipeline.hardware.quota,
        "model": dict(pipeline.model),
        "stages": [_stage(number, spec) for number, spec in enumerate(pipeline.specs, start=1)],
        "total_steps": pipeline.total_steps,
        "session": {
            "limit_s": pipeline.limit_s,
            "budget_s": pipeline.budget_s(pipeline.limit_s),
            "save_interval_s": pipeline.save_interval_s,
            "min_session_s": pipeline.min_session_s,
        },
        "handoff": pipeline.handoff,
        "mounts": {
            "models": list(pipeline.model_sources),
            "datasets": list(pipeline.dataset_sources),
            "files": [path.rpartition("/")[2] for path in pipeline.inputs.files],
        },
        "sources": sorted(pipeline.sources),
        "pins": list(pipeline.pins),
        "internet": pipeline.internet,
        "kernel": {"bytes": len(build.script(_sample(pipeline)).encode()), "bytes_max": build.SIZE_BYTES_MAX},
    }


def _stage(number: int, spec: Any) -> dict[str, Any]:
    return {"number": number, "name": spec.name, "kind": spec.kind, "steps": spec.steps, "options": dict(spec.options)}


def _sample(pipeline: Pipeline) -> Order:
    """Build the order of a first session, with names as long as real ones."""
    run = f"{pipeline.name}-0000"
    return Order(
        run=run,
        session=1,
        attempt=1,
        token="0" * 24,
        slug=f"{run}-s0001",
        pipeline_digest=pipeline.digest,
        seed=pipeline.seed,
        model=pipeline.model,
        stages=pipeline.specs,
        start=pipeline.beginning,
        parent=None,
        budget_s=pipeline.budget_s(pipeline.limit_s),
        limit_s=pipeline.limit_s,
        save_interval_s=pipeline.save_interval_s,
        accelerator=pipeline.hardware.promise,
        pins=pipeline.pins,
        lock=pipeline.lock,
        files=pipeline.inputs.sha256,
        datasets=pipeline.inputs.datasets,
        sources=pipeline.sources,
        created_at="2000-01-01T00:00:00.000000+00:00",
        pipeline_rest=pipeline.rest,
    )
