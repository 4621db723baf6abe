"""Checks of a pipeline whose sessions have several processes, on one host or on several. Pure."""

from collections.abc import Iterator
from contextlib import suppress

from orchestrator.pipeline.model import Pipeline
from stages.catalog import KINDS, StageKind

ALONE = StageKind("", None)


def problems_of_several(pipeline: Pipeline) -> Iterator[str]:
    """Yield each reason for which the processes of a session cannot run this pipeline together, as a sentence.

    Yields nothing for a pipeline whose sessions have one process.
    """
    count = pipeline.hardware.promise.processes
    if count is None:
        return
    for index, stage in enumerate(pipeline.stages):
        if not KINDS.get(stage.kind, ALONE).several:
            able = ", ".join(name for name, kind in KINDS.items() if kind.several)
            yield (
                f"stages[{index}]: the {count} processes of a session can run stages of kind {able} alone, and {stage.name} is "
                f"{stage.kind}: write 1 for {_keys(pipeline)}, or put {stage.name} into a pipeline of its own, which relay start "
                "--from begins from the checkpoint"
            )
        elif stage.options.get("probe_problems"):
            yield (
                f"stages[{index}].options.probe_problems is {stage.options['probe_problems']}, and a session of {count} "
                "processes generates no answers: leave it out"
            )
    with suppress(ValueError):  # reported with the other mistakes of `model`
        yield from _problems_of_mesh(pipeline, count)


def _problems_of_mesh(pipeline: Pipeline, count: int) -> Iterator[str]:
    model, devices = pipeline.loaded_model, pipeline.hardware.promise.devices
    if model is not None and model.mesh_fsdp * model.mesh_tp != devices:
        yield (
            f"model.mesh_fsdp × model.mesh_tp is {model.mesh_fsdp * model.mesh_tp}, and the {count} processes of a session have "
            f"{devices} devices, each of which has to hold a part of the model: make the product {devices}"
        )


def _keys(pipeline: Pipeline) -> str:
    keys = {"slurm.nodes": pipeline.slurm.nodes, "slurm.tasks_per_node": pipeline.slurm.tasks_per_node}
    return " and ".join(key for key, value in keys.items() if value > 1)
