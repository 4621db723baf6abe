"""The example pipelines that ship with relay, in a checkout and in an installed package."""

from pathlib import Path

from orchestrator.base.errors import BadInput

EXAMPLES = (Path(__file__).parents[2] / "examples", Path(__file__).parents[1] / "examples")


def example(name: str) -> Path:
    """Return the path of an example by file name; raises BadInput if this installation lacks it."""
    for folder in EXAMPLES:
        if (folder / name).exists():
            return folder / name
    raise BadInput(
        f"this relay came without its examples/{name}: install it again, or name a pipeline file of your own"
    )


def default_pipeline() -> Path:
    """Return the pipeline that is rehearsed if the user names none."""
    return example("tiny.yaml")
