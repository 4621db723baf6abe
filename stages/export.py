"""Exports the model to the session's output, in a format that other programs read; the model is passed on unchanged.

The export stays in the output of the session that made it: checkpoints do not carry it. What it is, with the digest of
its weights, is an artifact of the run, `export-<stage>.json`.
"""

import dataclasses
import json
from collections.abc import Mapping
from functools import partial

from stages.data.source import stand_in_sets
from stages.formats.card import ExportOrigin
from stages.formats.export_manifest import ExportManifest
from stages.formats.exporting import Exporter
from stages.formats.trained_weights import stored_state
from stages.options import Export, Model, fit
from stages.session.time_accounting import TimeClass
from stages.stage import Context, StageFailed
from stages.training import checkpoints, model_files, tokenizer
from stages.training.checkpoints import TOKENIZER_PIN, TrainingState
from stages.training.model_files import ModelFiles
from stages.training.steps import checked, do_steps, quiet_libraries


def train(context: Context) -> None:
    """Run the stage; the protocol is described in `stages.stage`."""
    options = checked(Export, context)
    if context.checkpoint is None:
        raise StageFailed(
            "nothing-to-export", f"no stage before {context.spec.name} has trained anything: put one there"
        )
    with quiet_libraries():
        _export(context, options)


def _export(context: Context, options: Export) -> None:
    opened = context.checkpoint
    assert opened is not None
    stored_state(opened.directory)  # raises if a stage of the user's own wrote the checkpoint
    before = checkpoints.read(opened.directory)
    context.pins.recall(before.data)
    made: dict[str, str] = {}

    def step(number: int) -> Mapping[str, float]:
        if number == 1:
            model = fit(Model, context.model, "model")
            made_up = model_files.is_at_hand(model, context.inputs) and _files(context).made_up
            origin = ExportOrigin(
                context.run,
                opened.cursor,
                context.plan,
                opened.digest,
                opened.contents,
                made_up=made_up,
                made_up_sets=stand_in_sets(context.inputs, context.brought),
            )
            exporter = Exporter(opened.directory, model, origin, partial(_files, context))
            target = context.exports / context.spec.name
            manifest = exporter.export(options, target)
            size_bytes = sum(entry.size_bytes for entry in manifest.files)
            context.say(f"exported {options.format} to {target}: {len(manifest.files)} files, {size_bytes:,} bytes")
            made[f"export-{context.spec.name}.json"] = described(manifest)
        return {"exported": 1.0}

    def state() -> TrainingState:
        artifacts = {**before.artifacts, **made}
        return dataclasses.replace(before, origin=None, optimizer=None, counters={}, artifacts=artifacts)

    do_steps(context, step, state, TimeClass.SAVE)


def _files(context: Context) -> ModelFiles:
    """Find the base model's files; raises StageFailed if its tokenizer is not the one that the run began with."""
    files = model_files.find(fit(Model, context.model, "model"), context.inputs, context.scratch)
    if files.made_up:
        context.pins.stand_ins.add("model")
    if not context.pins.same(TOKENIZER_PIN, tokenizer.read(files.tokenizer).sha256):
        raise StageFailed(
            "model-changed", "the pipeline's model no longer has the tokenizer that this run started with: restore it"
        )
    return files


def described(manifest: ExportManifest) -> str:
    """Return the artifact. It is equal however the run was cut into sessions, unlike the checkpoint and its digest."""
    kept = ("layout", "dtype", "run", "cursor", "base_model", "base_sha256", "weights_sha256")
    about = {name: value for name, value in manifest.to_dict().items() if name in kept}
    return json.dumps(about, indent=2, sort_keys=True) + "\n"
