"""Values of a write-up about stages: options, rewards, data, and the course of their metrics. Pure."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.pipeline.sections import Stage
from orchestrator.views.history.compared_hours import hours_bought
from orchestrator.views.history.curves import MAIN
from orchestrator.views.run_history import POINTS_MAX
from orchestrator.views.writeup.sources import WriteupSources
from orchestrator.views.writeup.traced import (
    Source,
    Traced,
    TracedNumber,
    TracedText,
    code,
    count,
    machine_s,
    measured,
    rows,
    setting,
    share,
)
from stages.catalog import KINDS
from stages.data.registry import KNOWN
from stages.options.training import set_and_count
from state.model.metrics import CurvePoint

ALWAYS = (
    "mode", "lora_rank", "lora_alpha", "learning_rate", "schedule", "batch", "num_generations", "temperature", "beta", "loss_type",
    "replay", "max_seq_length", "max_completion_length", "format",
)  # fmt: skip
"""Options that a write-up names even where they have their defaults."""
IF_GIVEN = (
    "warmup_steps", "weight_decay", "clip_norm", "top_k", "scale_rewards", "solved_max", "hard_min", "max_prompt_length",
    "dynamic_sampling", "num_iterations", "dtype", "step_s",
)  # fmt: skip
"""Options that a write-up names where the pipeline gives them."""
OF_ADAPTERS = ("lora_rank", "lora_alpha")
OWN_OPTIONS_MAX = 8
"""Maximum number of options named for a stage of the user's own."""
COURSES = ("loss", "reward", "accuracy", "format")
"""Metrics whose course in a training stage is told."""
EDGE = 10
"""The beginning and the end of a course are means over a tenth of its points each."""


def stage_values(sources: WriteupSources) -> list[dict[str, Any]]:
    """Return a value set for each stage of the pipeline, in order."""
    quota = {stage["name"]: stage["quota_s"] for stage in hours_bought(sources.compared)["stages"]}
    return [_stage(sources, index, stage, quota.get(stage.name)) for index, stage in enumerate(sources.pipeline.stages)]


def _stage(sources: WriteupSources, index: int, stage: Stage, quota_s: float | None) -> dict[str, Any]:
    at, path = f"stages[{index}]", f"stages[{index}]"
    told = sources.run["stages"][index]
    fitted = _fitted(stage)
    return {
        "name": TracedText(stage.name, f"{at}.name", sources.of_pipeline(f"{path}.name")),
        "kind": TracedText(stage.kind, f"{at}.kind", sources.of_pipeline(f"{path}.kind")),
        "own": stage.kind not in KINDS,
        "trains": "learning_rate" in fitted,
        "steps": count(f"{at}.steps", stage.steps, sources.of_pipeline(f"{path}.steps")),
        "done": count(f"{at}.done", told["done"], _of_checkpoints(sources)),
        "finished": told["done"] >= stage.steps,
        "options": list(_options(sources, index, stage, fitted)),
        "data": [
            TracedText(entry, f"{at}.data[{number}]", _of_option(sources, index, stage, "data"))
            for number, entry in enumerate(fitted.get("data") or ())
        ],
        "rewards": list(_rewards(sources, index, stage, fitted)),
        "generations": _generations(sources, index, stage, fitted),
        "course": list(_courses(sources, index, stage)) if told["kind"] != "evaluate" else [],
        "quota": None if quota_s is None else machine_s(f"{at}.quota", quota_s, _of_quota(sources)),
    }


def _fitted(stage: Stage) -> dict[str, Any]:
    """Return the options of a stage with their defaults; those of a stage of the user's own as they are."""
    kind = KINDS.get(stage.kind)
    if kind is None or kind.options is None:
        return {}
    return dataclasses.asdict(kind.fit(stage.options, stage.name))


def _of_option(sources: WriteupSources, index: int, stage: Stage, name: str) -> Source:
    """Return the origin of an option: the pipeline, or the default where the pipeline is silent."""
    if name in stage.options:
        return sources.of_pipeline(f"stages[{index}].options.{name}")
    options = KINDS[stage.kind].options
    return code(f"stages.options.{options.__name__ if options else ''}.{name}")


def _of_checkpoints(sources: WriteupSources) -> Source:
    return rows(
        "checkpoint", ["cursor"], "steps of the stage up to the newest verified checkpoint", run=sources.run["id"]
    )


def _of_quota(sources: WriteupSources) -> Source:
    how = "quota used from the end of the stage before it until the end of this one"
    return rows("session, metric", ["running_at", "ended_at", "seconds", "at_s"], how, run=sources.run["id"])


def _options(
    sources: WriteupSources, index: int, stage: Stage, fitted: Mapping[str, Any]
) -> Iterator[dict[str, Traced | str]]:
    if stage.kind in KINDS:
        left_out = OF_ADAPTERS if fitted.get("mode") != "lora" else ()
        named = [*ALWAYS, *(name for name in IF_GIVEN if name in stage.options)]
        chosen = {name: fitted[name] for name in named if name in fitted and name not in left_out}
    else:
        chosen = dict(list(stage.options.items())[:OWN_OPTIONS_MAX])
    for name, value in chosen.items():
        if value not in (None, ""):
            source = _of_option(sources, index, stage, name)
            yield {"name": name, "value": setting(f"stages[{index}].options.{name}", value, source)}


