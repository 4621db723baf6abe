"""A run that goes on on another platform: whether it does, where its checkpoints are, and what that does to numbers. Pure."""

from collections.abc import Iterator

from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.site import Site, differ
from stages.numerics import STRICT, Numerics, differences, package_decides
from stages.session.package_lock import PackageLock, normalised
from state.model.run_state import Checkpoint, Run, RunState


def moves(run: Run, given: Pipeline, owner: str = "") -> bool:
    """Return True if the run would go on elsewhere with this pipeline.

    `owner` is the account that the pipeline's sessions would belong to; empty means the run's own.
    """
    known = Pipeline.from_canonical(run.pipeline)
    return differ(Site.of(known), run.owner, Site.of(given), owner or run.owner)


def site_at(run: Run, platform: int) -> Site:
    """Return the site of the platform with that number of the run."""
    if platform < run.platform:
        return Site.parse(run.left_platforms[platform].site)
    return Site.of(Pipeline.from_canonical(run.pipeline))


def is_elsewhere(checkpoint: Checkpoint, other: Run, run: Run) -> bool:
    """Return True if a checkpoint of another run is not where this run's sessions could mount it."""
    there, here = site_at(other, checkpoint.platform), site_at(run, run.platform)
    return differ(there, other.owner_at(checkpoint.platform), here, run.owner)


def carried_origin_of(run: str) -> str:
    """Return the first name of the dataset with the checkpoint of another run that was carried over to this run's platform."""
    return f"{run}-origin"


# --- numbers -----------------------------------------------------------------------


def number_lines(state: RunState, checkpoint: Checkpoint | None, old: Pipeline, new: Pipeline) -> tuple[str, ...]:
    """Return a sentence for each thing that decides about bits and is, or may be, another one on the new platform.

    `checkpoint` is the one that the run goes on from, of the run `state`; None if it goes on from no checkpoint.
    """
    if not new.needs_jax:
        return ("No stage computes with JAX: every number stays the same.",)
    if checkpoint is None:
        return ("No step has been computed yet, so no number changes.",)
    record = checkpoint.numerics
    changed = [*_promised(old, new), *_packages(record, new)]
    there = _seen_there(state, new)
    if there is not None and record is not None and record.claims:
        texts = [change.text for change in differences(record, there) if change.changes_bits]
        told = f"Sessions of this run there differed in: {'; '.join(texts)}." if texts else ""
        sentence = told or "Sessions of this run there had the same chip, compiler and packages."
    else:
        computed = f" with {record.summary}" if record is not None and record.claims else ""
        sentence = (
            f"The checkpoint was computed{computed}; processor, compiler build and packages there are known once a session "
            "has compared them, before its first step."
        )
    others = f"Other bits are possible: {'; '.join(changed)}." if changed else ""
    return (*([others] if others else []), sentence, _consequence(new))


def devices_problem(pipeline: Pipeline) -> str:
    """Return why a session there has too few devices for the model's mesh; empty if it has enough, or loads no model."""
    model = pipeline.loaded_model
    wanted, found = (
        (0, 0) if model is None else (model.mesh_fsdp * model.mesh_tp, pipeline.hardware.promise.devices or 1)
    )
    if wanted <= found:
        return ""
    return (
        f"model.mesh_fsdp × model.mesh_tp is {wanted}, which the run's checkpoints keep, and a session there has {found}: choose "
        "a machine with as many devices"
    )


def _promised(old: Pipeline, new: Pipeline) -> Iterator[str]:
    before, after = old.hardware.promise, new.hardware.promise
    if old.accelerator != new.accelerator:
        yield f"accelerator {old.accelerator} → {new.accelerator}"
    elif before.platform != after.platform:
        yield f"chip {before.platform} → {after.platform}"
    if before.devices != after.devices:
        yield f"devices {before.devices or 1} → {after.devices or 1}"
    if before.processes != after.processes:
        yield f"processes {before.processes or 1} → {after.processes or 1}"


def _packages(record: Numerics | None, new: Pipeline) -> Iterator[str]:
    """Yield each package that decides about bits and that the new pipeline pins to another version than was used."""
    known = {} if record is None else record.packages
    for name, version in sorted(_pinned(new).items()):
        if name in known and known[name] != version and package_decides(name, new.hardware.promise.platform):
            yield f"{name} {known[name]} → {version}"


def _pinned(pipeline: Pipeline) -> dict[str, str]:
    if pipeline.lock:
        return {each.name: each.version for each in PackageLock.parse(pipeline.lock).packages}
    pairs = (pin.partition("==") for pin in pipeline.pins)
    return {normalised(name.partition("[")[0].strip()): version.strip() for name, _, version in pairs}


def _seen_there(state: RunState, new: Pipeline) -> Numerics | None:
    """Return the newest record of a session of this run on the platform that it goes on on; None if there is none."""
    wanted = Site.of(new)
    for checkpoint in reversed(state.checkpoints):
        site = site_at(state.run, state.session(checkpoint.session, checkpoint.attempt).platform)
        record = checkpoint.numerics
        if (site.platform, site.path) == (wanted.platform, wanted.path) and record is not None and record.claims:
            return record
    return None


def _consequence(pipeline: Pipeline) -> str:
    if pipeline.exactness == STRICT:
        return (
            "With exactness: strict a session that may compute other bits ends before its first step, and the run waits for "
            "you."
        )
    return "With exactness: warn such a session goes on, and the status and the report name what changed."
