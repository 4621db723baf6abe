"""Effects of the scripts of a cluster's shared folder, as functions on a real folder, by the text of the script."""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator.platforms import shared_folder as scripts
from orchestrator.platforms.shared_folder import REVOKED


def text_in(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def contents(folder: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _make(*folders: str) -> str:
    for folder in folders:
        Path(folder).mkdir(parents=True, exist_ok=True)
    return ""


def _write_file(given: Sequence[str], file: Path | None) -> str:
    assert file is not None
    _make(given[0])
    shutil.copyfile(file, Path(given[0]) / given[1])
    return ""


def _show(given: Sequence[str]) -> str:
    folder = Path(given[0])
    return (folder / given[2]).read_text(encoding="utf-8") if folder.is_dir() else scripts.ABSENT


def _take(given: Sequence[str]) -> str:
    if Path(given[1]).exists():
        return "taken"
    Path(given[0]).rename(given[1])
    return "done"


def _list(given: Sequence[str]) -> str:
    folder = Path(given[0])
    if not folder.is_dir():
        return scripts.ABSENT
    return "".join(f"{len(data)} {name}\0" for name, data in contents(folder).items())


def _names(given: Sequence[str]) -> str:
    _make(given[0])
    there = [path for path in Path(given[0]).iterdir() if path.is_dir() and not path.name.startswith(".")]
    return "".join(f"{path.stat().st_mtime} {path.name}\n" for path in there)


def _revoke(given: Sequence[str]) -> str:
    claim = Path(given[0]) / "claim"
    if not claim.exists():
        claim.write_text(f"{REVOKED}\n")
    return ""


def _replace(given: Sequence[str]) -> str:
    _make(given[1])
    shutil.rmtree(given[2], ignore_errors=True)
    Path(given[0]).rename(given[2])
    return ""


def _mount(given: Sequence[str]) -> str:
    shutil.copytree(given[0], given[1], dirs_exist_ok=True)
    return ""


def _sums(given: Sequence[str]) -> str:
    found = contents(Path(given[0])) if Path(given[0]).is_dir() else {}
    return "".join(f"{hashlib.sha256(data).hexdigest()}  ./{name}\0" for name, data in found.items())


def _keep(given: Sequence[str]) -> str:
    for path in Path(given[0]).iterdir():
        if path.name not in given[1:]:
            path.unlink()
    return ""


def _delete(given: Sequence[str]) -> str:
    shutil.rmtree(given[0], ignore_errors=True)
    return ""


SCRIPTS: Mapping[str, Callable[[Sequence[str], Path | None], str]] = {
    "id -un": lambda given, file: "me",
    scripts.PREPARE: lambda given, file: _make(*given),
    scripts.LAY_OUT: lambda given, file: _make(*(f"{given[0]}/{name}" for name in ("input", "working", "tmp"))),
    scripts.WRITE: _write_file,
    scripts.SHOW: lambda given, file: _show(given),
    scripts.TAKE: lambda given, file: _take(given),
    scripts.LIST: lambda given, file: _list(given),
    scripts.NAMES: lambda given, file: _names(given),
    scripts.REVOKE: lambda given, file: _revoke(given),
    scripts.REPLACE: lambda given, file: _replace(given),
    scripts.MOUNT: lambda given, file: _mount(given),
    scripts.SUMS: lambda given, file: _sums(given),
    scripts.KEEP: lambda given, file: _keep(given),
    scripts.DELETE: lambda given, file: _delete(given),
}
