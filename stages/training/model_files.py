"""Finds a model's files: mounted by Kaggle, at a local path, or at Hugging Face.

A model's folder is recognised by its contents, because its place below `/kaggle/input` differs from session to session:

    flax            an Orbax checkpoint as Kaggle offers it, such as `gemma2-2b-it/`; `tokenizer.model` is beside the folder
    transformers    a Hugging Face repository: config.json, *.safetensors and the tokenizer in one folder
"""

import difflib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stages.data.mounted import STAND_IN_MARK
from stages.options import Model
from stages.options.families import SENTENCEPIECE
from stages.stage import StageFailed

Layout = Literal["flax", "transformers"]

ORBAX_MARKS = ("_METADATA", "manifest.ocdbt", "_CHECKPOINT_METADATA")
DEPTH_MAX = 8
"""Search depth below `/kaggle/input`, in folders; Kaggle's deepest layout,
`models/owner/model/framework/variation/version/name`, has seven."""
CHAT_TEMPLATE_NAME, WEIGHTS_NAME = "chat_template.jinja", "model.safetensors"
WANTED = ("*.json", "*.safetensors", SENTENCEPIECE, CHAT_TEMPLATE_NAME)
"""File patterns to download from a repository; some repositories contain the weights in other formats too."""
INSTRUCT = re.compile(r"(^|[-_.])(it|instruct|chat)($|[-_.])", re.IGNORECASE)
"""Pattern in the name of a model that was trained with its family's chat template."""
BASE = re.compile(r"gemma-?[23]-\d+[bm](-pt)?|.*[-_]base", re.IGNORECASE)
"""Pattern of names of base models, which were not trained with the chat template."""


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
        f"model.source: {folder} holds neither a Flax checkpoint (Orbax) nor *.safetensors{near(folder, WEIGHTS_NAME)}; "
        f"{_mounted(inputs)}",
    )


def is_at_hand(options: Model, inputs: Path) -> bool:
    """Return whether the model's files are mounted, or in a folder of this machine: nothing has to be downloaded."""
    return Path(options.source).is_dir() if options.is_folder else _named(options.source, inputs) is not None


def is_instruct(options: Model, files: ModelFiles, turn_end: int | None = None) -> bool:
    """Return whether the model was trained to end its turn with the mark of its chat template; otherwise
    the end of the text is its only end token.

    The name decides if it is one of Google's or contains a mark such as `it` or `base`. Otherwise the files do: for a
    Gemma by including a chat template, for other families, whose base models may include one too, by naming `turn_end`
    (the mark's token) among the end tokens.
    """
    if options.variant != "auto":
        return options.variant == "instruct"
    parts = options.source.rstrip("/").split("/")
    names = {parts[3] if options.kaggle_model else parts[-1], files.weights.name}
    if any(INSTRUCT.search(name) for name in names):
        return True
    if any(BASE.fullmatch(name) for name in names):
        return False
    if options.family.tokenizer_file == SENTENCEPIECE:
        return _has_chat_template(files.weights)
    return turn_end in _declared_ends(files.weights)


def _declared_ends(weights: Path) -> list[Any]:
    """Return the end tokens that generation_config.json or, without that file, config.json names."""
    for name in ("generation_config.json", "config.json"):
        try:
            found = json.loads((weights / name).read_text(encoding="utf-8")).get("eos_token_id")
        except (OSError, ValueError, AttributeError):
            continue
        if found is not None:
            return found if isinstance(found, list) else [found]
    return []


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
    if options.is_folder:
        if Path(source).is_dir():
            return Path(source)
        hint = near(Path(source).parent, Path(source).name)
        raise StageFailed("model-missing", f"model.source {source} is not a folder{hint}; {_mounted(inputs)}")
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


def near(folder: Path, wanted: str) -> str:
    """Return a question about the entry of a folder whose name is the most similar one; empty if none is."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)
    return f" (did you mean {folder / close[0]}?)" if close else ""


def _tokenizer(options: Model, weights: Path) -> Path:
    if options.tokenizer:
        path = Path(options.tokenizer)
        if path.is_file():
            return path
        hint = near(path.parent, path.name)
        raise StageFailed("tokenizer-missing", f"model.tokenizer {options.tokenizer} is not a file{hint}")
    name = options.family.tokenizer_file
    for folder in (weights, weights.parent):
        if (folder / name).is_file():
            return folder / name
    raise StageFailed(
        "tokenizer-missing",
        f"{name} lies neither in {weights} nor one folder above{near(weights, name)}: name the file as model.tokenizer",
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
