"""Publishes the pipeline's own files as a dataset and checks that it is complete."""

from pathlib import Path

from orchestrator.core.plan import inputs_of, inputs_place
from orchestrator.engine.effects.context import EffectContext, EffectResult
from orchestrator.engine.effects.dataset_upload import (
    DatasetUpload,
    dataset_polled,
    search_s,
    summed_up,
    unfinished,
    upload_status,
)
from orchestrator.pipeline.model import Pipeline
from state.facts.base import Fact
from state.facts.run import InputsDropped, InputsOffered, InputsPublished
from state.model.snapshot import Snapshot


def publish_inputs(snapshot: Snapshot, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """Create the dataset of the pipeline's own files unless it exists."""
    run = snapshot.state.run
    files = [shell.home.inputs(run.id) / Path(name).name for name in pipeline.inputs.files]
    name, place = inputs_of(run.id), inputs_place(run)
    offer = DatasetUpload(
        name=name,
        place=place,
        taken=run.inputs_offered_at is not None,
        search_s=search_s(place, snapshot, shell),
        run=run,
        files=files,
    )
    status = upload_status(offer, shell.gateway.find_dataset(place), shell)
    if status.seen is not None:
        wanted = {path.name: path.stat().st_size for path in files}
        if {file.name: file.size_bytes for file in status.seen.files} == wanted:
            return EffectResult((InputsPublished(),), dataset_polled(snapshot, shell))
        status = unfinished(offer, "lists other files than were sent", shell)
    facts: tuple[Fact, ...] = ()
    if status.what == "offered":
        facts = (InputsOffered(dataset=place),)
    if status.what == "dropped":
        facts = (InputsDropped(dataset=offer.following, reason=status.reason), *offer.asks(status.reason))
    return EffectResult(facts, dataset_polled(snapshot, shell, summed_up(offer, status)))
