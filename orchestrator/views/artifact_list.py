"""Artifacts of a run on this disk: names, sizes, and the path of one that may be downloaded."""

from pathlib import Path
from typing import Any

TRANSCRIPTS_OF = ("transcripts-", ".jsonl")


def artifact_list(folder: Path) -> list[dict[str, Any]]:
    """Return the artifacts with `name`, `size_bytes` and, for transcripts, the `stage`; empty without the folder."""
    return [
        {"name": path.name, "size_bytes": path.stat().st_size, "stage": transcript_stage(path.name)}
        for path in artifact_paths(folder)
    ]


def artifact_paths(folder: Path) -> list[Path]:
    """Return the whole, ordinary files in the folder, sorted; links are left out, since they may lead anywhere."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.suffix != ".part" and path.is_file() and not path.is_symlink()
    )


def transcript_stage(name: str) -> str | None:
    """Return the evaluation whose transcripts the artifact holds; None for other artifacts."""
    begin, end = TRANSCRIPTS_OF
    return name.removeprefix(begin).removesuffix(end) if name.startswith(begin) and name.endswith(end) else None
