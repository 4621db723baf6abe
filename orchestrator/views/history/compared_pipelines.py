"""Differences of the pipelines of several runs, with the defaults that are in force. Pure."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.base.humanize import counted
from orchestrator.pipeline.difference import VALUE_CHARS_MAX, differences
from stages.catalog import KINDS

STAGES = "stages"


def pipeline_differences(pipelines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each key in which the pipelines differ, with a value for each of them; None if it has no such key.

    Stages are compared by name. An option that is left out has its default. A stage that not all of them have is
    described in a few words, and a long text, such as a user's module, by its length and digest.
    """
    return [
        {"key": key, "values": [_shown(key, value) for value in values]}
        for key, values in differences([_in_force(pipeline) for pipeline in pipelines])
    ]


def _in_force(pipeline: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pipeline with its stages by name, all their options, and their order."""
    stages = pipeline[STAGES]
    by_name = {stage["name"]: {**stage, "options": _options(stage)} for stage in stages}
    return {**pipeline, STAGES: by_name, "order of stages": " ".join(stage["name"] for stage in stages)}


def _options(stage: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stage's options with the defaults; of a stage of the user's own, those that were given."""
    given = dict(stage["options"])
    kind = KINDS.get(stage["kind"])
    if kind is None or kind.options is None:
        return given
    try:
        fitted = kind.fit(given, stage["name"])
    except ValueError:
        return given  # a run of another version of relay, whose options this one does not know
    filled = {name: _plain(value) for name, value in dataclasses.asdict(fitted).items()}
    return {**filled, **given}


def _plain(value: Any) -> Any:
    """Return a value as JSON would hold it."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _shown(key: str, value: Any) -> Any:
    if key.startswith(f"{STAGES}.") and isinstance(value, dict) and {"kind", "steps"} <= value.keys():
        return f"{value['kind']}, {counted(value['steps'], 'step')}"
    if isinstance(value, str) and len(value) > VALUE_CHARS_MAX:
        return f"{len(value):,} characters, SHA-256 {hashlib.sha256(value.encode()).hexdigest()[:12]}"
    return value
