"""What a rehearsed session finds mounted in place of large things: a tiny model of the same family, and small data sets."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.rehearsal.local_kaggle.stored_file import Content, Files
from orchestrator.rehearsal.local_kaggle.world import World
from stages import options
from stages.data.mounted import STAND_IN_MARK

SETS = "stand-in-sets"
"""The folder below a session's inputs that holds the data sets; rehearsed sessions have it without asking for it."""

REPLACED = datetime(2026, 1, 1, tzinfo=UTC)
"""When stand-ins were made, to whom it may concern: a fixed time, so that two rehearsals are equal."""


def write(folder: Path, model: Mapping[str, Any], *, own: Collection[str] = (), seed: int = 0) -> None:
    """Write stand-ins for a pipeline's `model:` and for the data sets below `folder`, laid out as a session's inputs.

    A model that is a folder of this machine needs none, and a set that `own` names, since the pipeline brings it, none either.
    Each lies beside a file that says what it is. Needs what the `train` extra installs.
    """
    from orchestrator.rehearsal.local_kaggle.stand_ins.model import write_model  # Orbax and JAX come with it
    from orchestrator.rehearsal.local_kaggle.stand_ins.sets import STAND_IN_TEXT, write_sets
    from orchestrator.rehearsal.local_kaggle.stand_ins.tokenizer import VOCABULARY, write_tokenizer

    chosen = options.fit(options.Model, model, "model")
    if not chosen.source.startswith(("/", ".")):
        into = folder / "models" / chosen.source
        into.mkdir(parents=True)
        layout = "flax" if "/flax/" in chosen.source else "transformers"
        # As many heads as the mesh divides a layer among chips, and two at least, of which each answers two queries.
        kv_heads = max(2, chosen.mesh_tp)
        sizes = {"heads": 2 * kv_heads, "kv_heads": kv_heads}
        write_model(into, chosen.kind.partition("-")[0], layout, vocabulary=len(VOCABULARY), seed=seed, **sizes)
        write_tokenizer(into / "tokenizer.model")
        (into / STAND_IN_MARK).write_text(STAND_IN_TEXT, encoding="utf-8")
    write_sets(folder / SETS, seed=seed, without=own)


def offer(world: World, folder: Path) -> None:
    """Let the world mount what `write` wrote: models where they are asked for, the rest in every session."""
    models = folder / "models"
    for place in models.glob("*/*/*/*/*") if models.is_dir() else ():
        world.offer_model(place.relative_to(models).as_posix(), _files(place))
    world.offer_everywhere(SETS, _files(folder / SETS))


def _files(folder: Path) -> Files:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): Content.of_path(path, REPLACED) for path in found}
