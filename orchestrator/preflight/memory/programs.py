"""Which programs a pipeline will run on its accelerator, and with how many rows each. Pure: nothing is compiled here.

A stage is a few phases, one after the other. SFT has a step; reinforcement learning has answers (prompt and completion, with
a cache of keys and values) and a step; evaluate and curate have answers only. The reference's log-probabilities are the first
half of a step, without gradients: what has room for the step has room for them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import gcd
from typing import Any

from orchestrator.pipeline.model import Pipeline
from stages.catalog import KINDS
from stages.options import Asking, Curate, Evaluate, Grpo, Sampling, Sft, TrainingOptions


@dataclass(frozen=True)
class Program:
    """A program up to its number of rows. Two stages with equal programs need them compiled once."""

    kind: str
    """`sft` and `grpo` are training steps, `answers` is Tunix's sampler."""
    prompt_tokens: int
    """For `sft`: prompt and completion together."""
    answer_tokens: int = 0
    rank: int = 0
    """Of the adapter; 0: there is none, and a step trains every weight."""
    targets: str = ""
    sums_gradients: bool = False
    """Whether the optimizer keeps a sum of gradients: where a batch comes in parts."""
    top_k: int = 0
    held: int = 0
    """Ranks of adapters of earlier stages, which weights in bfloat16 have beside them: `stages.training.lora` never merges into those."""


@dataclass(frozen=True)
class StageProgram:
    """One program of a stage, and how its rows follow from the stage's batch."""

    name: str
    program: Program
    per_problem: int = 1
    parts: int = 1
    fixed: int = 0
    """Rows that do not depend on the batch."""

    def rows(self, batch: int) -> int:
        """Rows of all chips together."""
        return self.fixed or batch * self.per_problem // self.parts


@dataclass(frozen=True)
class StageNeeds:
    """What a stage has on the chips: its phases, and beside them the weights that it keeps as they were."""

    names: tuple[str, ...]
    kind: str
    batch: int
    gradient_accumulation_steps: int
    phases: tuple[StageProgram, ...]
    keeps_weights: bool = False
    """A second copy of the weights: a reference, or what an adapter's base was before Tunix's first step copied it."""
    mode: str = ""
    """`full`, `lora`, or empty where nothing is trained."""
    keeps_origin: bool = False
    """Whether a checkpoint has to hold the weights that the stage began with."""

    def unit(self, fsdp: int) -> int:
        """The smallest batch whose every part is spread evenly over `fsdp` groups of chips."""
        return self.gradient_accumulation_steps * max(
            fsdp // gcd(fsdp, phase.per_problem) for phase in self.phases if not phase.fixed
        )


def needs_of(pipeline: Pipeline) -> tuple[StageNeeds, ...]:
    """Every stage that loads a model, in order; equal ones stand together under all their names."""
    asked = next((_fitted(stage.kind, stage.options) for stage in pipeline.stages if stage.kind == "evaluate"), None)
    found: list[StageNeeds] = []
    narrow = pipeline.loaded_model is not None and pipeline.loaded_model.dtype != "float32"
    held, targets = 0, ""
    for stage in pipeline.stages:
        if stage.kind not in KINDS or not KINDS[stage.kind].needs_jax:
            continue
        options = _fitted(stage.kind, stage.options)
        needs = _beside(_needs(stage.name, stage.kind, options, asked), 0 if _trains_all(options) else held, targets)
        if narrow and isinstance(options, TrainingOptions):
            rank, more = _adapter(options)
            held, targets = (held + rank, more) if rank else (0, "")
        same = next((old for old in found if replace(old, names=()) == replace(needs, names=())), None)
        if same is None:
            found.append(needs)
        else:
            found[found.index(same)] = replace(same, names=(*same.names, stage.name))
    return _sharing_answers(found)


def _trains_all(options: Any) -> bool:
    """Whether a stage trains every weight, into which earlier adapters are merged."""
    return isinstance(options, TrainingOptions) and options.mode == "full"


def _beside(needs: StageNeeds, held: int, targets: str) -> StageNeeds:
    """The same with so many ranks of earlier adapters in every program."""
    if not held:
        return needs
    phases = [
        replace(phase, program=replace(phase.program, held=held, targets=phase.program.targets or targets))
        for phase in needs.phases
    ]
    return replace(needs, phases=tuple(phases))


def stage_of(needs: Iterable[StageNeeds], name: str) -> StageNeeds | None:
    """The needs of one stage, or None where it loads no model."""
    return next((each for each in needs if name in each.names), None)


