"""Lists the programs that a pipeline runs on its accelerator, with their rows. Pure: nothing is compiled here.

A stage has a few phases, one after the other. SFT has a step; GRPO has answers (prompt and completion, with a cache of
keys and values) and a step; evaluate and curate have answers only. Steps and answers are padded to one of a few shapes:
it is the largest that counts. The reference's log-probabilities are the first half of a step, without gradients: they
fit if the step fits.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import gcd
from typing import Any

from orchestrator.pipeline.model import Pipeline
from stages.catalog import KINDS
from stages.options import Answer, Asking, Curate, Evaluate, Grpo, Model, Sampling, Sft, TrainingOptions
from stages.training.slots import SEGMENT, SLOTS_MAX, SlotPlan

MODEL_OPTIONS = ("kind", "source", "dtype", "mesh_fsdp", "mesh_tp", "remat")
"""Options of the model on which its programs, and so their memory, depend."""
FUNCTIONS = {"sft": 1, "grpo": 1, "answers": 2}
"""Number of functions of each kind of program: the sampler's read prompts and continue answers, in turns."""


@dataclass(frozen=True)
class Program:
    """A program, apart from its number of rows. Stages with equal programs share one compilation."""

    kind: str
    """`sft` and `grpo` are training steps, `answers` is the sampler."""
    prompt_tokens: int
    """Tokens of the prompt; for `sft`, of prompt and completion together."""
    answer_tokens: int = 0
    rank: int = 0
    """Rank of the adapter; 0: no adapter, a step trains every weight."""
    targets: str = ""
    sums_gradients: bool = False
    """True if the optimizer keeps a sum of gradients, for a batch split into several parts."""
    top_k: int = 0
    held: int = 0
    """Sum of the ranks of earlier stages' adapters beside bfloat16 weights, into which `stages.training.lora` never
    merges them."""
    narrow: bool = False
    """True for answers with a copy of the weights in bfloat16."""


