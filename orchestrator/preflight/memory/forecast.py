"""Turns the memory needs of programs into a verdict per stage: does it fit, and what is the largest batch that fits?"""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from orchestrator.base.errors import BadInput
from orchestrator.pipeline.chips import CHIPS, OUTPUT_BYTES_MAX, Chip
from orchestrator.pipeline.model import Pipeline
from orchestrator.preflight.memory.measure import Needs, measure
from orchestrator.preflight.memory.programs import (
    Program,
    StageNeeds,
    StageProgram,
    needs_of,
    programs_of,
    rows_to_compile,
    stage_of,
)
from stages.options import Model
from stages.options.families import FULL_SIZE, family_name

BATCH_MAX = 1 << 16
KEPT_CHECKPOINTS = 2
"""Number of its newest checkpoints that a session's output holds (`Order.keep_checkpoints`); briefly one more."""


@dataclass(frozen=True)
class PhaseMemory:
    """Memory of one chip in one phase of a stage, in bytes."""

    phase: str
    rows: int
    weights: int
    kept: int
    """Bytes of the second copy of the weights: see `StageNeeds.keeps_weights`."""
    adapter: int
    optimizer: int
    """Bytes of moments, gradient sums and, for a bfloat16 model, the float32 copy of the trained weights."""
    cache: int
    inputs: int
    temporaries: int
    outputs: int
    """Bytes of results that do not reuse an argument's memory: Tunix's step returns the frozen weights again, as a
    copy."""

    @property
    def peak(self) -> int:
        """Sum of all parts, in bytes."""
        return sum(value for name, value in asdict(self).items() if name not in ("phase", "rows"))


