"""Rules for changing the pipeline of a run that has begun: which key and option may change when, and why not. Pure.

What was trained must stay what the pipeline says, so that a session resumes bit for bit from any checkpoint. Therefore
an option that a finished step depends on is fixed, and a new learning rate is stored with the step after which it holds.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any

from orchestrator.base.errors import BadInput
from orchestrator.base.humanize import counted
from orchestrator.pipeline.fork import evaluation_problem, same_base
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.pins import canonical_pin
from orchestrator.pipeline.sections import Stage
from orchestrator.pipeline.warm_start import misfit
from stages.catalog import KINDS
from stages.contract import Cursor
from stages.options import TrainingOptions
from stages.session.package_lock import PackageLock, normalised
from stages.session.packages import name_of


class When(Enum):
    """Time until which a key or an option may change."""

    ANY_TIME = "at any time"
    BETWEEN_SESSIONS = "between two sessions: the run then goes on there, from its checkpoint"
    FROM_NOW = "at any time, for the steps that are still to come"
    NOT_BEGUN = "until its stage begins"
    UNTRAINED = "until the run has its first checkpoint"
    NEVER = "never"


@dataclass(frozen=True)
class ChangeRule:
    """Rule for one key or option: until when it may change, and why not later."""

    when: When
    why: str = ""
    moves: bool = False
    """True if it may change at any time together with the platform, where it cannot always be what it was."""


ANY_TIME = ChangeRule(When.ANY_TIME)
ELSEWHERE = ChangeRule(When.BETWEEN_SESSIONS)
FROM_NOW = ChangeRule(When.FROM_NOW)
ROWS = ChangeRule(When.NOT_BEGUN, "it decides which examples each step sees")
WEIGHTS = ChangeRule(When.NOT_BEGUN, "it decides which weights are trained")
UPDATE = ChangeRule(When.NOT_BEGUN, "it is a part of every update")
SAMPLES = ChangeRule(When.NOT_BEGUN, "it decides which completions are sampled and judged")
RESULT = ChangeRule(When.NOT_BEGUN, "one result belongs to one setting")
DEVICES = ChangeRule(When.UNTRAINED, "another number of devices computes other numbers", moves=True)
PROCESSES = ChangeRule(When.UNTRAINED, "another number of processes may compute other numbers", moves=True)

SLURM_ANY_TIME = ("login", "partition", "account", "gres", "cpus", "memory", "jobs", "python", "setup", "signal_s", "options")  # fmt: skip

SSH_ANY_TIME = ("host", "jobs", "python", "setup", "signal_s")

KEYS: dict[str, ChangeRule] = {
    "name": ChangeRule(When.NEVER, "it is a part of the run's names on Kaggle"),
    "seed": ChangeRule(When.UNTRAINED, "it orders the examples and draws the samples"),
    "origin": ChangeRule(When.NEVER, "the run began there"),
    "fork_points": ANY_TIME,
    "model": ChangeRule(When.UNTRAINED, "this model is what was trained"),
    "accelerator": ChangeRule(When.NEVER, "another machine rounds differently and has a quota of its own", moves=True),
    "platform": ELSEWHERE,
    "slurm.shared": ELSEWHERE,
    **dict.fromkeys((f"slurm.{name}" for name in SLURM_ANY_TIME), ANY_TIME),
    "ssh.folder": ELSEWHERE,
    **dict.fromkeys(("slurm.gpus", "ssh.tpus", "ssh.gpus"), DEVICES),
    **dict.fromkeys(("slurm.nodes", "slurm.tasks_per_node"), PROCESSES),
    **dict.fromkeys((f"ssh.{name}" for name in SSH_ANY_TIME), ANY_TIME),
    "session.limit_s": ANY_TIME,
    "session.margin_s": ANY_TIME,
    "session.save_interval_s": ANY_TIME,
    "session.min_session_s": ANY_TIME,
    "session.attempts": ANY_TIME,
    "account.hours_per_week": ANY_TIME,
    "account.slots": ANY_TIME,
    "handoff": ANY_TIME,
    "on_timeout": ANY_TIME,
    "exactness": ANY_TIME,
    "keep_checkpoints": ANY_TIME,
    "internet": ANY_TIME,
    "environment": ChangeRule(When.UNTRAINED, "other versions compute other numbers", moves=True),
    "own_lock": ChangeRule(When.UNTRAINED, "other versions compute other numbers", moves=True),
    "inputs.datasets": ANY_TIME,  # a session compares the rows that it reads with those of the sessions before it
    "inputs.models": ANY_TIME,
    "inputs.wheels": ANY_TIME,
    "inputs.files": ChangeRule(When.NEVER, "a run's files are published once, when it begins"),
    "inputs.sha256": ChangeRule(When.NEVER, "a run's files are published once, when it begins"),
    "expect": ANY_TIME,
    "stages": FROM_NOW,
    "sources": ANY_TIME,
}
"""Rules of the pipeline's keys. `stages` are compared one by one; `sources` is the user's own code."""

OPTIONS: dict[str, ChangeRule] = {
    **dict.fromkeys(("step_s", "probe_problems", "show_every"), ANY_TIME),
    **dict.fromkeys(("guard_steps", "guard_spike", "guard_collapse", "guard_idle", "guard_vanish"), ANY_TIME),
    **dict.fromkeys(("learning_rate", "learning_rate_after"), FROM_NOW),
    "decay_steps": ChangeRule(When.NOT_BEGUN, "the learning rates of earlier steps follow from it"),
    **dict.fromkeys(("data", "batch", "max_seq_length", "max_prompt_length", "replay", "questions"), ROWS),
    **dict.fromkeys(("min_score", "min_margin", "english_only", "drop_refusals"), ROWS),
    **dict.fromkeys(("mode", "lora_rank", "lora_alpha", "lora_targets"), WEIGHTS),
    "packing": UPDATE,
    **dict.fromkeys(("gradient_accumulation_steps", "schedule", "warmup_steps", "min_lr_ratio"), UPDATE),
    **dict.fromkeys(("b1", "b2", "weight_decay", "clip_norm"), UPDATE),
    **dict.fromkeys(("beta", "epsilon", "epsilon_high", "num_iterations", "loss_type", "scale_rewards"), UPDATE),
    **dict.fromkeys(("mask_truncated_completions", "overlong_buffer", "overlong_penalty", "importance_cap"), UPDATE),
    **dict.fromkeys(("max_completion_length", "temperature", "top_k", "top_p", "num_generations"), SAMPLES),
    **dict.fromkeys(("dynamic_sampling", "rewards", "slots", "sampling_dtype"), SAMPLES),
    **dict.fromkeys(("part", "internet", "models", "trial", "versions", "plan", "seconds", "platform"), RESULT),
    **dict.fromkeys(("solved_max", "hard_min", "transcripts", "format", "dtype", "payload_bytes"), RESULT),
}
"""Rules of the options of relay's own kinds of stage. Options of the user's own stages may change at any time, as its
code may."""

RATES = ("learning_rate", "learning_rate_after", "decay_steps")


@dataclass(frozen=True)
class RunProgress:
    """Point from which a run goes on."""

    cursor: Cursor | None = None
    """Cursor of the checkpoint from which the next session starts; None if it begins the run."""
    worked_on: frozenset[str] = frozenset()
    """Names of the stages that any session has worked on."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Versions with which that checkpoint was computed, by normalised name; empty if they are not known."""


