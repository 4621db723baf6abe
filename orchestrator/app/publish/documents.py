"""Texts that go with a published model: names of its files, licences, how to load it. Pure."""

import dataclasses
import re

from stages.contract import FileEntry
from stages.formats.card import licence_lines, load_code
from stages.formats.export_manifest import ExportManifest

FRAMEWORKS = {"tunix": "jax", "safetensors": "transformers", "peft": "other"}
"""Kaggle's framework for each layout of an export; none of its own has safetensors' or PEFT's name."""
LICENCE = "Other (specified in description)"
"""Kaggle's name of a licence: its list has none of Gemma's or Llama's terms, so that they are in the texts."""
SIZE = re.compile(r"\d+[kmb]|model")
"""Default names of the variation of an export for Tunix."""
KAGGLE_PARTS = 5
"""Number of parts of a model's name on Kaggle: owner, model, framework, variation, version."""
NOTICE_NAME = "NOTICE"
CARD_NAME = "README.md"
LLAMA_NOTICE = (
    "Built with Llama. Llama 3.3 is licensed under the Llama 3.3 Community License, "
    "Copyright © Meta Platforms, Inc. All Rights Reserved."
)
"""Attribution that Llama 3.3's licence asks for, also of models that were trained on its answers."""


def variation_of(manifest: ExportManifest) -> str:
    """Return the default name of a variation: the model's size for Tunix's layout, else the base model's name."""
    if manifest.layout == "tunix":
        sizes = (parts[1] for entry in manifest.files if len(parts := entry.path.split("/")) > 2)
        return next(sizes, "model")
    return _named_by_base(manifest.layout, manifest.base_model)


def is_usual_variation(name: str, layout: str, base: str) -> bool:
    """Return whether `variation_of` can have returned the name for an export in this layout of this base model."""
    return bool(SIZE.fullmatch(name)) if layout == "tunix" else name == _named_by_base(layout, base)


def _named_by_base(layout: str, base: str) -> str:
    parts = base.split("/")
    name = re.sub(r"[^a-z0-9]+", "-", parts[3 if len(parts) == KAGGLE_PARTS else -1].lower()).strip("-") or "model"
    return f"{name}-lora" if layout == "peft" else name


def names_in_version(manifest: ExportManifest, variation: str) -> dict[str, str]:
    """Return each file's name in the export by its name in a version on Kaggle.

    Tunix reads the weights of a variation from a folder of the variation's name, and `tokenizer.model` beside that folder.
    """
    found = {}
    for entry in manifest.files:
        name = entry.path
        if manifest.layout == "tunix" and name.startswith("jax/"):
            _, size, *rest = name.split("/")
            name = "/".join([variation, *rest]) if rest else size
        found[name] = entry.path
    return found


def notice(manifest: ExportManifest) -> str:
    """Return the text of the file NOTICE: the terms of the base model and of the data."""
    lines = list(licence_lines(manifest.licences, manifest.base_model))
    if owes_llama(manifest):
        lines.append(LLAMA_NOTICE)
    return "\n\n".join(lines) + "\n"


def owes_llama(manifest: ExportManifest) -> bool:
    """Return whether the model was trained on data under Llama's licence."""
    return any(terms.lower().startswith("llama3") for terms in manifest.licences.values())


def manifest_of_version(manifest: ExportManifest, variation: str, more: tuple[FileEntry, ...]) -> ExportManifest:
    """Return the manifest with the files' names in the version, and with more files."""
    entries = {entry.path: entry for entry in manifest.files}
    named = names_in_version(manifest, variation).items()
    renamed = tuple(dataclasses.replace(entries[path], path=name) for name, path in named)
    return dataclasses.replace(manifest, files=(*renamed, *more))


def overview(manifest: ExportManifest) -> str:
    """Return a sentence on what the model is."""
    cursor = manifest.cursor
    return (
        f"{manifest.base_model}, trained until step {cursor.step} of the stage {cursor.stage} with relay; "
        f"{manifest.layout} in {manifest.dtype}."
    )


def usage(manifest: ExportManifest, place: str) -> str:
    """Return how to load the model, and its licences, in Markdown. `place` is owner/model/framework/variation."""
    variation = place.rpartition("/")[2]
    if manifest.layout == "tunix":
        load = (
            f'weights = f"{{folder}}/{variation}"  # an Orbax checkpoint for Tunix\'s loaders of Gemma\n'
            'tokenizer = f"{folder}/tokenizer.model"'
        )
    else:
        load = load_code(manifest.layout, manifest.base_model, manifest.model_kind)
    return (
        f'```python\nimport kagglehub\n\nfolder = kagglehub.model_download("{place}")\n{load}\n```\n\n'
        f"## Licences\n\n{notice(manifest)}"
    )


def description(card: str) -> str:
    """Return the model card without the lines for programs at its beginning."""
    return re.sub(r"\A---\n.*?\n---\n\s*", "", card, count=1, flags=re.DOTALL)
