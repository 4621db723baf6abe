"""Computes the work of one step of a stage, phase by phase, for relay's programs and for Tunix's own. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.core.work.counts import ComputeWork, ModelWork
from orchestrator.core.work.lengths import MeanLengths, asked_lengths, longest_of, mean_square, taught_lengths
from orchestrator.core.work.rates import Resource
from stages.options import Answer, Asking, Curate, Grpo, Model, Sft, TrainingOptions


@dataclass(frozen=True, kw_only=True)
class EngineTraits:
    """Properties of a program that decide how many positions it computes. None of them changes what is learnt."""

    name: str
    padding: float | None
    """Padding among the computed positions, as a share, of SFT's packed rows and of trimmed widths; None: every row has
    the full length that the options allow."""
    learnt_logits: bool
    """True if logits are computed only where a token is learnt, and after a prompt's last token."""
    filled_cache: bool
    """True if decoding attends to about as many positions as are filled; False: to the whole cache."""
    useful_rows: float | None
    """Share of the decoded rows that belong to unfinished answers; None: all rows are decoded until the longest answer
    has ended."""
    segment: int
    """Tokens that are decoded before chips that share batches gather each other\'s weights again; 0: once for all."""


RELAY = EngineTraits(name="relay", padding=0.1, learnt_logits=True, filled_cache=True, useful_rows=0.85, segment=32)
"""relay's own programs: packed rows, widths in steps of a quarter (on average a tenth of padding), logits of learnt
positions, and a sampler whose rows are dropped or given to others when their answers have ended."""
BARE = EngineTraits(
    name="bare Tunix 0.1.7", padding=None, learnt_logits=False, filled_cache=False, useful_rows=None, segment=0
)
"""Tunix's own trainer, learner and sampler: rows of the full length, logits of all positions, one loop over the whole
cache until every row has ended."""


@dataclass(frozen=True)
class PhaseWork:
    """A phase of a step, and what it takes."""

    name: str
    work: ComputeWork
    resource: Resource = "compute"


@dataclass(frozen=True, kw_only=True)
class StepWork:
    """FLOPs, bytes and transfers of one step of a stage on a mesh of `chips`; it trains from or draws completions of mean `lengths`."""

    chips: int
    phases: tuple[PhaseWork, ...]
    lengths: MeanLengths

    @property
    def total(self) -> ComputeWork:
        """Sum of all phases."""
        return sum((phase.work for phase in self.phases), ComputeWork())


def step_work(
    kind: str, options: Any, model: ModelWork, lengths: MeanLengths, engine: EngineTraits = RELAY
) -> StepWork | None:
    """Return the work of one step of a stage, or None for a kind whose work is not known.

    `options` are those of the kind, fitted.
    """
    if kind not in KINDS:
        return None
    return StepWork(chips=model.chips, phases=tuple(KINDS[kind](options, model, lengths, engine)), lengths=lengths)


def assumed_lengths(options: Any, slow: float) -> MeanLengths:
    """Return the mean lengths of a stage's prompts and completions.

    `slow` from 0 to 1 is the place within the bounds of lengths that nobody has measured, of the models' own answers
    among them.
    """
    if isinstance(options, Sft):
        return taught_lengths(options.data, options.max_seq_length, slow)
    data = ("questions",) if isinstance(options, Answer) else options.data
    return asked_lengths(data, options.max_prompt_length, options.max_completion_length, slow)


