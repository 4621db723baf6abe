"""Checkpoints whose run is not in this home folder: what their datasets on the platform say of them."""

from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator.base.errors import BadInput
from orchestrator.core.plan import parse_key, slug_of
from orchestrator.engine.adopt.evidence import newest_dataset, order_in_kernel, published_manifest
from orchestrator.pipeline.model import Pipeline, canonical_in
from orchestrator.pipeline.sections import OriginOptions
from orchestrator.pipeline.warm_start import misfit
from orchestrator.platforms.port import Platform
from stages.contract import Cursor, Manifest
from state.model.dataset_names import name_in
from state.model.run_origin import RunOrigin
from state.model.run_state import Checkpoint


def origin_options(checkpoint: Checkpoint, keeps: str) -> OriginOptions:
    """Return the section of a pipeline that begins from this checkpoint."""
    return _options(checkpoint.run, checkpoint.cursor, keeps, checkpoint.name, checkpoint.digest)


def _options(run: str, cursor: Cursor, keeps: str, checkpoint: str, digest: str) -> OriginOptions:
    at = f"{cursor.stage}:{cursor.step}"
    values = {"run": run, "at": at, "keeps": keeps, "checkpoint": checkpoint, "digest": digest}
    return OriginOptions.model_validate(values)


def checkpoint_in_ref(ref: str, owner: str) -> tuple[str, str]:
    """Return the run and the checkpoint's name in `owner/slug`. Raises BadInput unless relay gave a dataset that name."""
    theirs, _, slug = ref.partition("/")
    name = name_in(slug)
    run = name.rpartition("-c")[0]
    if not run or parse_key(run, "c", name) is None:
        raise BadInput(
            f"--from {ref}: relay's datasets of checkpoints have names such as gsm-3f9a-c0007: correct the name"
        )
    if theirs != owner:
        raise BadInput(
            f"--from {ref}: the dataset belongs to {theirs}, and the credentials are {owner}'s: a run begins from "
            "checkpoints of its own account"
        )
    return run, name


def dataset_origin(gateway: Platform, ref: str, keeps: str) -> OriginOptions:
    """Return the section of a pipeline that begins from the checkpoint in this dataset. Raises BadInput."""
    name = name_in(ref.partition("/")[2])
    manifest, _ = _published(gateway, name, f"--from {ref}")
    return _options(manifest.run, manifest.cursor, keeps, name, manifest.digest)


def origin_of_dataset(gateway: Platform, pipeline: Pipeline, where: str) -> RunOrigin:
    """Return the origin of a warm start from a dataset. Raises BadInput if it is not there or does not fit.

    The other run's pipeline is read from its kernel. If that is gone, only the session compares the models.
    """
    wanted = pipeline.origin
    manifest, place = _published(gateway, wanted.checkpoint, where)
    if manifest.digest != wanted.digest:
        raise BadInput(f"{where}: the dataset {place} holds another checkpoint than origin.digest says: correct origin")
    order = order_in_kernel(slug_of(manifest.run, manifest.session, manifest.attempt), gateway)
    canonical = canonical_in(order) if order else None
    if canonical is not None:
        other = Pipeline.from_canonical(canonical)
        if problem := misfit(pipeline, other, manifest.cursor, wanted.keeps, manifest.digests):
            raise BadInput(f"{where}: the run cannot begin from {manifest.run} at {wanted.at}: {problem}")
    return RunOrigin(
        run=manifest.run,
        cursor=manifest.cursor,
        keeps=wanted.keeps,
        checkpoint=wanted.checkpoint,
        digest=manifest.digest,
        dataset=place,
    )


def _published(gateway: Platform, name: str, where: str) -> tuple[Manifest, str]:
    """Return the manifest of a checkpoint's dataset and the dataset's slug. Raises BadInput if it is not complete."""
    run = name.rpartition("-c")[0]
    seen = newest_dataset(name, gateway)
    place = seen.ref.partition("/")[2] if seen else name
    with TemporaryDirectory(prefix="relay-") as folder:
        manifest = published_manifest(run, place, seen, gateway, Path(folder)) if seen else None
    if manifest is None:
        raise BadInput(f"{where}: {gateway.label} has no complete dataset {name} of this account: correct the name")
    return manifest, place
