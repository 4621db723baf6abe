"""The export to publish: a folder of the user's, one that a session left on Kaggle, or one that is made now.

Exports that this module makes or fetches stay in the home folder until they are published, so that an interrupted upload
continues with the same bytes.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from orchestrator.app.app import App
from orchestrator.app.export import ExportChoice, export
from orchestrator.app.publish.documents import CARD_NAME
from orchestrator.app.publish.progress import PublishReport
from orchestrator.base.disk import disk_errors, private_folder, shortage_message
from orchestrator.base.errors import BadInput, Corrupt, DiskRefused
from orchestrator.core.selectors import verified_checkpoint
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.file_names import safe_name
from orchestrator.platforms.port import FileWanted, OutputFile
from stages.contract import EXPORTS_DIRECTORY, OUTPUT_DIRECTORY
from stages.documents import ContractError
from stages.formats.export_manifest import EXPORT_NAME, ExportManifest
from stages.session import packing
from state.facts.checkpoint import ModelPublished
from state.model.run_state import RunState

MANIFEST_BYTES_MAX = 2**20


@dataclass(frozen=True)
class ExportFolder:
    """A folder whose files are those of its export.json, every byte compared."""

    path: Path
    manifest: ExportManifest

    @property
    def size_bytes(self) -> int:
        """Total size of the exported files."""
        return sum(entry.size_bytes for entry in self.manifest.files)

    @property
    def base_terms(self) -> str:
        """Terms of the base model."""
        return self.manifest.licences[self.manifest.base_model]


@dataclass(frozen=True, kw_only=True)
class WantedExport:
    """Contents of an export. `checkpoint` or `weights_sha256` may be unknown, and empty, before the export is made."""

    layout: str
    dtype: str
    checkpoint: str
    weights_sha256: str

    def is_in(self, fact: ModelPublished) -> bool:
        """Return whether a published model holds the same, as far as that is known."""
        known = (self.layout, self.dtype or fact.dtype, self.checkpoint or fact.checkpoint)
        same_weights = self.weights_sha256 in ("", fact.weights_sha256)
        return same_weights and known == (fact.layout, fact.dtype, fact.checkpoint)


def wanted_export(app: App, state: RunState, layout: str, checkpoint: str | None) -> WantedExport:
    """Describe what `export_of` would return, without making or fetching it. Raises BadInput for an unknown checkpoint."""
    chosen = verified_checkpoint(state, checkpoint, f"--checkpoint {checkpoint}: " if checkpoint else "")
    if checkpoint is None and (stages := _stages_that_exported(app, state, layout)):
        return WantedExport(layout=layout, dtype="", checkpoint="", weights_sha256=next(iter(stages.values())))
    model = Pipeline.from_canonical(state.run.pipeline).loaded_model
    dtype = "float32" if layout == "peft" or model is None else model.dtype
    return WantedExport(layout=layout, dtype=dtype, checkpoint=chosen.digest, weights_sha256="")


def open_export(folder: Path, run: str) -> ExportFolder:
    """Read an export of this run and compare every byte with its export.json.

    Raises BadInput for a folder that is no export of the run, that was changed, or that lacks the base model's licence.
    """
    try:
        manifest = ExportManifest.from_json((folder / EXPORT_NAME).read_bytes())
        for entry in manifest.files:
            safe_name(entry.path)
        if manifest.run != run:
            raise BadInput(f"{folder} was exported from {manifest.run}, and not from {run}: name the run that it is of")
        packing.verify_files(folder, manifest.files)
    except OSError as error:
        raise BadInput(f"{folder} is no export ({error.strerror or error}): relay export writes one") from error
    except ContractError as error:
        raise BadInput(f"{folder / EXPORT_NAME}: {error}: relay export writes one") from error
    except (packing.CorruptCheckpoint, Corrupt) as error:
        raise BadInput(f"{folder} is not as it was exported: {error}: export the model again") from error
    if all(entry.path != CARD_NAME for entry in manifest.files):
        raise BadInput(f"{folder / EXPORT_NAME} names no {CARD_NAME}: relay export writes one")
    if not manifest.licences.get(manifest.base_model):
        raise BadInput(
            f"{folder / EXPORT_NAME} has no licence of the base model {manifest.base_model}, without which it must not be "
            "passed on: export the model again"
        )
    return ExportFolder(folder, manifest)


def export_of(app: App, state: RunState, layout: str, checkpoint: str | None, report: PublishReport) -> ExportFolder:
    """Return an export of a run in this layout: the one that its export stage left on Kaggle, else one made now.

    Naming a checkpoint always makes one. Raises what `relay export` raises.
    """
    chosen = verified_checkpoint(state, checkpoint, f"--checkpoint {checkpoint}: " if checkpoint else "")
    stages = _stages_that_exported(app, state, layout) if checkpoint is None else {}
    for stage, weights_sha256 in stages.items():
        if (left := _from_session(app, state, stage, weights_sha256, report)) is not None:
            return left
    folder = private_folder(app.home.exports(state.run.id)) / f"{chosen.name}-{layout}"
    kept = _kept(folder, state.run.id)
    if kept is not None and kept.manifest.checkpoint == chosen.digest:
        return kept
    report.say(f"exporting {chosen.name} as {layout}")
    shutil.rmtree(folder, ignore_errors=True)
    export(app, state.run.id, ExportChoice(checkpoint=chosen.name, to=folder, layout=layout))
    return open_export(folder, state.run.id)


def remove_export(app: App, run: str, export: ExportFolder) -> None:
    """Remove an export that was made or fetched only to be published."""
    if export.path.parent == app.home.exports(run):
        shutil.rmtree(export.path, ignore_errors=True)


def _kept(folder: Path, run: str) -> ExportFolder | None:
    """Return the export in a folder; None if there is none, or only a part."""
    try:
        return open_export(folder, run)
    except BadInput:
        return None


def _stages_that_exported(app: App, state: RunState, layout: str) -> dict[str, str]:
    """Return the digests of the weights that export stages of this layout wrote, by stage, the newest first."""
    found = {}
    for spec in reversed(Pipeline.from_canonical(state.run.pipeline).specs):
        artifact = app.home.artifacts(state.run.id) / f"export-{spec.name}.json"
        if spec.kind == "export" and artifact.is_file():
            about = json.loads(artifact.read_text(encoding="utf-8"))
            if about.get("layout") == layout:
                found[spec.name] = str(about.get("weights_sha256"))
    return found


def _from_session(
    app: App, state: RunState, stage: str, weights_sha256: str, report: PublishReport
) -> ExportFolder | None:
    """Fetch the export that a stage left in its session's output; None if no session's output has it any more."""
    folder = private_folder(app.home.exports(state.run.id)) / stage
    kept = _kept(folder, state.run.id)
    if kept is not None and kept.manifest.weights_sha256 == weights_sha256:
        return kept
    prefix = f"{OUTPUT_DIRECTORY}/{EXPORTS_DIRECTORY}/{stage}/"
    for session in reversed(state.sessions):
        listed = app.gateway.output(session.slug, session.kernel_version) if session.ended_at else ()
        files = {file.name.removeprefix(prefix): file for file in listed if file.name.startswith(prefix)}
        if EXPORT_NAME in files and _fetched(app, files, folder, weights_sha256):
            report.say(f"fetched the export that {stage} left in the output of {session.slug}")
            return open_export(folder, state.run.id)
    return None


def _fetched(app: App, files: dict[str, OutputFile], folder: Path, weights_sha256: str) -> bool:
    """Download an export; returns False if it is another one, as of a session that the run no longer builds on."""
    with disk_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    written = folder / EXPORT_NAME
    app.gateway.download(files[EXPORT_NAME], written, FileWanted(size_bytes_max=MANIFEST_BYTES_MAX))
    manifest = ExportManifest.from_json(written.read_bytes())
    if manifest.weights_sha256 != weights_sha256 or any(entry.path not in files for entry in manifest.files):
        return False
    if problem := shortage_message(folder, sum(entry.size_bytes for entry in manifest.files)):
        raise DiskRefused(problem)
    for entry in manifest.files:
        wanted = FileWanted(size_bytes=entry.size_bytes, sha256=entry.sha256)
        app.gateway.download(files[entry.path], folder / safe_name(entry.path), wanted)
    return True