def model_work(options: Any, model: Model, devices: int) -> ModelWork | None:
    """Return the sizes of a model with the adapter that a stage's options name, or None for a kind without a size.

    A mesh of more chips than the accelerator has (`devices`) is taken to have only those.
    """
    lora = isinstance(options, TrainingOptions) and options.mode == "lora"
    found = ModelWork.of(model, options.lora_rank if lora else 0)
    if found is None or found.chips <= devices:
        return found
    tp = min(found.tp, devices)
    return replace(found, tp=tp, fsdp=max(1, devices // tp))


def _sft(options: Sft, model: ModelWork, mean: MeanLengths, engine: EngineTraits) -> list[PhaseWork]:
    longest = options.max_seq_length
    rows = model.rows(options.batch)
    full = rows * longest
    positions = (
        full if engine.padding is None else min(full, rows * (mean.prompt + mean.completion) / (1 - engine.padding))
    )
    logits = rows * mean.completion if engine.learnt_logits else positions
    work = model.training(
        positions,
        longest,
        logits,
        options.gradient_accumulation_steps,
        full=options.mode == "full",
        again=engine.learnt_logits,
    )
    return [PhaseWork("train", work)]


def _grpo(options: Grpo, model: ModelWork, mean: MeanLengths, engine: EngineTraits) -> list[PhaseWork]:
    rows = options.batch * options.num_generations
    prompt = _width(options.batch, mean.prompt, options.max_prompt_length, engine)
    completion = _width(rows, mean.completion, options.max_completion_length, engine)
    width, rows_computed = prompt + completion, model.rows(rows)
    positions = rows_computed * width
    logits = rows_computed * (completion if engine.learnt_logits else width)
    forward = model.layers(positions, width) + model.logits(logits) + model.weights_read()
    update = model.training(
        positions,
        width,
        logits,
        options.gradient_accumulation_steps,
        full=options.mode == "full",
        again=engine.learnt_logits,
    )
    phases = _drawn(rows, mean, options, model, engine, problems=options.batch)
    phases += [PhaseWork("reference", forward)] if options.beta else []
    phases += [PhaseWork("old policy", forward)] if options.num_iterations > 1 else []
    return [*phases, PhaseWork("train", update.times(options.num_iterations))]


def _ask(options: Any, model: ModelWork, mean: MeanLengths, engine: EngineTraits) -> list[PhaseWork]:
    rows = options.batch * (options.num_generations if isinstance(options, Curate) else 1)
    return _drawn(rows, mean, options, model, engine, problems=options.batch)


def _drawn(
    rows: float, mean: MeanLengths, options: Asking, model: ModelWork, engine: EngineTraits, *, problems: int
) -> list[PhaseWork]:
    """Return prefill and decoding of an answer to each of `rows` prompts, all at once."""
    prompt = _width(problems, mean.prompt, options.max_prompt_length, engine)
    computed = model.rows(rows)
    prefill = model.layers(computed * prompt, prompt) + model.weights_read()
    prefill += model.logits(computed if engine.learnt_logits else computed * prompt)
    prefill += ComputeWork(bytes=computed * prompt * model.cache_bytes)
    steps = longest_of(rows, mean.completion, options.max_completion_length)
    tokens = rows * mean.completion
    row_steps = computed * steps if engine.useful_rows is None else min(computed * steps, tokens / engine.useful_rows)
    if engine.filled_cache:  # a row attends to its prompt and, on average, to half of its answer's square
        half = mean_square(mean.completion, options.max_completion_length) / (2 * mean.completion)
        context = (prompt + half) / (1 - (engine.padding or 0.0))
    else:
        context = options.max_prompt_length + options.max_completion_length
    gathers = -(-steps // engine.segment) if engine.segment else 1
    decode = model.layers(row_steps, context) + model.logits(row_steps) + model.weights_read(steps, gathers=gathers)
    decode += ComputeWork(bytes=row_steps * context * model.cache_bytes)
    return [PhaseWork("prefill", prefill), PhaseWork("decode", decode, "drawing")]


def _width(rows: float, mean: float, limit: int, engine: EngineTraits) -> float:
    """Return the width to which rows of this mean length are padded: that of the longest, or the limit."""
    return limit if engine.padding is None else min(limit, longest_of(rows, mean, limit) / (1 - engine.padding))


KINDS: Mapping[str, Callable[[Any, ModelWork, MeanLengths, EngineTraits], list[PhaseWork]]] = {
    "sft": _sft,
    "grpo": _grpo,
    "continued": _grpo,
    "evaluate": _ask,
    "curate": _ask,
    "answer": _ask,
}
"""Kinds of stages whose work is known."""