def _rewards(
    sources: WriteupSources, index: int, stage: Stage, fitted: Mapping[str, Any]
) -> Iterator[dict[str, Traced]]:
    for name, weight in (fitted.get("rewards") or {}).items():
        at, source = f"stages[{index}].rewards.{name}", _of_option(sources, index, stage, "rewards")
        yield {"name": TracedText(name, f"{at}.name", source), "weight": setting(f"{at}.weight", weight, source)}


def _generations(sources: WriteupSources, index: int, stage: Stage, fitted: Mapping[str, Any]) -> TracedNumber | None:
    if "num_generations" not in fitted:
        return None
    source = _of_option(sources, index, stage, "num_generations")
    return count(f"stages[{index}].generations", fitted["num_generations"], source)


def _courses(sources: WriteupSources, index: int, stage: Stage) -> Iterator[dict[str, Any]]:
    """Yield how metrics moved: means over the first and the last tenth of the stage's points."""
    mine = [point for point in sources.compared.points if point.stage == stage.name]
    for name in COURSES:
        found = [point for point in mine if point.name == name]
        if not found:
            continue
        together = max(point.step for point in mine) // POINTS_MAX + 1
        edge = max(1, len(found) // EDGE)
        at = f"stages[{index}].course.{name}"
        yield {
            "title": MAIN[name][0],
            "metric": name,
            "begin": _edge(sources, f"{at}.begin", found, 0, edge, together),
            "end": _edge(sources, f"{at}.end", found, len(found) - edge, len(found), together),
        }


def _edge(
    sources: WriteupSources, name: str, points: Sequence[CurvePoint], begin: int, stop: int, together: int
) -> TracedNumber:
    """Return the mean of some points of a curve, each of which holds `together` steps at most."""
    metric, stage = points[0].name, points[0].stage
    value, how = _mean(points, begin, stop)
    if together > 1:
        how += f", {together} together"
    source = rows("metric", ["value"], how, run=sources.run["id"], stage=stage, name=metric)
    return (share if MAIN[metric][1] else measured)(name, value, source)


def _mean(points: Sequence[CurvePoint], begin: int, stop: int) -> tuple[float, str]:
    """Return a mean in which a point counts as often as it is steps after the one before, and how it was computed."""
    steps = [0, *(point.step for point in points)]
    weights = [steps[number + 1] - steps[number] for number in range(begin, stop)]
    total = sum(weight * points[begin + number].value for number, weight in enumerate(weights))
    return total / sum(weights), f"mean over steps {steps[begin] + 1} to {steps[stop]}"


def reward_values(stages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each way to reward completions once, with the names of the stages that do so."""
    found: dict[Any, dict[str, Any]] = {}
    for stage in stages:
        if stage["rewards"]:
            key = (stage["generations"], *((reward["name"], reward["weight"]) for reward in stage["rewards"]))
            same = {"stages": [], "generations": stage["generations"], "rewards": stage["rewards"]}
            found.setdefault(key, same)["stages"].append(stage["name"])
    return list(found.values())


# --- data -----------------------------------------------------------------------------


def data_values(sources: WriteupSources) -> list[dict[str, Any]]:
    """Return each data set of the pipeline once: its licence, and which stages use it."""
    used: dict[str, list[tuple[int, int, Stage]]] = {}
    for index, stage in enumerate(sources.pipeline.stages):
        for entry in _fitted(stage).get("data") or ():
            name, limit = set_and_count(entry)
            used.setdefault(name, []).append((index, limit, stage))
    return [_data(sources, number, name, stages) for number, (name, stages) in enumerate(used.items())]


def _data(sources: WriteupSources, number: int, name: str, used: list[tuple[int, int, Stage]]) -> dict[str, Any]:
    at, known = f"data[{number}]", KNOWN.get(name)
    origin = f"stages.data.registry.KNOWN.{name}"
    source = _of_option(sources, used[0][0], used[0][2], "data")
    return {
        "name": TracedText(name, f"{at}.name", source),
        "known": known is not None,
        "repository": TracedText(known.repository, f"{at}.repository", code(f"{origin}.repository")) if known else None,
        "revision": TracedText(known.revision, f"{at}.revision", code(f"{origin}.revision")) if known else None,
        "licence": TracedText(known.licence, f"{at}.licence", code(f"{origin}.licence")) if known else None,
        "uses": [
            {
                "stage": TracedText(stage.name, f"stages[{index}].name", sources.of_pipeline(f"stages[{index}].name")),
                "most": count(f"{at}.uses[{use}].most", limit, _of_option(sources, index, stage, "data"))
                if limit
                else None,
            }
            for use, (index, limit, stage) in enumerate(used)
        ],
    }