def _fitted(kind: str, options: dict[str, Any]) -> Any:
    return KINDS[kind].fit(options, "options")


def _needs(name: str, kind: str, options: Any, asked: Any) -> StageNeeds:
    match options:
        case Grpo():
            return _reinforced(name, kind, options)
        case Sft():
            return _taught(name, kind, options, asked)
        case Curate():
            phase = StageProgram("answers", _answers(options, None), options.num_generations)
            return StageNeeds((name,), kind, options.batch, 1, (phase,))
        case Evaluate():
            return StageNeeds((name,), kind, options.batch, 1, (StageProgram("answers", _answers(options, None)),))
    raise AssertionError(f"{kind} is a stage with a model and nobody said what it needs")


def _taught(name: str, kind: str, options: Sft, asked: Any) -> StageNeeds:
    rank, targets = _adapter(options)
    step = Program(
        "sft", options.max_seq_length, 0, rank, targets, sums_gradients=options.gradient_accumulation_steps > 1
    )
    phases = [StageProgram("step", step, 1, options.gradient_accumulation_steps)]
    if options.probe_problems:
        phases.append(StageProgram("check", _answers(asked or Asking(), options), fixed=options.probe_problems))
    lora = options.mode == "lora"
    return StageNeeds(
        (name,), kind, options.batch, options.gradient_accumulation_steps, tuple(phases), lora, options.mode
    )


def _reinforced(name: str, kind: str, options: Grpo) -> StageNeeds:
    rank, targets = _adapter(options)
    lengths = (options.max_prompt_length, options.max_completion_length)
    step = Program("grpo", *lengths, rank, targets, sums_gradients=options.gradient_accumulation_steps > 1)
    phases = [StageProgram("answers", _answers(options, options), options.num_generations)]
    phases.append(StageProgram("step", step, options.num_generations, options.gradient_accumulation_steps))
    if options.probe_problems:
        phases.append(StageProgram("check", _answers(options, options), fixed=options.probe_problems))
    return StageNeeds(
        (name,),
        kind,
        options.batch,
        options.gradient_accumulation_steps,
        tuple(phases),
        keeps_weights=options.mode == "lora" or options.beta > 0,
        mode=options.mode,
        keeps_origin=options.mode == "full" and options.beta > 0,
    )


def _adapter(options: TrainingOptions | None) -> tuple[int, str]:
    return (options.lora_rank, options.lora_targets) if options and options.mode == "lora" else (0, "")


def _answers(asking: Asking, trained: TrainingOptions | None) -> Program:
    top_k = asking.top_k if isinstance(asking, Sampling) else 0
    return Program("answers", asking.max_prompt_length, asking.max_completion_length, *_adapter(trained), top_k=top_k)


def _sharing_answers(found: list[StageNeeds]) -> tuple[StageNeeds, ...]:
    """The same, with one sampler for each pair of lengths, the one that needs most.

    What the adapter and the choice among the likeliest tokens add to a sampler's temporaries is little beside the cache, and
    what they hold is counted exactly elsewhere.
    """
    largest: dict[tuple[int, int], Program] = {}
    for program in programs_of(found):
        if program.kind == "answers":
            lengths = (program.prompt_tokens, program.answer_tokens)
            known = largest.get(lengths, program)
            largest[lengths] = max(known, program, key=lambda each: (each.rank + each.held, each.top_k))

    def shared(phase: StageProgram) -> StageProgram:
        lengths = (phase.program.prompt_tokens, phase.program.answer_tokens)
        return replace(phase, program=largest[lengths]) if phase.program.kind == "answers" else phase

    return tuple(replace(needs, phases=tuple(map(shared, needs.phases))) for needs in found)


def programs_of(needs: Iterable[StageNeeds]) -> tuple[Program, ...]:
    """Every program once, in the order of the stages."""
    return tuple(dict.fromkeys(phase.program for each in needs for phase in each.phases))


def rows_to_compile(needs: Iterable[StageNeeds], program: Program, fsdp: int) -> tuple[int, int]:
    """The most rows that the pipeline asks of a program, and another number, which gives the slope: needs are affine in rows."""
    asked = {phase.rows(each.batch) for each in needs for phase in each.phases if phase.program == program}
    least, most = min(asked), max(asked)
    if share(least, fsdp) != share(most, fsdp):
        return most, least
    half = most // 2
    return most, half if half > 0 and half % fsdp == 0 else 2 * most


def share(rows: int, fsdp: int) -> int:
    """Rows that one chip computes: Tunix splits a batch evenly or not at all."""
    return rows // fsdp if rows % fsdp == 0 else rows
