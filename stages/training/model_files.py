"""Finds a model's files: mounted by Kaggle, at a local path, or at Hugging Face.

A model's folder is recognised by its contents, because its place below `/kaggle/input` differs from session to session:

    flax            an Orbax checkpoint as Kaggle offers it, such as `gemma2-2b-it/`; `tokenizer.model` is beside the folder
    transformers    a Hugging Face repository: config.json, *.safetensors and tokenizer.model in one folder
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.data.mounted import STAND_IN_MARK
from stages.options import Model
from stages.stage import StageFailed

Layout = Literal["flax", "transformers"]

ORBAX_MARKS = ("_METADATA", "manifest.ocdbt", "_CHECKPOINT_METADATA")
TOKENIZER_NAME = "tokenizer.model"
DEPTH_MAX = 8
"""Search depth below `/kaggle/input`, in folders; Kaggle's deepest layout,
`models/owner/model/framework/variation/version/name`, has seven."""
CHAT_TEMPLATE_NAME = "chat_template.jinja"
WANTED = ("*.json", "*.safetensors", TOKENIZER_NAME, CHAT_TEMPLATE_NAME)
"""File patterns to download from a repository; some repositories contain the weights in other formats too."""
INSTRUCT = re.compile(r"(^|[-_.])(it|instruct|chat)($|[-_.])", re.IGNORECASE)
"""Pattern in the name of a model that was trained with Gemma's chat template."""
BASE = re.compile(r"gemma-?[23]-\d+[bm](-pt)?", re.IGNORECASE)
"""Pattern of Google's names of base models, which were not trained with the chat template."""


@dataclass(frozen=True)
class ModelFiles:
    """Paths of a model's parts."""

    weights: Path
    layout: Layout
    tokenizer: Path

    @property
    def made_up(self) -> bool:
        """True if the model is a stand-in made for a rehearsal."""
        return any((folder / STAND_IN_MARK).is_file() for folder in (self.weights, self.weights.parent))


def find(options: Model, inputs: Path, scratch: Path) -> ModelFiles:
    """Find the files that `options` name. Downloads go to `scratch`.

    Raises StageFailed `model-missing` (transient if Kaggle or Hugging Face may provide it
    next time) or `tokenizer-missing`.
    """
    folder = _folder(options, inputs, scratch)
    for weights in (folder, *below(folder)):
        layout = layout_of(weights)
        if layout is not None:
            return ModelFiles(weights.absolute(), layout, _tokenizer(options, weights))
    raise StageFailed(
        "model-missing",
        f"model.source: {folder} holds neither a Flax checkpoint (Orbax) nor *.safetensors; {_mounted(inputs)}",
    )


def is_at_hand(options: Model, inputs: Path) -> bool:
    """Return whether the model's files are mounted, or in a folder of this machine: nothing has to be downloaded."""
    local = options.source.startswith(("/", "."))
    return Path(options.source).is_dir() if local else _named(options.source, inputs) is not None


def is_instruct(options: Model, files: ModelFiles) -> bool:
    """Return whether the model was trained to end its turn with `<end_of_turn>`; otherwise
    `<eos>` is its only end token.

    The name decides if it is one of Google's or contains a mark such as `it`; otherwise a chat template
    among the files decides.
    """
    if options.variant != "auto":
        return options.variant == "instruct"
    parts = options.source.rstrip("/").split("/")
    names = {parts[3] if options.kaggle_model else parts[-1], files.weights.name}
    if any(INSTRUCT.search(name) for name in names):
        return True
    return not any(BASE.fullmatch(name) for name in names) and _has_chat_template(files.weights)


def _has_chat_template(weights: Path) -> bool:
    if (weights / CHAT_TEMPLATE_NAME).is_file():
        return True
    try:
        return bool(json.loads((weights / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template"))
    except (OSError, ValueError, AttributeError):
        return False


def layout_of(folder: Path) -> Layout | None:
    """Return the layout of the weights directly in this folder; None if there are none."""
    if any((folder / mark).is_file() for mark in ORBAX_MARKS):
        return "flax"
    return "transformers" if any(folder.glob("*.safetensors")) else None


def _folder(options: Model, inputs: Path, scratch: Path) -> Path:
    source = options.source
    if source.startswith(("/", ".")):
        if Path(source).is_dir():
            return Path(source)
        raise StageFailed("model-missing", f"model.source {source} is not a folder; {_mounted(inputs)}")
    mounted = _named(source, inputs)
    if mounted is not None:
        return mounted
    if options.kaggle_model:
        raise StageFailed(
            "model-missing", f"the Kaggle model {source} is not among the inputs; {_mounted(inputs)}", transient=True
        )
    return _download(source, scratch, inputs)


def _named(source: str, inputs: Path) -> Path | None:
    """Return the mounted folder whose path ends in the source's name, preferring one with its owner in the path."""
    owner, *name = source.lower().split("/")
    found: dict[bool, Path] = {}
    for weights in _models(inputs):
        parts = tuple(part.lower() for part in weights.relative_to(inputs).parts)
        # Also compare the parent: Kaggle's version folders contain another folder with the files.
        for end, folder in ((len(parts), weights), (len(parts) - 1, weights.parent)):
            if end >= len(name) and parts[end - len(name) : end] == tuple(name):
                found.setdefault(owner in parts[: end - len(name)], folder)
    return found.get(True, found.get(False))


def _models(inputs: Path) -> Iterator[Path]:
    """Yield every mounted folder with weights, in order, without searching inside those folders."""
    for path, folders, _ in os.walk(inputs):
        here = Path(path)
        if layout_of(here) is not None:
            folders.clear()
            yield here
        depth = len(here.relative_to(inputs).parts)
        folders[:] = sorted(name for name in folders if depth < DEPTH_MAX and not name.startswith("."))


def _mounted(inputs: Path) -> str:
    found = [str(folder.relative_to(inputs)) for folder in _models(inputs)]
    return f"mounted instead: {', '.join(found[:5])}" if found else "no model is mounted"


def below(folder: Path) -> list[Path]:
    """Return the folders directly in a folder, without hidden ones."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _tokenizer(options: Model, weights: Path) -> Path:
    if options.tokenizer:
        if Path(options.tokenizer).is_file():
            return Path(options.tokenizer)
        raise StageFailed("tokenizer-missing", f"model.tokenizer {options.tokenizer} is not a file")
    for folder in (weights, weights.parent):
        if (folder / TOKENIZER_NAME).is_file():
            return folder / TOKENIZER_NAME
    raise StageFailed(
        "tokenizer-missing",
        f"{TOKENIZER_NAME} lies neither in {weights} nor one folder above: name the file as model.tokenizer",
    )


def _download(repository: str, scratch: Path, inputs: Path) -> Path:
    from httpx import HTTPError
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    into = scratch / "models" / repository.replace("/", "--")
    looked = f"{repository} is not among the inputs ({_mounted(inputs)})"
    try:
        return Path(snapshot_download(repository, local_dir=into, allow_patterns=list(WANTED)))
    except (RepositoryNotFoundError, HFValidationError) as error:  # missing or gated: a retry would not help
        reason = f"{looked} and Hugging Face does not provide it: {_first_line(error)}"
        raise StageFailed("model-missing", reason) from error
    except (OSError, HTTPError) as error:
        reason = f"{looked} and fetching it from Hugging Face failed: {_first_line(error)}"
        raise StageFailed("model-missing", reason, transient=True) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
