"""Addresses on Kaggle of what a run uses and makes: kernels, datasets and models. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

SITE = "https://www.kaggle.com"
PARTS_OF_A_MODEL = 5
"""Parts of a model's name on Kaggle: owner, model, framework, variation, version."""


def kaggle_links(run: Mapping[str, Any], pipeline: Mapping[str, Any]) -> dict[str, Any]:
    """Return `models` (name and url), and `sessions`: for each slug its links, with `kind`, `name` and `url`.

    A session has a kernel once it was pushed, and a dataset once its checkpoint is on Kaggle; those of a run on another
    platform have no links.
    """
    datasets = {found["name"]: found["dataset"] for found in run["checkpoints"] if found["dataset"]}
    models = [*_models(pipeline), *(found["model"] for found in run["models"])]
    here = pipeline.get("platform", "kaggle") == "kaggle"
    return {
        "models": [{"name": name, "url": model_url(name)} for name in dict.fromkeys(models)],
        "sessions": {
            found["slug"]: list(_links(run["owner"], found, datasets)) if here else [] for found in run["sessions"]
        },
    }


def _models(pipeline: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the model that the pipeline loads and of those that it mounts."""
    source = pipeline.get("model", {}).get("source")
    if isinstance(source, str) and source[:1] not in "/." and len(source.split("/")) == PARTS_OF_A_MODEL:
        yield source
    yield from pipeline.get("inputs", {}).get("models", [])


def model_url(name: str) -> str:
    """Return the page of a model: `owner/model/framework/variation/version`, as pipelines name it, or a part of it."""
    return f"{SITE}/models/{quote(name)}"


def _links(owner: str, session: Mapping[str, Any], datasets: Mapping[str, str]) -> Iterator[dict[str, str]]:
    if session["kernel_version"] is not None:
        name = f"{owner}/{session['slug']}"
        yield {"kind": "kernel", "name": name, "url": f"{SITE}/code/{quote(name)}"}
    if dataset := datasets.get(session["checkpoint"] or ""):
        yield {"kind": "dataset", "name": dataset, "url": f"{SITE}/datasets/{quote(dataset)}"}
