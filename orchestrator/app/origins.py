"""Checkpoints of other runs that a run begins from: finds what the user names, and checks that it exists and fits."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.app.dataset_origins import checkpoint_in_ref, dataset_origin, origin_of_dataset, origin_options
from orchestrator.app.workspace import Workspace
from orchestrator.base.errors import BadInput
from orchestrator.core.moving import devices_problem, number_lines, site_at
from orchestrator.core.origins import is_mountable, origin_checkpoint, will_never_come
from orchestrator.core.plan import inputs_place
from orchestrator.core.selectors import verified_checkpoint
from orchestrator.kaggle.gateway import Access
from orchestrator.pipeline.fork import fork_problem, same_base
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.sections import OriginOptions
from orchestrator.pipeline.site import Site, account_text, differ
from orchestrator.pipeline.warm_start import misfit
from orchestrator.platforms.names import name_in
from stages.contract import HISTORY, OPTIMIZER, WEIGHTS, Manifest
from state.model.run_origin import RunOrigin
from state.model.run_state import Checkpoint, RunState
from state.model.statuses import InputsStatus

if TYPE_CHECKING:
    from orchestrator.app.app import App


MODEL_SLASHES = 4
"""Slashes in the name of a model's version; a name of a dataset has one."""
BASE_FILES = ("source", "tokenizer", "sha256")
"""Keys of `model` that say where the base model's files are, and what they are."""


@dataclass(frozen=True)
class Beginning:
    """A pipeline as its run begins: the first fact's values that depend on another run."""

    pipeline: Pipeline
    origin: RunOrigin | None = None
    inputs_dataset: str = ""
    numbers: tuple[str, ...] = ()
    """What becomes of the numbers, in sentences, if the other run's checkpoint is carried over from another platform."""


def named_origin(
    app: "App", named: str, *, weights_only: bool = False, pipeline: Pipeline | None = None
) -> OriginOptions:
    """Return the origin of a warm start that `--from RUN[:CHECKPOINT]` or `--from OWNER/SLUG` names.

    CHECKPOINT is a name or `STAGE:STEP`; the newest verified one by default. OWNER/SLUG is the dataset of a checkpoint
    on the platform of `pipeline`, by default Kaggle. Raises BadInput if there is none.
    """
    keeps = WEIGHTS if weights_only else OPTIMIZER
    if named.startswith((".", "/", "~")) or "\\" in named or Path(named).is_dir():
        raise BadInput(
            f"--from {named}: sessions cannot mount a folder of this machine: name a RUN, RUN:STAGE:STEP, the OWNER/SLUG of a "
            "checkpoint's dataset, or the model that relay publish made of an export"
        )
    run, _, wanted = named.partition(":")
    if "/" in named:
        platform = app.gateway if pipeline is None else app.platforms.of(pipeline)
        run, wanted = checkpoint_in_ref(named, platform.owner())
        if run not in known_runs(app):
            return dataset_origin(platform, named, keeps)
    state = app.run(run)
    return origin_options(verified_checkpoint(state, wanted or None, f"--from {named}: "), keeps)


def begun_as_named(app: "App", pipeline: Pipeline, path: Path, named: str, *, weights_only: bool) -> Pipeline:
    """Return the pipeline, read from `path`, as a run begins from what `--from` names: a checkpoint or a published model.

    A model takes the place of `model.source`. Raises BadInput if there is no such thing, or if the pipeline cannot
    begin with it.
    """
    if named.count("/") > 1 and not named.startswith((".", "/", "~")):
        return _begun_with_model(app, pipeline, path, named)
    return begun_from(pipeline, named_origin(app, named, weights_only=weights_only, pipeline=pipeline), path)


def _begun_with_model(app: "App", pipeline: Pipeline, path: Path, ref: str) -> Pipeline:
    base = pipeline.loaded_model
    if base is None:
        raise BadInput(f"{path}: no stage loads a model, so the run cannot begin with {ref}: leave --from out")
    if ref.count("/") != MODEL_SLASHES:
        raise BadInput(f"--from {ref}: write owner/model/framework/variation/version, as relay publish prints it")
    app.platforms.require_kaggle(pipeline, f"--from {ref}: a model")
    if (seen := app.gateway.see_model(ref)).access is not Access.READABLE:
        raise BadInput(
            f"--from {ref}: Kaggle does not let this account read this model ({seen.reason}): check its name and version"
        )
    model = {key: value for key, value in pipeline.model.items() if key not in BASE_FILES}
    return pipeline.model_copy(update={"model": model | {"kind": base.kind, "source": ref}})


def known_runs(workspace: Workspace) -> set[str]:
    """Return the ids of the runs in the database."""
    return {run for run, _ in workspace.reader.run_names()} if workspace.has_store else set()


def begun_from(pipeline: Pipeline, origin: OriginOptions, path: Path) -> Pipeline:
    """Return the pipeline, read from `path`, with this origin; raises BadInput if it has one already."""
    if pipeline.origin != OriginOptions():
        raise BadInput(f"{path}: the pipeline has an origin already: leave --from out, or remove origin from the file")
    return pipeline.model_copy(update={"origin": origin})


