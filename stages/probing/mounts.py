"""Compares what is mounted below `/kaggle/input` with what was uploaded: checkpoint, trial files, models."""

import json
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from stages.options import Probe
from stages.probing.findings import REFUTED, ProbeFinding, judged
from stages.session import packing, parent_checkpoint

DEPTH_MAX = 9
HEADER_BYTES_MAX = 100 << 20
"""Largest table of contents of a safetensors file, in bytes (the format's own limit)."""
ORBAX_TABLE = "_METADATA"
UNKNOWN_SUFFIXES = (".bin", ".relay")
VERSION_FILE = "relay-trial-version.bin"
"""File of the dataset with several versions."""
UNPACKED = {".gz": "relay-trial.txt", ".zip": "relay-trial-packed.txt"}
"""Name of the file inside each packed trial file, by suffix."""


def findings_of_mounts(inputs: Path, wanted: Probe) -> list[ProbeFinding]:
    """Return what the mounts show. The runner has verified the checkpoint's bytes before this stage began."""
    checkpoints = list(parent_checkpoint.find(inputs))
    places = [found.folder.relative_to(inputs) for found in checkpoints]
    size_bytes = sum(found.manifest.size_bytes for found in checkpoints)
    found = [
        judged("sentinel-mounted", bool(places), "the checkpoint of the session before was mounted, every hash fits"),
        _finding_of_layout([*places, *_trial_places(inputs, wanted)]),
        _finding_of_suffixes(inputs, wanted, size_bytes),
    ]
    if wanted.versions:
        found.append(_finding_of_versions(inputs, wanted.versions))
    return [*found, _finding_of_models(inputs, wanted.models)] if wanted.models else found


def _finding_of_versions(inputs: Path, sha256: Sequence[str]) -> ProbeFinding:
    """Return which version of a dataset is mounted whose source names the first one."""
    copies = _files_by_name(inputs).get(VERSION_FILE, [])
    mounted = next((sha256.index(digest) + 1 for digest in map(packing.sha256_of, copies) if digest in sha256), None)
    if mounted is None:
        detail = (
            "a source with a version mounted nothing" if not copies else "the mounted version is none of those uploaded"
        )
        return ProbeFinding(key="dataset-version-mounts", verdict=REFUTED, detail=detail)
    return judged(
        "dataset-version-mounts",
        mounted == len(sha256),
        f"a source of version 1 mounts version {mounted} of {len(sha256)}",
    )


def _finding_of_layout(places: Sequence[PurePath]) -> ProbeFinding:
    shapes = sorted({parent_checkpoint.shape_of(place) for place in places})
    known = all(shape in ("{slug}", "datasets/{owner}/{slug}", "notebooks/{owner}/{slug}") for shape in shapes)
    return judged("mount-layout", known, f"mounted as {' and as '.join(shapes)}")


# --- trial files -------------------------------------------------------------


def notes_on_trial(inputs: Path, wanted: Probe) -> dict[str, str]:
    """Return what became of each trial file."""
    fates = fates_of_trial(inputs, wanted.trial)
    told = ", ".join(f"{PurePath(name).name.removeprefix('relay-trial')} {fate}" for name, fate in fates.items())
    return {"uploaded files": told} if told else {}


def fates_of_trial(inputs: Path, trial: Sequence[str]) -> dict[str, str]:
    """Return what became of each trial file: unchanged, changed, unpacked or missing."""
    wanted = dict(entry.rsplit(":", 1) for entry in trial)
    files = _files_by_name(inputs)
    found = {}
    for name, sha256 in wanted.items():
        copies = files.get(name, [])
        inner = UNPACKED.get(PurePath(name).suffix)
        if any(packing.sha256_of(path) == sha256 for path in copies):
            found[name] = "unchanged"
        elif copies:
            found[name] = "changed"
        else:
            found[name] = "unpacked" if inner in files else "missing"
    return found


