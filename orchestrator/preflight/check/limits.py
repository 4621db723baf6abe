"""Checks of sizes and times: a session's budget, the mesh and its devices, checkpoints and disks."""

from collections.abc import Iterator

from orchestrator.base.disk import RESERVE_BYTES, free_bytes
from orchestrator.base.humanize import counted, duration
from orchestrator.pipeline.chips import OUTPUT_BYTES_MAX
from orchestrator.pipeline.model import Pipeline
from orchestrator.preflight.check.findings import CheckSubject, Finding, note, ok, problem, warning
from orchestrator.preflight.check.size import checkpoint_bytes
from orchestrator.views.format import size
from stages.catalog import KINDS
from stages.options import Counting

SIDE_BY_SIDE = 3
"""Number of checkpoints on a session's disk at once: it keeps two and writes a third."""


def session(subject: CheckSubject) -> Iterator[Finding]:
    """Check that a session has time to work between its start and its margin."""
    pipeline = subject.pipeline
    limit_s, budget_s = pipeline.limit_s, pipeline.budget_s(pipeline.limit_s)
    found = [
        *_never_started(pipeline),
        *_steps_too_long(pipeline, budget_s),
        *_badly_divided(pipeline, limit_s, budget_s),
    ]
    yield from found or [
        ok("session", f"a session has {duration(budget_s)} of {duration(limit_s)} to work in, then everything is saved")
    ]


def _never_started(pipeline: Pipeline) -> Iterator[Finding]:
    if pipeline.hardware.quota and pipeline.min_session_s > pipeline.hours_per_week * 3600:
        yield problem(
            "session",
            f"session.min_session_s is {duration(pipeline.min_session_s)} and a week has {pipeline.hours_per_week:g} hours, so no session "
            "would ever be started",
            "make session.min_session_s smaller",
        )


def _badly_divided(pipeline: Pipeline, limit_s: float, budget_s: float) -> Iterator[Finding]:
    if budget_s < limit_s / 2:
        yield warning(
            "session",
            f"session.margin_s keeps back {duration(limit_s - budget_s)} of {duration(limit_s)}, more than half of each session",
            "make session.margin_s as long as saving takes and no longer",
        )
    if pipeline.save_interval_s >= budget_s:
        yield warning(
            "session",
            f"with session.save_interval_s at {duration(pipeline.save_interval_s)} a session saves only at its end, and loses "
            "everything where it is killed before",
            "make session.save_interval_s smaller",
        )


def _steps_too_long(pipeline: Pipeline, budget_s: float) -> Iterator[Finding]:
    for stage in pipeline.stages:
        options = KINDS[stage.kind].fit(stage.options, "options") if stage.kind in KINDS else None
        if isinstance(options, Counting) and options.step_s >= budget_s:
            yield problem(
                "session",
                f"one step of {stage.name} takes {duration(options.step_s)} and a session has {duration(budget_s)}, so none would be done",
                f"make step_s of {stage.name} smaller, or session.limit_s larger",
            )


def mesh(subject: CheckSubject) -> Iterator[Finding]:
    """Compare the devices over which the model is split with those of the accelerator."""
    pipeline = subject.pipeline
    model, promise = pipeline.loaded_model, pipeline.hardware.promise
    if model is None:
        return
    wanted, found = model.mesh_fsdp * model.mesh_tp, promise.devices or 1
    text = f"model.mesh_fsdp × model.mesh_tp is {wanted} and a {pipeline.accelerator} session has {found} device"
    text += "s" if found > 1 else ""
    if wanted > found:
        yield problem("mesh", text, f"make the product {found}")
    elif wanted < found and "/tiny-" not in model.source:
        yield warning("mesh", f"{text}: the others would be idle", f"make the product {found}")
    else:
        yield ok("mesh", text)


def checkpoint(subject: CheckSubject) -> Iterator[Finding]:
    """Compare the checkpoint's size with Kaggle's output limit and with this machine's disk."""
    pipeline = subject.pipeline
    size_bytes = checkpoint_bytes(pipeline)
    if size_bytes is None:
        yield note(
            "checkpoint",
            "the size of checkpoints cannot be computed from the file alone",
            f"relay plan {subject.path} --memory computes it if a model is trained" if pipeline.loaded_model else "",
        )
    else:
        yield _on_kaggle(size_bytes)
    yield from _on_disk(subject, size_bytes or 0)


def _on_kaggle(size_bytes: int) -> Finding:
    text = (
        f"a checkpoint takes about {size(size_bytes)}, and Kaggle keeps {size(OUTPUT_BYTES_MAX)} of a session's output"
    )
    if size_bytes > OUTPUT_BYTES_MAX:
        return problem("checkpoint", text, "write mode: lora, which keeps it to an adapter and its moments")
    if size_bytes * SIDE_BY_SIDE > OUTPUT_BYTES_MAX:
        return note("checkpoint", f"{text}: a session keeps one at a time, instead of two and a third being written")
    return ok("checkpoint", text)


def _on_disk(subject: CheckSubject, size_bytes: int) -> Iterator[Finding]:
    kept = subject.pipeline.keep_checkpoints
    free = free_bytes(subject.home.absolute()) - RESERVE_BYTES
    text = f"the disk of {subject.home} has {size(max(0, free))} free"
    if free < max(size_bytes, 1):
        yield problem(
            "disk",
            f"{text}, and one checkpoint needs {size(size_bytes)}",
            "free some space, or name a larger disk with --home",
        )
    elif free < size_bytes * (kept + 1):
        yield warning(
            "disk",
            f"{text}, and {counted(kept, 'checkpoint')} and the next one need {size(size_bytes * (kept + 1))}",
            "free some space before it is needed, or name a larger disk with --home",
        )
    else:
        yield ok("disk", text)