@dataclass(frozen=True)
class StageProgram:
    """Program of a stage, and the relation of its rows to the stage's batch."""

    name: str
    program: Program
    per_problem: int = 1
    parts: int = 1
    fixed: int = 0
    """Number of rows if it does not depend on the batch; else 0."""
    slots: int = 0
    """Most answers that are generated at a time; 0 for a step."""
    groups: int = 1
    """Number that divides the slots: groups of chips among which rows are split."""

    def rows(self, batch: int) -> int:
        """Return the rows of all chips together."""
        rows = self.fixed or batch * self.per_problem // self.parts
        return -(-min(rows, self.slots) // self.groups) * self.groups if self.slots else rows

    def first_cache_share(self, batch: int) -> float:
        """Return the part of the full cache that exists while prompts are read: all of it if answers wait for a slot."""
        tokens = self.program.prompt_tokens, self.program.answer_tokens
        if (self.fixed or batch * self.per_problem) > self.slots:
            return 1.0
        width = SlotPlan.of(self.slots, *tokens, self.groups).width_for([self.program.prompt_tokens], SEGMENT)
        return width / sum(tokens)


@dataclass(frozen=True)
class StageNeeds:
    """Phases of a stage on the chips, and the weights that it keeps unchanged."""

    names: tuple[str, ...]
    kind: str
    batch: int
    gradient_accumulation_steps: int
    phases: tuple[StageProgram, ...]
    keeps_weights: bool = False
    """True for a second copy of the weights: a reference model, or an adapter's base from before Tunix's first step
    copied it."""
    mode: str = ""
    """`full`, `lora`, or empty if nothing is trained."""
    keeps_narrow: bool = False
    """True if a copy of the weights for sampling, in bfloat16, stays during the steps, too."""
    keeps_origin: bool = False
    """True if a checkpoint has to hold the weights with which the stage began."""

    def unit(self, fsdp: int) -> int:
        """Return the smallest batch whose every part splits evenly over `fsdp` groups of chips."""
        return self.gradient_accumulation_steps * max(
            fsdp // gcd(fsdp, phase.per_problem) for phase in self.phases if not phase.fixed
        )


def needs_of(pipeline: Pipeline) -> tuple[StageNeeds, ...]:
    """Return the needs of every stage that loads a model, in order; equal stages share an entry with all names."""
    asked = next(
        (_parsed_options(stage.kind, stage.options) for stage in pipeline.stages if stage.kind == "evaluate"), None
    )
    found: list[StageNeeds] = []
    narrow = pipeline.loaded_model is not None and pipeline.loaded_model.dtype != "float32"
    held, targets = 0, ""
    for stage in pipeline.stages:
        if stage.kind not in KINDS or not KINDS[stage.kind].needs_jax or stage.kind == "export":
            continue  # an export reads its arrays one by one, and none onto the accelerator
        options = _parsed_options(stage.kind, stage.options)
        needs = _with_held_adapters(
            _needs(stage.name, stage.kind, options, asked, pipeline.loaded_model or Model()),
            0 if _trains_all(options) else held,
            targets,
        )
        if narrow and isinstance(options, TrainingOptions):
            rank, more = _adapter(options)
            held, targets = (held + rank, more) if rank else (0, "")
        same = next((old for old in found if replace(old, names=()) == replace(needs, names=())), None)
        if same is None:
            found.append(needs)
        else:
            found[found.index(same)] = replace(same, names=(*same.names, stage.name))
    return _with_shared_samplers(found)


def _trains_all(options: Any) -> bool:
    """Return whether a stage trains every weight, into which earlier adapters are merged."""
    return isinstance(options, TrainingOptions) and options.mode == "full"


def _with_held_adapters(needs: StageNeeds, held: int, targets: str) -> StageNeeds:
    """Return the needs with these ranks of earlier adapters added to every program."""
    if not held:
        return needs
    phases = [
        replace(phase, program=replace(phase.program, held=held, targets=phase.program.targets or targets))
        for phase in needs.phases
    ]
    return replace(needs, phases=tuple(phases))


def stage_of(needs: Iterable[StageNeeds], name: str) -> StageNeeds | None:
    """Return the needs of one stage, or None if it loads no model."""
    return next((each for each in needs if name in each.names), None)


def _parsed_options(kind: str, options: dict[str, Any]) -> Any:
    return KINDS[kind].fit(options, "options")


def _needs(name: str, kind: str, options: Any, asked: Any, model: Model) -> StageNeeds:
    match options:
        case Grpo():
            return _grpo_needs(name, kind, options, model)
        case Sft():
            return _sft_needs(name, kind, options, asked, model)
        case Curate():
            phase = _answers("answers", options, None, model, per_problem=options.num_generations)
            return StageNeeds((name,), kind, options.batch, 1, (phase,))
        case Evaluate() | Answer():
            return StageNeeds((name,), kind, options.batch, 1, (_answers("answers", options, None, model),))
    raise AssertionError(f"stage kind {kind} loads a model but its memory needs are not defined")


def _sft_needs(name: str, kind: str, options: Sft, asked: Any, model: Model) -> StageNeeds:
    rank, targets = _adapter(options)
    step = Program(
        "sft", options.max_seq_length, 0, rank, targets, sums_gradients=options.gradient_accumulation_steps > 1
    )
    phases = [StageProgram("step", step, 1, options.gradient_accumulation_steps)]
    if options.probe_problems:
        phases.append(_answers("probe", asked or Asking(), options, model, fixed=options.probe_problems))
    lora = options.mode == "lora"
    return StageNeeds(
        (name,), kind, options.batch, options.gradient_accumulation_steps, tuple(phases), lora, options.mode
    )


def _grpo_needs(name: str, kind: str, options: Grpo, model: Model) -> StageNeeds:
    rank, targets = _adapter(options)
    lengths = (options.max_prompt_length, options.max_completion_length)
    step = Program("grpo", *lengths, rank, targets, sums_gradients=options.gradient_accumulation_steps > 1)
    phases = [_answers("answers", options, options, model, per_problem=options.num_generations)]
    phases.append(StageProgram("step", step, options.num_generations, options.gradient_accumulation_steps))
    if options.probe_problems:
        phases.append(_answers("probe", options, options, model, fixed=options.probe_problems))
    return StageNeeds(
        (name,),
        kind,
        options.batch,
        options.gradient_accumulation_steps,
        tuple(phases),
        keeps_weights=options.mode == "lora" or options.beta > 0,
        mode=options.mode,
        keeps_narrow=options.mode == "lora" and phases[0].program.narrow,
        keeps_origin=options.mode == "full" and options.beta > 0,
    )


def _adapter(options: TrainingOptions | None) -> tuple[int, str]:
    return (options.lora_rank, options.lora_targets) if options and options.mode == "lora" else (0, "")


def _answers(
    name: str, asking: Asking, trained: TrainingOptions | None, model: Model, *, per_problem: int = 1, fixed: int = 0
) -> StageProgram:
    program = Program(
        "answers",
        asking.max_prompt_length,
        asking.max_completion_length,
        *_adapter(trained),
        top_k=asking.top_k if isinstance(asking, Sampling) else 0,
        narrow=asking.sampling_dtype == "bfloat16" and model.dtype != "bfloat16",
    )
    return StageProgram(
        name, program, per_problem, fixed=fixed, slots=asking.slots or SLOTS_MAX, groups=model.mesh_fsdp
    )


def _with_shared_samplers(found: list[StageNeeds]) -> tuple[StageNeeds, ...]:
    """Return the needs with one sampler program for each pair of lengths and type: the one that needs most.

    The adapter and top-k sampling add little to a sampler's temporaries compared with the cache, and their persistent
    state is counted exactly elsewhere.
    """
    largest: dict[tuple[int, int, bool], Program] = {}
    for program in programs_of(found):
        if program.kind == "answers":
            lengths = (program.prompt_tokens, program.answer_tokens, program.narrow)
            known = largest.get(lengths, program)
            largest[lengths] = max(known, program, key=lambda each: (each.rank + each.held, each.top_k))

    def shared(phase: StageProgram) -> StageProgram:
        lengths = (phase.program.prompt_tokens, phase.program.answer_tokens, phase.program.narrow)
        return replace(phase, program=largest[lengths]) if phase.program.kind == "answers" else phase

    return tuple(replace(needs, phases=tuple(map(shared, needs.phases))) for needs in found)


def programs_of(needs: Iterable[StageNeeds]) -> tuple[Program, ...]:
    """Return every distinct program, in the order of the stages."""
    return tuple(dict.fromkeys(phase.program for each in needs for phase in each.phases))


def rows_to_compile(needs: Iterable[StageNeeds], program: Program) -> int:
    """Return the pipeline's largest number of rows of a program."""
    return max(phase.rows(each.batch) for each in needs for phase in each.phases if phase.program == program)


def share(rows: int, fsdp: int) -> int:
    """Return the rows that one chip computes: Tunix splits a batch evenly or not at all."""
    return rows // fsdp if rows % fsdp == 0 else rows