def _finding_of_suffixes(inputs: Path, wanted: Probe, size_bytes: int) -> ProbeFinding:
    fates = fates_of_trial(inputs, wanted.trial)
    bad = [
        f"{name} is {fates[name]}" for name in fates if name.endswith(UNKNOWN_SUFFIXES) and fates[name] != "unchanged"
    ]
    if bad:
        return ProbeFinding(key="unknown-suffix-kept", verdict=REFUTED, detail="; ".join(bad))
    return judged(
        "unknown-suffix-kept",
        True,
        "files with the suffixes .bin and .relay are unchanged",
        {"size_bytes": float(size_bytes)},
    )


def _trial_places(inputs: Path, wanted: Probe) -> Iterator[PurePath]:
    names = {entry.rsplit(":", 1)[0] for entry in wanted.trial if entry.rsplit(":", 1)[0].endswith(UNKNOWN_SUFFIXES)}
    files = _files_by_name(inputs)
    yield from (path.parent.relative_to(inputs) for name in sorted(names) for path in files.get(name, []))


def _files_by_name(inputs: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for folder, folders, names in os.walk(inputs):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith("relay-trial"):
                found.setdefault(name, []).append(Path(folder) / name)
    return found


# --- models ------------------------------------------------------------------


def _finding_of_models(inputs: Path, refs: Sequence[str]) -> ProbeFinding:
    folders = [model_folder(inputs, ref) for ref in refs]
    if missing := sum(folder is None for folder in folders):
        detail = f"{missing} of {len(refs)} models are not mounted"
        return ProbeFinding(key="model-mounted", verdict=REFUTED, detail=detail)
    files = [path for folder in folders if folder for path in folder.rglob("*") if path.is_file()]
    total_bytes = sum(path.stat().st_size for path in files)
    tensors, unreadable = 0, []
    for path in files:
        try:
            tensors += count_tensors(path)
        except (OSError, ValueError) as error:
            unreadable.append(f"{path.name}: {error}")
    detail = f"{len(files):,} files, {total_bytes:,} bytes, tables of contents with {tensors:,} arrays"
    if unreadable or not files:
        detail = f"{len(files):,} files; not readable: {'; '.join(unreadable)[:160] or 'there are none'}"
    return judged("model-mounted", bool(files) and not unreadable, detail, {"files": float(len(files))})


def model_folder(inputs: Path, ref: str) -> Path | None:
    """Return the mounted folder of a model, `owner/model/framework/variation/version`; None if there is none."""
    wanted = tuple(part.lower() for part in ref.split("/"))
    found = []
    for folder, folders, _ in os.walk(inputs):
        parts = tuple(part.lower() for part in Path(folder).relative_to(inputs).parts)
        if len(parts) >= DEPTH_MAX:
            folders.clear()
        if parts[-4:] == wanted[1:]:
            found.append((wanted[0] not in parts, len(parts), Path(folder)))
    return min(found)[2] if found else None


def count_tensors(path: Path) -> int:
    """Return how many arrays a file's table of contents lists; 0 for a file without one.

    Reads the table alone. Raises ValueError if it is damaged.
    """
    if path.name == ORBAX_TABLE:
        return len(json.loads(path.read_bytes()).get("tree_metadata", {}))
    if path.suffix != ".safetensors":
        return 0
    with path.open("rb") as file:
        (size_bytes,) = struct.unpack("<Q", file.read(8).ljust(8, b"\xff"))
        if size_bytes > HEADER_BYTES_MAX:
            raise ValueError("it is no safetensors file")
        table = json.loads(file.read(size_bytes))
        last = max((entry["data_offsets"][1] for name, entry in table.items() if name != "__metadata__"), default=0)
        if path.stat().st_size != 8 + size_bytes + last:
            raise ValueError("its size is not the one that its table of contents implies")
    return len(table) - ("__metadata__" in table)