def memory_document(pipeline: Pipeline, where: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the answer of `relay plan --memory` as JSON; sizes in bytes.

    Raises BadInput if there is nothing to plan or the model cannot be laid out on its mesh.
    """
    chip, model, needs = _requirements(pipeline, where)
    if importlib.util.find_spec("tunix") is None:
        raise BadInput("relay plan --memory lowers the training programs here: pip install 'relay-kaggle[train]' first")
    wanted = {program: rows_to_compile(needs, program, model.mesh_fsdp) for program in programs_of(needs)}
    found = measure(dict(pipeline.model), wanted, model.mesh_fsdp, model.mesh_fsdp * model.mesh_tp, say)
    stages = [stage_verdict(each, found, chip.memory_bytes, model) for each in needs]
    checkpoints = checkpoint_verdicts(pipeline, needs, found)
    return {
        "pipeline": pipeline.name,
        "accelerator": pipeline.accelerator,
        "chip": chip.name,
        "memory_bytes": chip.memory_bytes,
        "mesh": {"fsdp": model.mesh_fsdp, "tp": model.mesh_tp},
        "model": {"kind": model.kind, "dtype": model.dtype, "remat": model.remat},
        "stages": stages,
        "checkpoints": checkpoints,
        "output_bytes_max": OUTPUT_BYTES_MAX,
        "fits": all(each["fits"] for each in (*stages, *checkpoints)),
    }


def _requirements(pipeline: Pipeline, where: str) -> tuple[Chip, Model, tuple[StageNeeds, ...]]:
    model, needs = pipeline.loaded_model, needs_of(pipeline)
    if model is None or not needs:
        raise BadInput(f"{where}: no stage of this pipeline loads relay's model, so there is no memory to plan")
    if pipeline.accelerator not in CHIPS:
        raise BadInput(
            f"{where}: accelerator {pipeline.accelerator} has no chips whose memory relay knows: take one of "
            f"{', '.join(CHIPS)}"
        )
    devices, promised = model.mesh_fsdp * model.mesh_tp, pipeline.hardware.promise.devices
    if devices > promised:
        raise BadInput(
            f"{where}: model.mesh_fsdp times model.mesh_tp is {devices}, and {pipeline.accelerator} has {promised} chips: "
            "make the mesh smaller"
        )
    if model.kind not in FULL_SIZE and not model.is_folder:
        sized = next(kind for kind in FULL_SIZE if family_name(kind) == model.kind)
        raise BadInput(
            f"{where}: model.kind {model.kind} has the size that its files have, and {model.source} is not on this machine: "
            f"download it and name its folder as model.source, or name a kind with its size, such as {sized}"
        )
    return CHIPS[pipeline.accelerator], model, needs


# --- a stage -------------------------------------------------------------------


def stage_verdict(needs: StageNeeds, found: Mapping[Program, Needs], memory_bytes: int, model: Model) -> dict[str, Any]:
    """Return the memory of each phase at the stage's batch, and the largest batch with which all phases fit."""

    def peak(batch: int, gradient_accumulation_steps: int | None = None) -> int:
        return max(
            held.peak for held in memory_of(needs, found, batch, gradient_accumulation_steps) if held.phase not in fixed
        )

    fixed = {each.name for each in needs.phases if each.fixed} | {
        at_start_of(each) for each in needs.phases if each.fixed
    }
    largest = _largest(lambda batch: peak(batch) <= memory_bytes, needs.unit(model.mesh_fsdp))
    phases = memory_of(needs, found, needs.batch)
    too_large = [held for held in phases if held.peak > memory_bytes]
    advice = []
    if any(held.phase not in fixed for held in too_large):
        advice.append(_advice(needs, model, largest, lambda parts: peak(needs.batch, parts) <= memory_bytes))
    if any(held.phase in fixed for held in too_large):
        advice.append(_probe_advice(needs, found, memory_bytes))
    return {
        "names": list(needs.names),
        "kind": needs.kind,
        "batch": needs.batch,
        "gradient_accumulation_steps": needs.gradient_accumulation_steps,
        "largest_batch": largest,
        "fits": not too_large,
        "phases": [{**asdict(held), "peak": held.peak, "fits": held.peak <= memory_bytes} for held in phases],
        "advice": "; ".join(advice),
    }


def at_start_of(phase: StageProgram) -> str:
    """Return the name of the moment when the sampler has created its cache and not yet sharded it."""
    return f"{phase.name}: cache on chip 1"


def memory_of(
    needs: StageNeeds, found: Mapping[Program, Needs], batch: int, gradient_accumulation_steps: int | None = None
) -> list[PhaseMemory]:
    """Return one chip's memory in each phase of a stage."""
    trained = next((found[p.program] for p in needs.phases if p.program.kind in ("sft", "grpo")), None)
    weights = found[needs.phases[0].program].weights[0]
    stays = {
        "weights": weights,
        "kept": weights if needs.keeps_weights else 0,
        "adapter": trained.adapter[0] if trained else 0,
        "optimizer": trained.optimizer[0] if trained else 0,
    }
    return [
        held
        for phase in needs.phases
        for held in _phase(phase, found[phase.program], batch, gradient_accumulation_steps, stays)
    ]


def _phase(
    phase: StageProgram, needs: Needs, batch: int, gradient_accumulation_steps: int | None, stays: Mapping[str, int]
) -> list[PhaseMemory]:
    rows = phase.rows(batch)
    if gradient_accumulation_steps is not None and phase.program.kind != "answers":
        rows = batch * phase.per_problem // gradient_accumulation_steps
    parts = needs.at(rows)
    most = max(parts, key=lambda part: part["temporaries"] + part["outputs"])
    used = {name: most[name] for name in ("cache", "inputs", "temporaries", "outputs")}
    held = [PhaseMemory(phase.name, rows, **stays, **used)]
    if most["cache_whole"] > most["cache"]:
        # Tunix's sampler creates the whole cache on the first chip; the first program that uses it shards it.
        first = {"cache": most["cache_whole"] + most["cache"], "inputs": most["inputs"], "temporaries": 0, "outputs": 0}
        held.insert(0, PhaseMemory(at_start_of(phase), rows, **stays, **first))
    return held


def _largest(fits: Callable[[int], bool], unit: int) -> int:
    """Return the largest multiple of `unit` that fits; 0 if none does."""
    if not fits(unit):
        return 0
    low, high = unit, 2 * unit
    while high <= BATCH_MAX and fits(high):
        low, high = high, 2 * high
    while high - low > unit:
        middle = (low + high) // 2 // unit * unit
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _advice(needs: StageNeeds, model: Model, largest: int, fits_in: Callable[[int], bool]) -> str:
    """Return the smallest change that makes the stage fit."""
    divisors = [
        parts for parts in range(needs.gradient_accumulation_steps + 1, needs.batch + 1) if needs.batch % parts == 0
    ]
    parts = next((parts for parts in divisors if fits_in(parts)), 0) if needs.mode else 0
    if parts:
        return f"gradient_accumulation_steps: {parts} fits with the same batch, in parts one after the other"
    if largest:
        return f"batch: {largest} is the largest that fits"
    if needs.mode and model.remat == "none":
        return "model.remat: block needs less, and more time"
    if needs.mode == "full":
        return "mode: lora needs no moments for every weight"
    if model.dtype == "float32":
        return "model.dtype: bfloat16 halves the cache and the weights that do not train"
    return "fewer tokens, or more of the chips in model.mesh_fsdp and model.mesh_tp"


def _probe_advice(needs: StageNeeds, found: Mapping[Program, Needs], memory_bytes: int) -> str:
    """Return the number of problems that a probe may have; it generates all completions at once."""

    def fits(problems: int) -> bool:
        phases = tuple(replace(phase, fixed=problems) if phase.fixed else phase for phase in needs.phases)
        probes = {name for phase in phases if phase.fixed for name in (phase.name, at_start_of(phase))}
        held = memory_of(replace(needs, phases=phases), found, needs.batch)
        return all(each.peak <= memory_bytes for each in held if each.phase in probes)

    largest = _largest(fits, needs_even(found))
    return (
        f"probe_problems: {largest} is the largest that fits" if largest else "no probe fits: leave probe_problems out"
    )


def needs_even(found: Mapping[Program, Needs]) -> int:
    """Return the number of groups of chips: rows are split over them in multiples of it."""
    return next(iter(found.values())).fsdp


# --- checkpoints ----------------------------------------------------------------


def checkpoint_verdicts(
    pipeline: Pipeline, needs: tuple[StageNeeds, ...], found: Mapping[Program, Needs]
) -> list[dict[str, Any]]:
    """Return the size of each stage's checkpoint and whether it fits.

    Composed as in `stages.training.initial_state`: the base if it was trained, every adapter, the newest moments.
    """
    verdicts, base, adapters = [], 0, 0
    for stage in pipeline.stages:
        each = stage_of(needs, stage.name)
        if each is None:
            continue
        origin = base + adapters if each.keeps_origin else 0
        trained = next((found[p.program] for p in each.phases if p.program.kind in ("sft", "grpo")), None)
        if trained is not None and each.mode == "full":
            base, adapters = trained.masters[1] or trained.weights[1], 0
        elif trained is not None:
            adapters += trained.masters[1] or trained.adapter[1]
        size = base + adapters + origin + (trained.optimizer[1] - trained.masters[1] if trained else 0)
        verdicts.append({"stage": stage.name, **_output(size, each.mode)})
    return verdicts


def _output(size: int, mode: str) -> dict[str, Any]:
    """Report how many checkpoints of this size fit in Kaggle's output: one has to; a session keeps two if it can."""
    fits = size <= OUTPUT_BYTES_MAX
    advice = ""
    if not fits:
        advice = (
            "mode: lora keeps the checkpoint to an adapter and its moments" if mode == "full" else "a smaller lora_rank"
        )
    elif size * (KEPT_CHECKPOINTS + 1) > OUTPUT_BYTES_MAX:
        advice = f"only {OUTPUT_BYTES_MAX // size} of them fit side by side, and a session keeps two and writes a third"
    return {"bytes": size, "fits": fits, "advice": advice}
