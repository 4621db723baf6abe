"""Turns the memory needs of programs into a verdict per stage: does it fit, and what is the largest batch that fits?"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.base.errors import BadInput
from orchestrator.base.systems import require_posix
from orchestrator.pipeline.chips import HOSTS, OUTPUT_BYTES_MAX
from orchestrator.pipeline.model import Pipeline
from orchestrator.preflight.memory.checkpoint_sizes import checkpoint_verdicts
from orchestrator.preflight.memory.host import (
    HostMoment,
    Loaded,
    files_bytes,
    host_moments,
    starting_moments,
    working_pieces,
)
from orchestrator.preflight.memory.lowered_before import LoweredBefore
from orchestrator.preflight.memory.machine import Machine, machine_of
from orchestrator.preflight.memory.measure import Lowering, Needs
from orchestrator.preflight.memory.measured import MeasuredPeaks, with_measured
from orchestrator.preflight.memory.programs import (
    MODEL_OPTIONS,
    Program,
    StageNeeds,
    StageProgram,
    needs_of,
    programs_of,
    rows_to_compile,
)
from stages.options import Model
from stages.options.families import FULL_SIZE, family_name

BATCH_MAX = 1 << 16
"""Largest batch that is looked at: if it fits, any does, since the sampler has a limited number of slots."""
GAP_SHARE = 32
"""Part of a chip's memory by which a plan from few layers may be above one from all layers; on a CPU it may not."""
ITEMSIZE = {"float32": 4, "bfloat16": 2}
ACCURACY = {
    "cpu": "a session whose rows are shorter than they may be took a fifth less on a CPU",
    "other": "not yet compared with an accelerator: leave a tenth free",
}
"""What is known about the error of a plan, by kind of machine (docs/memory.md has the measurements)."""


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
    host: int = 0
    """Bytes of what the session's processes hold beside the arrays, on a CPU, where both are one memory."""

    @property
    def peak(self) -> int:
        """Sum of all parts, in bytes."""
        return sum(value for name, value in asdict(self).items() if name not in ("phase", "rows"))


def memory_document(
    pipeline: Pipeline, where: str, say: Callable[[str], None], cache: Path, measured: Sequence[MeasuredPeaks] = ()
) -> dict[str, Any]:
    """Return the answer of `relay plan --memory` as JSON; sizes in bytes.

    `cache` is the folder of what was lowered before; `measured` are the peaks and limits of this home's runs that did the same.
    Raises BadInput if there is nothing to plan or the model cannot be laid out on its mesh.
    """
    require_posix("relay plan --memory", "relay plan without it says what a run does and how long it takes")
    model, needs = _requirements(pipeline, where)
    machine = machine_of(pipeline.accelerator, measured)
    if importlib.util.find_spec("tunix") is None:
        raise BadInput("relay plan --memory lowers the training programs here: pip install 'relay-kaggle[train]' first")
    wanted = {program: rows_to_compile(needs, program) for program in programs_of(needs)}
    devices = model.mesh_fsdp * model.mesh_tp
    on_cpu = pipeline.accelerator == "cpu"
    before = LoweredBefore(cache, model.source)
    gap = 0 if on_cpu else machine_of(pipeline.accelerator).memory_bytes // GAP_SHARE
    found = Lowering(lowered_options(pipeline), devices, model.mesh_fsdp, on_cpu, say, before, gap).measure(wanted)
    held = held_on_hosts(pipeline, model, needs, found)
    stages = [stage_verdict(each, found, machine, model, held[each.names]) for each in needs]
    checkpoints = checkpoint_verdicts(pipeline, needs, found)
    document: dict[str, Any] = {
        "pipeline": pipeline.name,
        "accelerator": pipeline.accelerator,
        "chip": machine.chip or "CPU",
        "memory_bytes": machine.memory_bytes,
        "host_bytes": machine.host.memory_bytes,
        "host_source": machine.host.source,
        "one_memory": on_cpu,
        "mesh": {"fsdp": model.mesh_fsdp, "tp": model.mesh_tp},
        "model": {"kind": model.kind, "dtype": model.dtype, "remat": model.remat},
        "stages": with_measured(stages, measured, {"device": machine.memory_bytes, "host": machine.host.memory_bytes}),
        "checkpoints": checkpoints,
        "output_bytes_max": OUTPUT_BYTES_MAX,
        "accuracy": ACCURACY["cpu" if on_cpu else "other"],
    }
    verdicts = [*document["stages"], *checkpoints]
    return document | {"fits": all(each["fits"] for each in verdicts)}