def merged(old: Pipeline, given: Pipeline, progress: RunProgress, run: str, *, moves: bool = False) -> Pipeline:
    """Return the pipeline with which the run goes on as `given` says. It equals `old` if nothing changes.

    `moves`: the run goes on on another platform, where machine, packages and the place of the base model may be others.
    Raises BadInput that names each change which is not possible midway, with the reason and the remedy.
    """
    given = given.model_copy(update=_unsaid(old, given))
    problems = [*_problems_of_keys(old, given, progress, moves=moves)]
    stages, more = _merged_stages(old, given, progress)
    if problems := [*problems, *more]:
        raise BadInput(
            f"{'; '.join(problems)}: undo that change, or begin another run from a checkpoint of this one with relay fork {run}"
        )
    files = {"files": old.inputs.files, "sha256": old.inputs.sha256}
    found = given.model_copy(update={"stages": stages, "inputs": given.inputs.model_copy(update=files)})
    if progress.cursor is not None and (problem := evaluation_problem(old, found, progress.cursor)):
        raise BadInput(problem)
    if old.origin.run and not old.origin.continues and progress.cursor is None:
        first = old.stages[0]
        contents = {} if first.kind == "counting" else {"weights": "", "optimizer": ""}
        if problem := misfit(found, old, Cursor(stage=first.name, step=0), old.origin.keeps, contents):
            raise BadInput(f"the run begins from {old.origin.run} at {old.origin.at}: {problem}")
    return old if found == old else found


