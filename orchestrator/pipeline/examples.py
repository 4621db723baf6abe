"""The example pipelines that come with relay: in a checkout, and in an installed relay."""

from pathlib import Path

from orchestrator.base.errors import BadInput

EXAMPLES = (Path(__file__).parents[2] / "examples", Path(__file__).parents[1] / "examples")


def example(name: str) -> Path:
    """The example of that file name; raises BadInput where this relay came without it."""
    for folder in EXAMPLES:
        if (folder / name).exists():
            return folder / name
    raise BadInput(
        f"this relay came without its examples/{name}: install it again, or name a pipeline file of your own"
    )


def default_pipeline() -> Path:
    """The pipeline that is rehearsed when none is named."""
    return example("tiny.yaml")
