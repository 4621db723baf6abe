"""Differences between a run's pipeline and the one that replaces it, one line each, in plain words. Pure."""

import difflib
import json
from collections.abc import Iterator
from typing import Any

from orchestrator.base.humanize import counted
from orchestrator.pipeline.changes import flat
from orchestrator.pipeline.difference import VALUE_CHARS_MAX, differences
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.sections import Stage
from stages.catalog import KINDS

DERIVED = ("sources", "inputs.sha256", "own_lock")
"""Keys that are described file by file, or follow from others."""


def change_lines(old: Pipeline, new: Pipeline) -> tuple[str, ...]:
    """Return a line for each value that differs: keys of the pipeline, then stage by stage, then the files beside it."""
    return (*_keys(old, new), *_stages(old, new), *_texts(old.texts, new.texts))


def _keys(old: Pipeline, new: Pipeline) -> Iterator[str]:
    before, after = flat(old), flat(new)
    for key in before:
        if key not in DERIVED and before[key] != after[key]:
            values = [before[key], after[key]]
            within = all(isinstance(value, dict) for value in values)
            for place, (was, now) in differences(values, key) if within else [(key, values)]:
                yield f"{place}: {_value(was)} → {_value(now)}"


def _stages(old: Pipeline, new: Pipeline) -> Iterator[str]:
    before, after = ({stage.name: stage for stage in pipeline.stages} for pipeline in (old, new))
    for name, stage in before.items():
        if name in after:
            yield from (f"stage {name}: {line}" for line in _one_stage(stage, after[name]))
        else:
            yield f"stage {name}: removed"
    for name, stage in after.items():
        if name not in before:
            yield f"stage {name}: added, {stage.kind}, {_steps(stage.steps)}"
    both = [[name for name in names if name in before and name in after] for names in (before, after)]
    if both[0] != both[1]:
        yield f"stages: the order is now {', '.join(after)}"


def _one_stage(old: Stage, new: Stage) -> Iterator[str]:
    if old.kind != new.kind:
        yield f"kind: {old.kind} → {new.kind}"
    if old.steps != new.steps:
        yield f"steps: {old.steps:,} → {new.steps:,}"
    before, after = _options(old), _options(new)
    rates = [options.pop("learning_rate_after", {}) for options in (before, after)]
    yield from _rates(before.get("learning_rate"), *rates)
    for name in dict.fromkeys((*before, *after)):
        was, now = before.get(name), after.get(name)
        if name == "decay_steps" and now:
            if was != now:
                yield f"the learning rate decays over the first {_steps(now)} as before, and then stays at its lowest"
        elif was != now:
            yield f"{name}: {_value(was)} → {_value(now)}"


def _options(stage: Stage) -> dict[str, Any]:
    """Return the stage's options with their defaults; those of the user's own stage as they are given."""
    known = KINDS.get(stage.kind)
    return dict(vars(known.fit(stage.options, "options"))) if known is not None else dict(stage.options)


def _rates(first: Any, old: dict[str, float], new: dict[str, float]) -> Iterator[str]:
    """Describe changes of the learning rate after a step, which a stage under way gets."""
    before: Any = first
    for step in sorted({*old, *new}, key=int):
        if old.get(step) != new.get(step):
            if step not in new:
                yield f"learning_rate: no change after {_steps(int(step))} any more"
            else:
                yield f"learning_rate: {_value(old.get(step, before))} → {_value(new[step])} after {_steps(int(step))}"
        before = new.get(step, before)


def _texts(old: dict[str, str], new: dict[str, str]) -> Iterator[str]:
    for name in sorted({*old, *new}):
        if name not in new:
            yield f"{name}: no longer used"
        elif name not in old:
            yield f"{name}: added, {counted(len(new[name].splitlines()), 'line')}"
        elif old[name] != new[name]:
            diff = list(difflib.ndiff(old[name].splitlines(), new[name].splitlines()))
            more, less = (sum(line.startswith(sign) for line in diff) for sign in ("+ ", "- "))
            yield f"{name}: changed, {counted(more, 'line')} added and {less} removed"


def _steps(count: int) -> str:
    return f"{count:,} step{'' if count == 1 else 's'}"


def _value(value: Any) -> str:
    if value is None:
        return "default"
    text = json.dumps(_given(value))
    return text if len(text) <= VALUE_CHARS_MAX else "another value"


def _given(value: Any) -> Any:
    """Return an object without what it leaves open: values that are None or an empty text."""
    return {name: each for name, each in value.items() if each not in (None, "")} if isinstance(value, dict) else value