def _unsaid(old: Pipeline, given: Pipeline) -> dict[str, Any]:
    """Return what relay added to the pipeline, and a file does not say: the origin's checkpoint, and fork points.

    Pins that differ only in their spaces stay as they were; earlier releases kept the spaces.
    """
    found: dict[str, Any] = {}
    if isinstance(old.environment, tuple) and tuple(map(canonical_pin, old.environment)) == given.environment:
        found["environment"] = old.environment
    wanted, known = given.work.origin, old.work.origin
    by_name = wanted.model_copy(update={"run": known.run}) if wanted.run == known.run.rpartition("-")[0] else wanted
    if not wanted.run or by_name == known:
        found["origin"] = old.origin
    if not given.fork_points:
        left = {stage.name for stage in given.stages}
        found["fork_points"] = tuple(name for name in old.fork_points if name in left)
    return found


def flat(pipeline: Pipeline) -> dict[str, Any]:
    """Return the pipeline's keys as JSON values, those of its sections as `section.key`, without the stages."""
    found: dict[str, Any] = {}
    for key, value in pipeline.model_dump(mode="json", exclude={"stages"}).items():
        inner = key in ("session", "account", "inputs", "slurm", "ssh")
        found |= {f"{key}.{name}": item for name, item in value.items()} if inner else {key: value}
    found["inputs.files"] = sorted(Path(name).name for name in pipeline.inputs.files)
    return found


def _problems_of_keys(old: Pipeline, given: Pipeline, progress: RunProgress, *, moves: bool) -> Iterator[str]:
    before, after = flat(old), flat(given)
    for key, rule in KEYS.items():
        if key == "stages" or before[key] == after[key] or (moves and rule.moves):
            continue
        if key == "model" and moves and same_base(before[key], after[key]):
            continue
        if key in ("environment", "own_lock") and _installs_what_was_used(old, given, progress.packages):
            continue
        if key == "own_lock":
            if progress.cursor is not None and before["environment"] == after["environment"]:
                yield f"environment cannot change what {given.environment} holds, since {rule.why}"
            continue
        if rule.when is When.NEVER or (rule.when is When.UNTRAINED and progress.cursor is not None):
            yield f"{key} cannot change {_from_to(before[key], after[key])}, since {rule.why}"


def _installs_what_was_used(old: Pipeline, given: Pipeline, packages: Mapping[str, str]) -> bool:
    """Return True if the new environment only fixes versions with which the run's checkpoint was computed.

    A lock file must have all of them. Packages behind a list of pins stay open: sessions record and compare them. The
    same lock may have another name.
    """
    if (old.lock, old.pins) == (given.lock, given.pins):
        return True
    if given.own_lock:
        locked = {each.name: each.version for each in PackageLock.parse(given.own_lock).packages}
        return bool(packages) and all(packages.get(name, version) == version for name, version in locked.items())
    return _pins_what_was_used(old.pins, given.pins, packages)


def _pins_what_was_used(old: Sequence[str], given: Sequence[str], packages: Mapping[str, str]) -> bool:
    """Return True if the new pins only fix versions with which the run's checkpoint was computed."""
    if not packages or not {_package(pin) for pin in old} <= {_package(pin) for pin in given}:
        return False
    return all(pin in old or packages.get(_package(pin)) == pin.partition("==")[2].strip() for pin in given)


def _package(pin: str) -> str:
    return normalised(name_of(pin))


def _from_to(old: Any, new: Any) -> str:
    texts = [json.dumps(value) for value in (old, new)]
    return f"from {texts[0]} to {texts[1]}" if max(map(len, texts)) <= 60 else "any more"


# --- stages --------------------------------------------------------------------


def _merged_stages(old: Pipeline, given: Pipeline, progress: RunProgress) -> tuple[tuple[Stage, ...], list[str]]:
    begun = _begun(old, progress.cursor)
    names, wanted = [stage.name for stage, _ in begun], [stage.name for stage in given.stages]
    problems = [
        f"stage {name} cannot be removed, since sessions have worked on it"
        for name in (stage.name for stage in old.stages)
        if name not in wanted and (name in names or name in progress.worked_on)
    ]
    if not problems and wanted[: len(names)] != names:
        problems = [f"the stages {', '.join(names)} have begun in this order, and others can only follow them"]
    if problems:
        return old.stages, problems
    merging = [_MergedStage(was, now, done) for (was, done), now in zip(begun, given.stages, strict=False)]
    stages = [found.stage for found in merging]
    return (*stages, *given.stages[len(names) :]), [problem for found in merging for problem in found.problems]