def lowered_options(pipeline: Pipeline) -> dict[str, Any]:
    """Return the options of the model on which its programs depend; the others are the defaults."""
    return {name: value for name, value in pipeline.model.items() if name in MODEL_OPTIONS}


def held_on_hosts(
    pipeline: Pipeline, model: Model, needs: tuple[StageNeeds, ...], found: Mapping[Program, Needs]
) -> dict[tuple[str, ...], "OnHost"]:
    """Return what each stage holds on its host beside the arrays."""
    checkpoint = {each["stage"]: each["bytes"] for each in checkpoint_verdicts(pipeline, tuple(needs), found)}
    names = [stage.name for stage in pipeline.stages if stage.name in checkpoint]
    before = dict(zip(names, [0, *(checkpoint[name] for name in names)], strict=False))
    held = {}
    for each in needs:
        lowered = found[each.phases[0].program]
        numbers = lowered.weights[1] // ITEMSIZE[model.dtype]
        loaded = Loaded(
            lowered.weights[1],
            lowered.largest,
            ITEMSIZE[model.dtype],
            lowered.layers,
            files_bytes(model.source, numbers),
        )
        trained = next((found[p.program] for p in each.phases if p.program.kind in ("sft", "grpo")), None)
        snapshot = 0
        if trained is not None:
            arrays = trained.weights if each.mode == "full" else trained.adapter
            snapshot = trained.optimizer[1] + (0 if trained.masters[1] else arrays[1])
        held[each.names] = OnHost(loaded, snapshot, max(before[name] for name in each.names))
    return held


@dataclass(frozen=True)
class OnHost:
    """Memory of a stage on its host, in bytes: the model on its way, the saver's copy, and the checkpoint that it began from."""

    loaded: Loaded
    snapshot: int
    restored: int


def _requirements(pipeline: Pipeline, where: str) -> tuple[Model, tuple[StageNeeds, ...]]:
    model, needs = pipeline.loaded_model, needs_of(pipeline)
    if model is None or not needs:
        raise BadInput(f"{where}: no stage of this pipeline loads relay's model, so there is no memory to plan")
    if pipeline.accelerator not in HOSTS:
        raise BadInput(
            f"{where}: accelerator {pipeline.accelerator} has no memory that relay knows: take one of {', '.join(HOSTS)}"
        )
    devices, promised = model.mesh_fsdp * model.mesh_tp, pipeline.hardware.promise.devices or 1
    if devices > promised:
        raise BadInput(
            f"{where}: model.mesh_fsdp times model.mesh_tp is {devices}, and {pipeline.accelerator} has {promised} "
            f"chip{'s' if promised > 1 else ''}: make the mesh smaller"
        )
    if model.kind not in FULL_SIZE and not model.is_folder:
        sized = next(kind for kind in FULL_SIZE if family_name(kind) == model.kind)
        raise BadInput(
            f"{where}: model.kind {model.kind} has the size that its files have, and {model.source} is not on this machine: "
            f"download it and name its folder as model.source, or name a kind with its size, such as {sized}"
        )
    return model, needs


# --- a stage -------------------------------------------------------------------


