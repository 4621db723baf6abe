"""Measure the memory that the export of a made-up model of Gemma 2 2B's size needs, in each format.

The base model's files have one chunk per array, as Orbax writes them, in bfloat16. The checkpoint has an adapter of rank
16, or with --full other values of all weights in float32, in chunks as relay writes them. The largest resident memory is
that of the exporting process. Needs Linux.

    python -m benchmarks.export_memory [--full] [--dtype float32] [--folder DIR] [FORMAT …]
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tensorstore as ts
from flax import nnx

from orchestrator.rehearsal.local_kaggle.stand_ins.tokenizer import write_tokenizer
from stages.contract import Cursor
from stages.formats import tunix_files
from stages.formats.names import place_of
from stages.options import Model
from stages.training import families
from stages.training.checkpoints import CHUNK_BYTES, TrainingState, Weights, write
from stages.training.lora import Adapter

KIND, RANK = "gemma2-2b", 16
LIMIT_BYTES = 4 * 2**30
EXPORT = """
import sys
from pathlib import Path
from stages.formats import command
status = command.main()
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(status)
"""
"""Program that exports and reports its largest resident memory. getrusage would report the parent's, if that is larger."""
Array = np.ndarray[Any, Any]


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the shapes of the model's weights by name."""
    config = families.full_size_config(KIND, Model(kind=KIND, dtype="bfloat16"))
    model = nnx.eval_shape(lambda: families.model_class(KIND)(config, rngs=nnx.Rngs(0)))
    flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
    return dict(sorted((".".join(map(str, path)), tuple(leaf.shape)) for path, leaf in flat))


def drawn(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return made-up weights: normal numbers, repeated after some millions."""
    pool = np.random.default_rng(0).standard_normal(2**22).astype(np.float32) * 0.02
    return np.resize(pool.astype(dtype), shape)


def write_array(folder: Path, path: str, array: Array, chunk_bytes: int = 2**40) -> None:
    """Write one array of an Orbax checkpoint in chunks of at most so many bytes."""
    rows = min(len(array), max(1, chunk_bytes * len(array) // array.nbytes))
    spec = {
        "driver": "zarr",
        "kvstore": {"driver": "ocdbt", "base": f"file://{folder}/", "path": f"{path}/"},
        "metadata": {
            "shape": list(array.shape),
            "chunks": [rows, *array.shape[1:]],
            "dtype": "bfloat16" if array.dtype.itemsize == 2 else "<f4",
            "compressor": {"id": "zstd", "level": 1},
            "dimension_separator": ".",
        },
    }
    ts.open(spec, create=True).result().write(array).result()


def write_base(folder: Path) -> str:
    """Write the base model's files as Kaggle has them; returns the digest of the weights."""
    digest, halves = hashlib.sha256(), []
    weights = folder / "gemma2-2b-it"
    weights.mkdir(parents=True)
    for name, shape in shapes().items():
        array, place = drawn(shape, jnp.dtype("bfloat16")), place_of(name)
        digest.update(f"{name}\0{array.dtype}\0{array.shape}\0".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
        halves = [*halves, array] if place.part is not None else []
        if place.part is None:
            write_array(weights, f"{place.key}.{place.leaf}", array)
        elif len(halves) == 2:
            write_array(weights, f"{place.key}.{place.leaf}", np.stack(halves))
    places = dict.fromkeys((place.key, place.leaf) for place in map(place_of, shapes()))
    tunix_files.write_small_files(weights, places)
    write_tokenizer(folder / "tokenizer.model")
    return digest.hexdigest()


def adapter() -> Adapter:
    """Return an adapter on every matrix."""
    arrays = {}
    for name, shape in shapes().items():
        inputs, outputs = factors(name.split(".")[-2], shape)
        if inputs:
            arrays[f"{name}_lora_a"] = drawn((*inputs, RANK), np.float32)
            arrays[f"{name}_lora_b"] = drawn((RANK, *outputs), np.float32)
    return Adapter(RANK, 32.0, arrays)


def factors(module: str, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of a module's inputs and outputs; empty if it gets no adapter."""
    match module:
        case "q_einsum":
            return shape[1:2], (shape[0], shape[2])
        case "kv_einsum":
            return shape[2:3], (*shape[:2], shape[3])
        case "attn_vec_einsum":
            return shape[:2], shape[2:]
        case "gate_proj" | "up_proj" | "down_proj":
            return shape[:1], shape[1:]
    return (), ()


def write_checkpoint(folder: Path, made: str, *, full: bool) -> None:
    """Write the unpacked checkpoint."""
    folder.mkdir()
    if not full:
        write(TrainingState(Weights(None, (adapter(),)), made), folder)
        return
    about: Mapping[str, Any] = {"format": 1, "items": ["base"], "made": made, "adapters": [], "origin": None}
    (folder / "state.json").write_text(json.dumps(about), encoding="ascii")
    for name, shape in shapes().items():
        write_array(folder / "arrays" / "base", name, drawn(shape, np.float32), CHUNK_BYTES)


def export(folder: Path, layout: str, dtype: str) -> tuple[float, int, int, int]:
    """Export; returns seconds, the largest resident memory in bytes, bytes written and the number of files."""
    target = folder / f"out-{layout}"
    request = {
        "directory": str(folder / "checkpoint"),
        "target": str(target),
        "options": {"format": layout, "dtype": dtype},
        "model": {"kind": KIND, "source": "google/gemma-2/flax/gemma2-2b-it/1", "dtype": "bfloat16"},
        "run": "made-up",
        "cursor": Cursor(stage="sft", step=1).to_dict(),
        "stages": [{"name": "sft", "kind": "sft", "steps": 1, "options": {}}],
        "checkpoint": "",
        "contents": {},
        "inputs": str(folder),
        "scratch": str(folder),
        "base": str(folder / "base"),
    }
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", EXPORT],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}")
    peak = 1024 * int(done.stderr.splitlines()[-1].split()[1])
    sizes = [path.stat().st_size for path in target.rglob("*") if path.is_file()]
    shutil.rmtree(target)
    return time.monotonic() - began_s, peak, sum(sizes), len(sizes)


def main() -> None:
    """Print one line per format; the exit status is 1 if one needed more than LIMIT_BYTES."""
    parser = argparse.ArgumentParser()
    parser.add_argument("formats", nargs="*", default=["safetensors", "tunix", "peft"])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--folder", type=Path, help="where there is room for 25 GB; default: a temporary folder")
    chosen = parser.parse_args()
    over = False
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        made = write_base(folder / "base")
        write_checkpoint(folder / "checkpoint", made, full=chosen.full)
        for layout in chosen.formats:
            if layout == "peft" and chosen.full:
                continue
            seconds, peak, size, files = export(folder, layout, chosen.dtype)
            over |= peak > LIMIT_BYTES
            print(
                f"{layout:12} {chosen.dtype:9} {seconds:6.0f} s  {peak / 2**30:5.2f} GiB  {size / 1e9:5.2f} GB in {files} files"
            )
            sys.stdout.flush()
    sys.exit(over)


if __name__ == "__main__":
    main()