def _begun(old: Pipeline, cursor: Cursor | None) -> list[tuple[Stage, int]]:
    """Return the stages that have begun, each with the number of its steps that are done."""
    found: list[tuple[Stage, int]] = []
    if cursor is None:
        return found
    for stage in old.stages:
        if stage.name != cursor.stage:
            found.append((stage, stage.steps))
            continue
        return [*found, (stage, cursor.step)] if cursor.step else found
    return found


class _MergedStage:
    """A begun stage as the run goes on with it, and the changes of it that are not possible."""

    def __init__(self, old: Stage, new: Stage, done: int) -> None:
        self.problems: list[str] = []
        self._name, self._finished, self._done = old.name, done >= old.steps, done
        if old.kind != new.kind:
            self._refuse("kind", old.kind, new.kind, "it has begun")
            self.stage = old
            return
        if old.steps != new.steps and (self._finished or new.steps <= done):
            self._refuse(
                "steps", old.steps, new.steps, "" if self._finished else f"{counted(done, 'step is', 'steps are')} done"
            )
        options = self._merged_options(old, new)
        unchanged = old.steps == new.steps and _fit(old.kind, options) == _fit(old.kind, old.options)
        self.stage = old if unchanged else new.model_copy(update={"options": options})

    def _refuse(self, what: str, old: Any, new: Any, why: str) -> None:
        because = "it is finished" if self._finished else why
        self.problems.append(f"{what} of stage {self._name} cannot change {_from_to(old, new)}, since {because}")

    def _merged_options(self, old: Stage, new: Stage) -> dict[str, Any]:
        was, now = _fit(old.kind, old.options), _fit(old.kind, new.options)
        if isinstance(was, dict):  # of a stage of the user's own
            if self._finished and was != now:
                self._refuse("options", was, now, "")
            return dict(new.options)
        for name in (option.name for option in fields(was) if option.name not in RATES):
            before, after = getattr(was, name), getattr(now, name)
            if before != after and (self._finished or OPTIONS[name].when is not When.ANY_TIME):
                self._refuse(name, before, after, OPTIONS[name].why)
        if not isinstance(was, TrainingOptions):
            return dict(new.options)
        rates = {**self._merged_rates(was, now, new.options), **self._merged_decay(was, now, old, new)}
        others = {name: value for name, value in new.options.items() if name not in RATES}
        return {**others, **{name: value for name, value in rates.items() if value}}

    def _merged_rates(self, was: TrainingOptions, now: TrainingOptions, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the learning rates: of the steps that are done as they were, of later ones as given."""
        known = {int(step): rate for step, rate in was.learning_rate_after.items()}
        past = {step: rate for step, rate in known.items() if step < self._done}
        if "learning_rate_after" in given:
            wanted = {int(step): rate for step, rate in now.learning_rate_after.items()}
            if now.learning_rate != was.learning_rate:
                why = "with learning_rate_after it is that of the first steps"
                self._refuse("learning_rate", was.learning_rate, now.learning_rate, why)
            if past != {step: rate for step, rate in wanted.items() if step < self._done}:
                self._refuse("learning_rate_after", past, wanted, f"{counted(self._done, 'step is', 'steps are')} done")
        elif now.learning_rate == _last_rate(was.learning_rate, known):
            wanted = known
        else:
            wanted = past | {self._done: now.learning_rate}
            if now.learning_rate == _last_rate(was.learning_rate, past):
                wanted = past
        if self._finished and wanted != known:
            self._refuse("learning_rate", _last_rate(was.learning_rate, known), now.learning_rate, "")
        kept = {str(step): rate for step, rate in sorted(wanted.items())}
        return {"learning_rate": was.learning_rate, "learning_rate_after": kept}

    def _merged_decay(self, was: TrainingOptions, now: TrainingOptions, old: Stage, new: Stage) -> dict[str, int]:
        """Return the steps of the decay, which stay as they were also if the stage gets another number of steps."""
        kept = was.decay_steps or old.steps
        if "decay_steps" in new.options and now.decay_steps not in (was.decay_steps, kept):
            self._refuse("decay_steps", was.decay_steps, now.decay_steps, OPTIONS["decay_steps"].why)
        return {"decay_steps": was.decay_steps if new.steps == old.steps else kept}


def _last_rate(first: float, later: Mapping[int, float]) -> float:
    return later[max(later)] if later else first


def _fit(kind: str, options: Mapping[str, Any]) -> Any:
    return KINDS[kind].fit(options, "options") if kind in KINDS else dict(options)
