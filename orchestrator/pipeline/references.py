"""Checks references to Kaggle datasets and models in a pipeline, and suggests the correct form."""

import re

PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
DATASET = re.compile(rf"{PART}/{PART}(/\d+)?")
MODEL = re.compile(rf"({PART}/){{4}}\d+")
ADDRESS = re.compile(r"^(https?:)?/*(www\.)?kaggle\.com/+", re.IGNORECASE)


def dataset_problem(ref: str) -> str:
    """Return why a dataset reference is not valid, with the remedy; empty if it is valid."""
    if DATASET.fullmatch(ref):
        return ""
    parts = _parts(ref, "datasets")
    meant = "/".join(parts[:2])
    if "versions" in parts[2:3] and DATASET.fullmatch(meant):
        return f"{ref!r} names a version, and Kaggle mounts the newest one: write {meant}"
    if ADDRESS.match(ref) and len(parts) < 2:
        return (
            f"{ref!r} is no dataset's address: open the dataset's page, and write the part of its address after "
            "datasets/"
        )
    return f"{ref!r} is no dataset: write {_written(meant, DATASET, 'owner/slug, as its address has it')}"


def model_problem(ref: str) -> str:
    """Return why a model reference is not valid, with the remedy; empty if it is valid."""
    if MODEL.fullmatch(ref):
        return ""
    meant = "/".join(part for part in _parts(ref, "models") if part != "versions")
    usual = "owner/model/framework/variation/version, such as google/gemma-2/flax/gemma2-2b-it/1"
    return f"{ref!r} is no model: write {_written(meant, MODEL, usual)}"


def _parts(ref: str, kind: str) -> list[str]:
    """Split a reference or a URL into its parts; blanks become hyphens, as in Kaggle's own names."""
    bare = re.split(r"[?#]", ADDRESS.sub("", ref.strip()), maxsplit=1)[0]
    parts = [re.sub(r"\s+", "-", part.strip()) for part in bare.split("/") if part.strip()]
    return parts[1:] if parts[:1] == [kind] else parts


def _written(meant: str, form: re.Pattern[str], usual: str) -> str:
    return meant if form.fullmatch(meant) else usual
