"""`relay publish`: finds or makes an export of a run, says what becomes public, publishes it, and records that."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.app.app import App
from orchestrator.app.export import FORMATS
from orchestrator.app.publish import documents
from orchestrator.app.publish.export_folder import (
    ExportFolder,
    WantedExport,
    export_of,
    open_export,
    remove_export,
    wanted_export,
)
from orchestrator.app.publish.progress import PublishReport
from orchestrator.base.errors import BadInput
from stages.formats.card import licence_lines
from state.facts.checkpoint import ModelPublished


class Destination(Protocol):
    """Place to publish at, already checked: the account may publish there."""

    def becomes_public(self, export: ExportFolder) -> list[str]:
        """Return a line for each thing that everybody will see; none if all stays private."""

    def published(self, wanted: WantedExport) -> list[str]:
        """Return the lines for the user if the same was published before and nothing is left to do; else none."""

    def publish(self, export: ExportFolder, report: PublishReport) -> tuple[ModelPublished, list[str]]:
        """Publish the export; returns the fact and lines for the user."""

    def finish(self) -> None:
        """Remove what was kept for another try, once the fact is recorded."""


@dataclass(frozen=True)
class SourceChoice:
    """Choices of the user; None stands for the default."""

    checkpoint: str | None = None
    layout: str | None = None
    folder: Path | None = None
    """An export of the run, which is published as it is."""


@dataclass(frozen=True)
class Publication:
    """An export and where it goes; nothing has been sent yet."""

    app: App
    run: str
    export: ExportFolder
    destination: Destination

    def question(self) -> list[str]:
        """Return what the user has to agree to: what becomes public, and under which terms; empty for what stays private."""
        public = self.destination.becomes_public(self.export)
        if not public:
            return []
        manifest = self.export.manifest
        terms = licence_lines(manifest.licences, manifest.base_model)
        lines = ["Everybody will see and may download:", *(f"  {line}" for line in public), "Its licences:"]
        lines += [f"  {line}" for line in terms]
        if documents.owes_llama(manifest):
            lines.append("  Llama 3.3's licence asks that the model's name begin with Llama")
        return lines

    def publish(self, report: PublishReport) -> list[str]:
        """Publish, record the fact, and return lines for the user."""
        fact, lines = self.destination.publish(self.export, report)
        self.app.store.append(self.run, [fact], self.app.clock.now())
        self.destination.finish()
        remove_export(self.app, self.run, self.export)
        return lines


def published_before(app: App, run: str, source: SourceChoice, destination: Destination, layout: str) -> list[str]:
    """Return the lines for the user if this very model was published there before; none if there is something to do.

    Raises BadInput for an unknown checkpoint.
    """
    if source.folder is not None:
        return []
    return destination.published(wanted_export(app, app.run(run), source.layout or layout, source.checkpoint))


def prepare(
    app: App, run: str, source: SourceChoice, destination: Destination, layout: str, report: PublishReport
) -> Publication:
    """Return what is to be published, exporting it if need be; `layout` is the destination's default.

    Raises BadInput for a wrong choice, and what `relay export` raises.
    """
    state = app.run(run)
    if source.folder is None:
        export = export_of(app, state, source.layout or layout, source.checkpoint, report)
        return Publication(app, state.run.id, export, destination)
    if source.checkpoint is not None:
        raise BadInput("--from-export names what to publish already: leave out --checkpoint")
    export = open_export(source.folder, state.run.id)
    if source.layout not in (None, export.manifest.layout):
        raise BadInput(f"--format {source.layout}: {source.folder} is in the format {export.manifest.layout}")
    assert export.manifest.layout in FORMATS
    return Publication(app, state.run.id, export, destination)
