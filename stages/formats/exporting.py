"""Exports the weights in a checkpoint to a folder in one of three formats."""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from stages.contract import ARTIFACTS_DIRECTORY
from stages.data.pins import Pins
from stages.formats import card, hugging_face, peft_files, tunix_files
from stages.formats.card import ExportOrigin
from stages.formats.export_manifest import EXPORT_NAME, ExportManifest, file_entries, new_folder
from stages.formats.lazy_arrays import Array
from stages.formats.safetensors_files import hugging_face_shapes, hugging_face_tensors, write_model
from stages.formats.trained_weights import StoredState, TrainedWeights, bytes_of, stored_state
from stages.options import Export, Model
from stages.options.families import family_name
from stages.session import packing
from stages.stage import StageFailed
from stages.training import checkpoints, tokenizer
from stages.training.model_files import ModelFiles
from stages.training.tokenizer import Tokenizer

SIZES = {(26, 2304): "2b", (42, 3584): "9b", (26, 1152): "1b", (18, 640): "270m", (34, 2560): "4b", (48, 3840): "12b"}
"""Names of Gemma's sizes by layers and width."""

UNITS = ((10**9, "b"), (10**6, "m"), (1000, "k"))


@dataclass(frozen=True)
class Exporter:
    """Exports one checkpoint. `find_files` finds or downloads the base model's files, which an adapter does not need."""

    directory: Path
    """Unpacked checkpoint."""
    options: Model
    origin: ExportOrigin
    find_files: Callable[[], ModelFiles]

    def export(self, wanted: Export, target: Path) -> ExportManifest:
        """Write the folder `target`, complete or not at all.

        Raises StageFailed: `export-exists`, `nothing-to-export`, `checkpoint-format`, and for the base model
        `model-missing`, `tokenizer-missing`, `model-damaged`, `model-mismatch` and `model-changed`.
        """
        state = self._state
        if wanted.format == "peft":
            peft_files.refuse_without_adapter(state)
        if wanted.format == "tunix" and not self.options.family.has_flax:
            raise StageFailed(
                "nothing-to-export",
                f"Tunix reads {self.options.family.title} from safetensors only: export with format safetensors, which "
                "Tunix's create_model_from_safe_tensors loads",
            )
        dtype = wanted.dtype
        if dtype == "auto":
            dtype = "float32" if wanted.format == "peft" else self.options.dtype
        with new_folder(target) as folder:
            match wanted.format:
                case "peft":
                    digest = self._write_peft(folder, state, dtype)
                case "tunix":
                    digest = self._write_tunix(folder, dtype)
                case _:
                    digest = self._write_safetensors(folder, dtype)
            return self._finish(folder, wanted.format, dtype, digest)

    @cached_property
    def _state(self) -> StoredState:
        return stored_state(self.directory)

    @cached_property
    def _artifacts(self) -> dict[str, str]:
        found = sorted((self.directory / ARTIFACTS_DIRECTORY).glob("*"))
        return {path.name: path.read_text(encoding="utf-8", errors="replace") for path in found}

    @cached_property
    def _weights(self) -> TrainedWeights:
        return TrainedWeights(self.options, self.find_files(), self._state)

    def _write_peft(self, folder: Path, state: StoredState, dtype: str) -> str:
        tensors = peft_files.adapter_tensors(state.adapters)
        rounded = {name: array.astype(_numpy(dtype)) for name, array in tensors.items()}
        about = peft_files.adapter_config(state.adapters, rounded, card.base_model(self.options))
        peft_files.write_adapter(folder, rounded, _numpy(dtype), about)
        (folder / "chat_template.jinja").write_text(hugging_face.chat_template(self.options), encoding="utf-8")
        return checkpoints.tree_digest(rounded)

    def _write_safetensors(self, folder: Path, dtype: str) -> str:
        weights, pieces = self._weights, self._tokenizer()
        digest = _TreeDigest(weights.shapes, _numpy(dtype))
        blocks = hugging_face_tensors(digest.passing(weights.blocks()), weights.shapes)
        write_model(folder, hugging_face_shapes(weights.shapes), _numpy(dtype), blocks)
        for _ in blocks:  # the base weights are compared with the run's after the last block
            raise AssertionError("every tensor has been written")
        hugging_face.write_json(folder / "config.json", hugging_face.config(weights, dtype, pieces.stops, pieces))
        hugging_face.write_json(folder / "generation_config.json", hugging_face.generation_config(pieces))
        hugging_face.write_tokenizer(folder, weights.files, pieces, self.options)
        return digest.hex()

    def _write_tunix(self, folder: Path, dtype: str) -> str:
        weights, _ = self._weights, self._tokenizer()
        digest = _TreeDigest(weights.shapes, _numpy(dtype))
        turned = tunix_files.is_turned(self.options.kind, weights.sizes.width)
        into = folder / "jax" / size_name(weights)
        tunix_files.write_checkpoint(
            into, weights.shapes, _numpy(dtype), digest.passing(weights.blocks()), turned=turned
        )
        shutil.copyfile(weights.files.tokenizer, into.with_name(self.options.family.tokenizer_file))
        return digest.hex()

    def _tokenizer(self) -> Tokenizer:
        """Read the base model's tokenizer; raises StageFailed if it is another than the run's."""
        pieces, weights = tokenizer.read(self._weights.files.tokenizer, self.options.kind), self._weights
        pins = Pins()
        pins.recall(self._state.data)
        if not pins.same(checkpoints.TOKENIZER_PIN, pieces.sha256):
            raise StageFailed(
                "model-changed",
                f"{weights.files.tokenizer} is not the tokenizer that the run started with: name another",
            )
        if pieces.size > weights.sizes.vocabulary:
            raise StageFailed(
                "model-mismatch",
                f"{weights.files.tokenizer} has {pieces.size} tokens and the model {weights.sizes.vocabulary}: "
                "it is another model's",
            )
        return pieces

    def _finish(self, folder: Path, layout: str, dtype: str, digest: str) -> ExportManifest:
        origin, made = self.origin, self._state.made
        about = {
            "run": origin.run,
            "checkpoint": origin.checkpoint,
            **{f"checkpoint, {name}": value for name, value in sorted((origin.contents or {}).items())},
            "base weights, SHA-256": made,
            "exported weights, SHA-256": digest,
            "format": layout,
            "type": dtype,
        }
        made_up = origin.made_up
        text = card.card(self.options, origin, self._artifacts, about, made_up=made_up)
        (folder / "README.md").write_text(text, encoding="utf-8")
        manifest = ExportManifest(
            layout=layout,
            dtype=dtype,
            run=origin.run,
            cursor=origin.cursor,
            checkpoint=origin.checkpoint,
            contents=dict(origin.contents or {}),
            base_model=card.base_model(self.options),
            model_kind=family_name(self.options.kind),
            system=self.options.system,
            base_sha256=made,
            weights_sha256=digest,
            licences=card.licences(self.options, origin, made_up=made_up),
            files=file_entries(folder),
        )
        packing.write_new(folder / EXPORT_NAME, manifest.to_json().encode())
        return manifest


