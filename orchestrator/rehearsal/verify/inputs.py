"""Inputs mounted below `/kaggle/input` for the sessions of a verified pipeline, apart from the parent checkpoint."""

from collections.abc import Mapping
from pathlib import Path

from orchestrator.base.clock import SystemClock
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.own_data import sets_in_files
from orchestrator.rehearsal.local_kaggle.sandbox import Mount
from orchestrator.rehearsal.local_kaggle.stand_ins import install
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from stages.data.mounted import STAND_IN_MARK


def mounted(pipeline: Pipeline, path: Path, folder: Path) -> tuple[Mount, ...]:
    """Return the mounts of a pipeline: its own files, and stand-ins for its datasets, model and data sets.

    File names in the pipeline are relative to `path`, the pipeline file; stand-ins are created in `folder`. They are
    those of a rehearsal: the verification proves that cutting changes nothing, whatever is computed.
    """
    own = {Path(name).name: path.parent / name for name in pipeline.inputs.files}
    mounts = [_mount("datasets/verify/inputs", own)] if own else []
    # The contents are unknown here, and a session without the mount would wait for it.
    for ref in pipeline.inputs.datasets:
        mark = Content.of_bytes(b"a stand-in", SystemClock().now())
        place = f"datasets/{'/'.join(ref.split('/')[:2])}"
        mounts.append(Mount(name=place, place=place, files={STAND_IN_MARK: mark}))
    if pipeline.loaded_model is not None:
        folder.mkdir(parents=True)
        install.write(folder, pipeline.model, own=sets_in_files(pipeline))
        found = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
        mounts.append(_mount(".", found))
    return tuple(mounts)


def _mount(place: str, files: Mapping[str, Path]) -> Mount:
    now = SystemClock().now()
    return Mount(name=place, place=place, files={name: Content.of_path(file, now) for name, file in files.items()})
