"""Checks what a fork changes: everything after its place may differ, what was trained until there may not. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.pipeline.difference import first_difference
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.sections import Stage
from stages.catalog import KINDS
from stages.contract import Cursor
from stages.options import TrainingOptions
from stages.options.training import set_and_count

FREE_OPTIONS = (
    "learning_rate", "learning_rate_after", "decay_steps", "schedule", "warmup_steps", "min_lr_ratio", "b1", "b2", "weight_decay", "clip_norm",
    "probe_problems", "guard_steps", "guard_spike", "guard_collapse", "guard_idle", "guard_vanish",
    "temperature", "top_k", "num_generations", "max_completion_length", "epsilon", "epsilon_high", "loss_type",
    "scale_rewards", "mask_truncated_completions", "overlong_buffer", "overlong_penalty", "dynamic_sampling",
    "importance_cap", "rewards", "show_every", "replay", "beta",
)  # fmt: skip
"""Options of a training stage that may change in its middle: they change neither the order of its data nor the layout
of its state."""


def fork_problem(parent: Pipeline, fork: Pipeline, at: Cursor) -> str:
    """Return why the fork cannot continue the parent's history from this place, or an empty string."""
    checks = (
        _changed("seed", parent.seed, fork.seed),
        _changed("model", dict(parent.model), dict(fork.model)),
        _stages_problem(parent, fork, at),
        evaluation_problem(parent, fork, at),
        _files_problem(parent, fork, at),
        _code_problem(parent, fork, at),
    )
    return next(filter(None, checks), "")


def _changed(key: str, before: Any, after: Any) -> str:
    if found := first_difference({key: before}, {key: after}):
        return f"{found}, and all that was trained until there depends on it: leave it as it was"
    return ""


def _index(pipeline: Pipeline, at: Cursor) -> int:
    return [stage.name for stage in pipeline.stages].index(at.stage)


