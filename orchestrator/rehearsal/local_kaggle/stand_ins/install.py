"""Writes and mounts the stand-ins of a rehearsal: a tiny model of the same family, and small data sets."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.rehearsal.local_kaggle.stored_file import Content, Files
from orchestrator.rehearsal.local_kaggle.world import World
from stages import options
from stages.data.mounted import STAND_IN_MARK
from stages.options.families import family_name

SETS = "stand-in-sets"
"""Folder of the data sets below a session's inputs; rehearsed sessions have it without requesting it."""

REPLACED = datetime(2026, 1, 1, tzinfo=UTC)
"""Fixed modification time of stand-ins, so that two rehearsals are equal."""


def write(folder: Path, model: Mapping[str, Any], *, own: Collection[str] = (), seed: int = 0) -> None:
    """Write stand-ins for a pipeline's `model:` and for the data sets below `folder`, laid out as a session's inputs.

    A model in a local folder needs no stand-in, nor do the data sets in `own`, which the pipeline provides. A marker
    file beside each stand-in says what it is. Needs the packages of the `train` extra.
    """
    from orchestrator.rehearsal.local_kaggle.stand_ins.model import write_model  # imports Orbax and JAX
    from orchestrator.rehearsal.local_kaggle.stand_ins.sets import STAND_IN_TEXT, write_sets
    from orchestrator.rehearsal.local_kaggle.stand_ins.tokenizer import vocabulary_size, write_tokenizer_of

    chosen = options.fit(options.Model, model, "model")
    if not chosen.is_folder:
        into = folder / "models" / chosen.source
        into.mkdir(parents=True)
        layout = "flax" if "/flax/" in chosen.source else "transformers"
        # The mesh must be able to split the KV heads among chips. There are at least two, each with two query heads.
        kv_heads = max(2, chosen.mesh_tp)
        sizes = {"heads": 2 * kv_heads, "kv_heads": kv_heads}
        write_model(into, family_name(chosen.kind), layout, vocabulary=vocabulary_size(chosen.kind), seed=seed, **sizes)
        write_tokenizer_of(chosen.kind, into)
        (into / STAND_IN_MARK).write_text(STAND_IN_TEXT, encoding="utf-8")
    write_sets(folder / SETS, seed=seed, without=own)


def offer(world: World, folder: Path) -> None:
    """Make the world mount what `write` wrote: models where they are requested, the data sets in every session."""
    models = folder / "models"
    for place in models.glob("*/*/*/*/*") if models.is_dir() else ():
        world.offer_model(place.relative_to(models).as_posix(), _files(place))
    world.offer_everywhere(SETS, _files(folder / SETS))


def _files(folder: Path) -> Files:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): Content.of_path(path, REPLACED) for path in found}