def beginning(app: "App", pipeline: Pipeline, where: str, owner: str, *, may_wait: bool) -> Beginning:
    """Check a pipeline's origin, and return the pipeline with the checkpoint's name and digest filled in.

    `owner` is the account on the pipeline's platform. With `may_wait` the other run need not have the checkpoint yet. Raises BadInput if
    there is no such checkpoint, or if the pipeline cannot begin from it.
    """
    wanted = pipeline.origin
    if not wanted.run:
        return Beginning(pipeline)
    if wanted.digest and wanted.keeps != HISTORY and wanted.run not in known_runs(app):
        origin = origin_of_dataset(app.platforms.of(pipeline), pipeline, where)
        return Beginning(pipeline, origin)
    other = app.run(wanted.run)
    origin = RunOrigin(run=other.run.id, cursor=wanted.cursor, keeps=wanted.keeps, digest=wanted.digest)
    checkpoint = origin_checkpoint(origin, other)
    waits = checkpoint is None and may_wait and not wanted.digest and not will_never_come(None, other)
    if not waits:
        checkpoint = _existing(checkpoint, other, wanted, where)
    elsewhere = _is_elsewhere(checkpoint, other, pipeline, owner, where)
    their = Pipeline.from_canonical(other.run.pipeline)
    if not their.holds(wanted.cursor):
        raise BadInput(f"{where}: origin.at is {wanted.at}, which {other.run.id} does not have")
    moved = elsewhere and same_base(their.model, pipeline.model)
    compared = pipeline.model_copy(update={"model": their.model}) if moved else pipeline
    if problem := _problem(compared, their, wanted, checkpoint):
        raise BadInput(f"{where}: the run cannot begin from {other.run.id} at {wanted.at}: {problem}")
    if wanted.keeps == HISTORY and pipeline.position(wanted.cursor) >= pipeline.total_steps:
        raise BadInput(
            f"{where}: nothing is left to do after {wanted.at} of {other.run.id}: add a stage, or steps to the last one"
        )
    full = origin_options(checkpoint, wanted.keeps) if checkpoint else wanted.model_copy(update={"run": other.run.id})
    begun = RunOrigin(
        run=other.run.id,
        cursor=wanted.cursor,
        keeps=wanted.keeps,
        checkpoint=full.checkpoint,
        digest=full.digest,
        dataset=checkpoint.place if checkpoint else "",
    )
    inputs = "" if elsewhere else _shared_inputs(pipeline, their, other)
    numbers = number_lines(other, checkpoint, their, pipeline) if elsewhere else ()
    return Beginning(pipeline.model_copy(update={"origin": full}), begun, inputs, numbers)


def _is_elsewhere(checkpoint: Checkpoint | None, other: RunState, pipeline: Pipeline, owner: str, where: str) -> bool:
    """Return True if the other run's checkpoint has to be carried over to the pipeline's platform.

    Raises BadInput if it is of another account of the same platform.
    """
    number = other.run.platform if checkpoint is None else checkpoint.platform
    there, here, theirs = site_at(other.run, number), Site.of(pipeline), other.run.owner_at(number)
    if theirs != owner and not differ(there, "", here, ""):
        raise BadInput(
            f"{where}: {other.run.id} belongs to {account_text(there, theirs)}, and the credentials are {owner}'s: "
            "sessions mount the datasets of one account only"
        )
    elsewhere = differ(there, theirs, here, owner)
    if elsewhere and (problem := devices_problem(pipeline)):
        raise BadInput(f"{where}: {problem}")
    return elsewhere


def _existing(checkpoint: Checkpoint | None, other: RunState, wanted: OriginOptions, where: str) -> Checkpoint:
    """Return the checkpoint if a session can mount it, now or once it is published; raises BadInput otherwise."""
    there = ", ".join(f"{c.cursor.stage}:{c.cursor.step}" for c in other.checkpoints if c.usable) or "none yet"
    if checkpoint is None:
        raise BadInput(
            f"{where}: {other.run.id} has no such checkpoint at {wanted.at}: its verified checkpoints are {there}"
        )
    if wanted.checkpoint not in ("", checkpoint.name) or wanted.cursor != checkpoint.cursor:
        raise BadInput(
            f"{where}: origin.digest is that of {checkpoint.name} at {checkpoint.cursor.stage}:{checkpoint.cursor.step}, and "
            f"not of {wanted.checkpoint or wanted.at}: correct origin, or have relay fork write it"
        )
    if not is_mountable(checkpoint) and will_never_come(checkpoint, other):
        raise BadInput(
            f"{where}: the checkpoint {checkpoint.name} is not on {name_in(other.run.pipeline)} any more: the verified checkpoints of "
            f"{other.run.id} are {there}"
        )
    return checkpoint


def _problem(pipeline: Pipeline, other: Pipeline, wanted: OriginOptions, checkpoint: Checkpoint | None) -> str:
    if wanted.keeps == HISTORY:
        return fork_problem(other, pipeline, wanted.cursor)
    contents = Manifest.from_json(checkpoint.manifest).digests if checkpoint else {}
    return misfit(pipeline, other, wanted.cursor, wanted.keeps, contents)


def _shared_inputs(pipeline: Pipeline, other: Pipeline, state: RunState) -> str:
    """Return the other run's dataset of data files if it holds those of this pipeline; empty otherwise."""
    same = bool(pipeline.inputs.files) and pipeline.inputs.sha256 == other.inputs.sha256
    return inputs_place(state.run) if same and state.run.inputs is InputsStatus.PUBLISHED else ""