def stage_verdict(
    needs: StageNeeds, found: Mapping[Program, Needs], machine: Machine, model: Model, held: OnHost
) -> dict[str, Any]:
    """Return the memory of each phase at the stage's batch, and the largest batch with which all phases fit.

    On a CPU the phases hold what is on the host too; else `host` lists the moments of the host's own memory.
    """
    memory_bytes = machine.memory_bytes
    working = working_pieces(needs, held.loaded.layers, held.snapshot, held.restored)
    beside = sum(working.values()) if machine.one_memory else 0

    def phases_at(batch: int, parts: int | None = None) -> list[PhaseMemory]:
        return [replace(phase, host=beside) for phase in memory_of(needs, found, batch, parts)]

    def peak(batch: int, parts: int | None = None) -> int:
        return max(phase.peak for phase in phases_at(batch, parts) if phase.phase not in fixed)

    fixed = {each.name for each in needs.phases if each.fixed} | {
        at_start_of(each) for each in needs.phases if each.fixed
    }
    largest = _largest(lambda batch: peak(batch) <= memory_bytes, needs.unit(model.mesh_fsdp))
    phases = phases_at(needs.batch)
    if machine.one_memory:
        phases = [*map(_starting, starting_moments(held.loaded)), *phases]
    too_large = [phase for phase in phases if phase.peak > memory_bytes]
    advice = []
    if any(phase.phase not in fixed for phase in too_large):
        advice.append(_advice(needs, model, largest, lambda parts: peak(needs.batch, parts) <= memory_bytes))
    if any(phase.phase in fixed for phase in too_large):
        advice.append(_probe_advice(needs, found, memory_bytes - beside))
    moments = [] if machine.one_memory else host_moments(needs, held.loaded, held.snapshot, held.restored)
    on_host = [
        {"name": each.name, **each.pieces, "peak": each.peak, "fits": each.peak <= machine.host.memory_bytes}
        for each in moments
    ]
    if not all(each["fits"] for each in on_host):
        advice.append("the host has too little memory for a model of this size")
    return {
        "needs": replace(needs, names=()),
        "names": list(needs.names),
        "kind": needs.kind,
        "batch": needs.batch,
        "gradient_accumulation_steps": needs.gradient_accumulation_steps,
        "largest_batch": largest,
        "any_batch": largest + needs.unit(model.mesh_fsdp) > BATCH_MAX,
        "fits": not too_large and all(each["fits"] for each in on_host),
        "phases": [{**asdict(phase), "peak": phase.peak, "fits": phase.peak <= memory_bytes} for phase in phases],
        "beside_the_arrays": working if machine.one_memory else {},
        "host": on_host,
        "advice": "; ".join(advice),
    }


def _starting(moment: HostMoment) -> PhaseMemory:
    """Return a moment before the first step, on a CPU, as a phase."""
    weights = moment.pieces["weights"]
    nothing = dict.fromkeys(("kept", "adapter", "optimizer", "cache", "inputs", "temporaries", "outputs"), 0)
    return PhaseMemory(moment.name, 0, weights, host=moment.peak - weights, **nothing)


def at_start_of(phase: StageProgram) -> str:
    """Return the name of the moments when the sampler reads prompts."""
    return f"{phase.name}: prompts"


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
    # A copy for sampling, in bfloat16, has half the size of the weights and of the adapter.
    copy, more = (weights + stays["adapter"]) // 2, weights // 2 if needs.keeps_narrow else 0
    return [
        held
        for phase in needs.phases
        for held in _phase(
            phase,
            found[phase.program],
            batch,
            gradient_accumulation_steps,
            stays | {"kept": stays["kept"] + (copy if phase.program.narrow else more)},
        )
    ]


def _phase(
    phase: StageProgram, needs: Needs, batch: int, gradient_accumulation_steps: int | None, stays: Mapping[str, int]
) -> list[PhaseMemory]:
    rows = phase.rows(batch)
    if gradient_accumulation_steps is not None and phase.program.kind != "answers":
        rows = batch * phase.per_problem // gradient_accumulation_steps
    used = [{name: part[name] for name in ("cache", "inputs", "temporaries", "outputs")} for part in needs.at(rows)]
    names = [phase.name]
    if phase.slots:
        # The cache grows layer by layer: two of one layer take less than the prompts' own cache, an output of reading.
        used[0]["cache"] = round(used[0]["cache"] * phase.first_cache_share(batch))
        names.insert(0, at_start_of(phase))
    return [PhaseMemory(name, rows, **stays, **each) for name, each in zip(names, used, strict=True)]


def _largest(fits: Callable[[int], bool], unit: int) -> int:
    """Return the largest multiple of `unit` that fits, at most `BATCH_MAX`; 0 if none does."""
    if not fits(unit):
        return 0
    if fits(top := BATCH_MAX // unit * unit):
        return top
    low, high = unit, 2 * unit
    while fits(high):
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