def same_base(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Return True if only the place of the base model's files differs: sessions compare its weights with the checkpoint's."""
    model, other = ({k: v for k, v in each.items() if k not in ("source", "tokenizer")} for each in (before, after))
    return model == other


def finished_stages(parent: Pipeline, fork: Pipeline, at: Cursor) -> tuple[Stage, ...]:
    """Return the stages that are over at this place of the fork."""
    index = _index(parent, at)
    same_end = index < len(fork.stages) and fork.stages[index].steps == at.step
    return parent.stages[: index + 1] if same_end else parent.stages[:index]


def _stages_problem(parent: Pipeline, fork: Pipeline, at: Cursor) -> str:
    index = _index(parent, at)
    for number, stage in enumerate(parent.stages[:index]):
        other = fork.stages[number] if number < len(fork.stages) else None
        before, after = (None if each is None else _plain(each) for each in (stage, other))
        if found := first_difference({f"stages[{number}]": before}, {f"stages[{number}]": after}):
            return f"{found}, and that stage is finished at {at.stage}:{at.step}: leave it as it was"
    if index >= len(fork.stages) or fork.stages[index].name != at.stage:
        return f"the stage {at.stage} has another place than in the run: leave the stages until there as they were"
    return _stage_problem(parent.stages[index], fork.stages[index], f"stages[{index}]", at)


def _stage_problem(before: Stage, after: Stage, key: str, at: Cursor) -> str:
    """Return what the stage at the place changes that its steps until there depend on."""
    if before.kind != after.kind:
        return f"{key}.kind changed from {before.kind} to {after.kind}, and {at.step} of its steps are done: leave it"
    if after.steps < at.step:
        return f"{key}.steps is {after.steps}, and {at.step} of its steps are done: use that or more"
    if before.kind == "evaluate" and at.step == before.steps != after.steps:
        return (
            f"{key}.steps changed from {before.steps} to {after.steps}, and the stage is finished: leave it as it was"
        )
    old, new = _plain(before)["options"], _plain(after)["options"]
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) == new.get(name) or _is_free(before, name, old, new, over=after.steps == at.step):
            continue
        found = first_difference({f"{key}.options.{name}": old.get(name)}, {f"{key}.options.{name}": new.get(name)})
        return f"{found}, and {at.step} of the stage's steps depend on it: leave it as it was"
    return _rate_problem(old, new, key, at) if before.kind in KINDS else ""


def _rate_problem(old: Mapping[str, Any], new: Mapping[str, Any], key: str, at: Cursor) -> str:
    """Return a change of the learning rate that no later step would follow, since an earlier change of it still holds."""
    before, after, later = old.get("learning_rate"), new.get("learning_rate"), new.get("learning_rate_after") or {}
    if before == after or not any(int(step) <= at.step for step in later):
        return ""
    return (
        f"{key}.options.learning_rate changed from {before} to {after}, and only learning_rate_after decides about the steps "
        f"after {at.step}: change it there, and leave learning_rate as it was"
    )


def _is_free(stage: Stage, name: str, old: Mapping[str, Any], new: Mapping[str, Any], *, over: bool) -> bool:
    """Return True if the option may change after some of the stage's steps. `over`: after all of them."""
    if over:
        return False
    if stage.kind not in KINDS:
        return True  # a stage of the user's own
    options = KINDS[stage.kind].options
    if options is None or not issubclass(options, TrainingOptions) or name not in FREE_OPTIONS:
        return False
    return name != "beta" or bool(old["beta"]) == bool(new["beta"])  # without a penalty no reference model is kept


def _plain(stage: Stage) -> dict[str, Any]:
    """Return the stage as JSON, with the defaults of its options."""
    fitted = KINDS[stage.kind].fit(stage.options, "options") if stage.kind in KINDS else None
    values = dict(stage.options) if fitted is None else {name: getattr(fitted, name) for name in vars(fitted)}
    return {
        **stage.model_dump(mode="json"),
        "options": {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()},
    }


# --- data and code ---------------------------------------------------------------


def _evaluated(pipeline: Pipeline) -> set[str]:
    """Return the data sets of all evaluations: training keeps apart from their problems."""
    found = [stage.options.get("data", ["gsm8k"]) for stage in pipeline.stages if stage.kind == "evaluate"]
    return {set_and_count(name)[0] for names in found for name in names}


def _trains(stage: Stage) -> bool:
    options = KINDS[stage.kind].options if stage.kind in KINDS else None
    return options is not None and "data" in vars(options)["__dataclass_fields__"] and stage.kind != "evaluate"


def evaluation_problem(parent: Pipeline, fork: Pipeline, at: Cursor) -> str:
    """Return a change of the evaluations' data that changes, or would have changed, the examples that are trained on."""
    begun = parent.stages[: _index(parent, at) + 1]
    if not any(_trains(stage) for stage in begun):
        return ""
    before, after = _evaluated(parent), _evaluated(fork)
    if added := sorted(after - before):
        return (
            f"an evaluation asks {added[0]}, and the steps until {at.stage}:{at.step} were not kept apart from its "
            "problems: leave it out, or begin a run of its own with relay start --from"
        )
    unfinished = len(finished_stages(parent, fork, at)) <= _index(parent, at)
    if before != after and unfinished and _trains(begun[-1]):
        return (
            f"no evaluation asks {sorted(before - after)[0]} any more, which changes the examples of the stage {at.stage} in "
            "its middle: keep that evaluation"
        )
    return ""


def _files_problem(parent: Pipeline, fork: Pipeline, at: Cursor) -> str:
    """Return a data file with other content, if the steps until the place depend on it."""
    stages = [*parent.stages[: _index(parent, at) + 1], *(s for s in parent.stages if s.kind == "evaluate")]
    used = {str(name).partition(":")[0] for stage in stages for name in _names(stage.options.get("data"))}
    for name, sha256 in sorted(parent.inputs.sha256.items()):
        if name in used and fork.inputs.sha256.get(name) != sha256:
            said = "has another content" if name in fork.inputs.sha256 else "is not in inputs.files any more"
            return f"{name} {said}, and the steps until {at.stage}:{at.step} were trained with it: bring it back"
    return ""


def _names(data: Any) -> Iterable[Any]:
    return data if isinstance(data, (list, tuple)) else () if data is None else (data,)


def _code_problem(parent: Pipeline, fork: Pipeline, at: Cursor) -> str:
    """Return a module of the user's own that changed although a finished stage was carried out with it."""
    for stage in finished_stages(parent, fork, at):
        functions = [*([] if stage.kind in KINDS else [stage.kind]), *dict(stage.options.get("rewards") or {})]
        for function in functions:
            top = function.partition(":")[0].partition(".")[0]
            for path in sorted(parent.sources.keys() | fork.sources.keys()):
                mine = path == f"{top}.py" or path.startswith(f"{top}/")
                if ":" in function and mine and parent.sources.get(path) != fork.sources.get(path):
                    return f"{path} changed, and the finished stage {stage.name} was carried out with it: give it another name"
    return ""