def size_name(weights: TrainedWeights) -> str:
    """Return the name of a model's size: `2b` for Gemma 2 2B, else by the number of weights, such as `170k`."""
    sizes = weights.sizes
    if (sizes.layers, sizes.width) in SIZES:
        return SIZES[sizes.layers, sizes.width]
    count = sum(int(np.prod(shape)) for shape in weights.shapes.values())
    unit, letter = next((found for found in UNITS if count >= found[0]), UNITS[-1])
    return f"{max(1, round(count / unit))}{letter}"


class _TreeDigest:
    """Computes `checkpoints.tree_digest` of arrays that pass by in blocks, in the order of their names."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype[Any]) -> None:
        self._shapes, self._dtype, self._digest = shapes, dtype, hashlib.sha256()

    def passing(self, blocks: Iterator[tuple[str, Array]]) -> Iterator[tuple[str, Array]]:
        """Yield the blocks, rounded to the type."""
        current = ""
        for name, block in blocks:
            if name != current:
                current = name
                self._digest.update(f"{name}\0{self._dtype}\0{self._shapes[name]}\0".encode())
            rounded = np.ascontiguousarray(block.astype(self._dtype, copy=False))
            self._digest.update(bytes_of(rounded))
            yield name, rounded

    def hex(self) -> str:
        return self._digest.hexdigest()


def _numpy(dtype: str) -> np.dtype[Any]:
    return np.dtype(jnp.dtype(dtype))
