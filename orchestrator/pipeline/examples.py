"""The example pipelines that ship with relay, in a checkout and in an installed package."""

import difflib
from pathlib import Path

from orchestrator.base.errors import BadInput

EXAMPLES = (Path(__file__).parents[2] / "examples", Path(__file__).parents[1] / "examples")
SUFFIX = ".yaml"
FAULTS = ".faults"
"""Ending of a fault plan's name before its suffix: `tiny.faults.yaml` belongs to `tiny.yaml`."""


def example(name: str) -> Path:
    """Return the path of an example by file name; raises BadInput if this installation lacks it."""
    for folder in EXAMPLES:
        if (folder / name).exists():
            return folder / name
    raise BadInput(
        f"this relay came without its examples/{name}: install it again, or name a pipeline file of your own"
    )


def example_names() -> list[str]:
    """Return the names of all examples, such as `counting`, in alphabetical order."""
    found = {path.name.removesuffix(SUFFIX) for folder in EXAMPLES for path in folder.glob(f"*{SUFFIX}")}
    return sorted(name for name in found if not name.endswith(FAULTS))


def bundled(given: Path) -> Path:
    """Return the example that a path means if no file is there: `counting` or `examples/counting.yaml`; else the path.

    An existing file of that name is always the user's own.
    """
    name = given.name.removesuffix(SUFFIX)
    if given.is_file() or given not in (Path(name), Path("examples", name + SUFFIX)) or name not in example_names():
        return given
    return example(name + SUFFIX)


def near_miss(given: Path) -> str:
    """Return the name of the example that resembles a missing file's name most; empty if none does."""
    return next(iter(difflib.get_close_matches(given.name.removesuffix(SUFFIX), example_names(), 1, 0.75)), "")


def default_pipeline() -> Path:
    """Return the pipeline that is rehearsed if the user names none."""
    return example("tiny.yaml")


def without_training() -> Path:
    """Return the pipeline that is rehearsed in its place where the packages for training are missing."""
    return example("counting.yaml")
