"""Lowers every program of a pipeline in a process with emulated devices, or takes what was lowered before."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrator.base.errors import BadInput, Permanent
from orchestrator.base.humanize import duration
from orchestrator.preflight.memory.lowered_before import LoweredBefore
from orchestrator.preflight.memory.programs import FUNCTIONS, Program, share

XLA_FLAGS = (
    # This scheduler minimizes memory, as a TPU's does; the CPU's default optimizes for speed.
    "--xla_cpu_scheduler_type=CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    # The first pass is useless here and takes a third of the time. The second removes optimization barriers, which
    # `remat` and `stages.training.selective` rely on: the CPU's compiler does it before it removes common
    # subexpressions, those of GPUs and TPUs after everything has been scheduled, just before memory is assigned.
    "--xla_disable_hlo_passes=cpu-all-reduce-combiner,cse_barrier_expander",
)
"""Flags with which the CPU's compiler plans memory as an accelerator's would; a CPU session's own plan needs none."""
ALWAYS = (
    # The machine code is discarded: memory is planned before code generation.
    "--xla_backend_optimization_level=0",
)
SLOWEST_FIRST = ("grpo", "answers", "sft")


@dataclass(frozen=True)
class Needs:
    """Memory of one program on one chip, in bytes, for any number of rows."""

    weights: tuple[int, int]
    """Bytes of the weights: on one chip, in total."""
    adapter: tuple[int, int]
    optimizer: tuple[int, int]
    parts: tuple[dict[str, int], ...]
    """Needs of each compiled function at its `rows`."""
    fsdp: int
    masters: tuple[int, int] = (0, 0)
    """Share of `optimizer` that holds the float32 copy of trained weights of a bfloat16 model."""
    largest: int = 0
    """Bytes of the model's largest array, in total."""
    layers: int = 0
    """Number of the model's layers."""
    gradients: int = 0
    """Bytes of the trained arrays' gradients: the part of the temporaries that does not grow with the rows."""
    trains: bool = False
    """True for a step, whose outputs are weights and moments, and do not grow with the rows either."""

    def at(self, rows: int) -> list[dict[str, int]]:
        """Return bytes of `inputs`, `cache`, `outputs` and `temporaries` per function at these rows."""
        return [{name: self._scaled(name, part, rows) for name in part} for part in self.parts]

    def _scaled(self, name: str, part: dict[str, int], rows: int) -> int:
        """Scale an amount with the rows of one chip, except for what does not depend on them."""
        if name == "rows":
            return rows
        fixed = 0
        if self.trains:
            fixed = {"temporaries": min(self.gradients, part[name]), "outputs": part[name]}.get(name, 0)
        return fixed + round((part[name] - fixed) * share(rows, self.fsdp) / share(part["rows"], self.fsdp))


@dataclass
class Lowering:
    """Lowers programs of one model for one mesh, and tells how far it is."""

    model: Mapping[str, Any]
    devices: int
    fsdp: int
    on_cpu: bool
    """True if the session runs on a CPU: then its memory is planned by the compiler that plans it here."""
    say: Callable[[str], None]
    before: LoweredBefore
    gap_bytes: int = 0
    """How far a plan from few layers may be above one from all (see `depths.extrapolated`)."""

    def measure(self, programs: Mapping[Program, int]) -> dict[Program, Needs]:
        """Lower each program at its number of rows.

        Raises BadInput if the model cannot be laid out on the mesh, Permanent if lowering itself failed.
        """
        keys = {each: self._key(each, rows) for each, rows in programs.items()}
        known = {each: found for each, key in keys.items() if (found := self.before.get(key)) is not None}
        missing = [each for each in programs if each not in known]
        missing.sort(key=lambda each: SLOWEST_FIRST.index(each.kind))
        if known:
            self.say(f"{len(known)} of {len(programs)} programs were lowered before: {self.before.folder}")
        for each, answers in self._lowered({each: programs[each] for each in missing}):
            known[each] = answers
            self.before.keep(keys[each], answers)
        return {each: _read(known[each], each, self.fsdp) for each in programs}

    def _key(self, program: Program, rows: int) -> dict[str, Any]:
        return {
            "program": dataclasses.asdict(program),
            "rows": rows,
            "model": dict(self.model),
            "flags": self._flags,
            "devices": self.devices,
            "gap_bytes": self.gap_bytes,
        }

    @property
    def _flags(self) -> tuple[str, ...]:
        return ALWAYS if self.on_cpu else (*XLA_FLAGS, *ALWAYS)

    def _lowered(self, programs: Mapping[Program, int]) -> Iterator[tuple[Program, list[dict[str, Any]]]]:
        """Yield each program with the answers for its functions, as soon as all of them are known."""
        functions = sum(FUNCTIONS[each.kind] for each in programs)
        found: dict[Program, dict[int, dict[str, Any]]] = {each: {} for each in programs}
        if programs:
            self.say(f"lowering {functions} function{'s' * (functions > 1)} …")
        for done, line in enumerate(self._answers(programs) if programs else (), 1):
            program = list(programs)[line["program"]]
            found[program][line["part"]] = line["answer"]
            tokens = program.prompt_tokens + program.answer_tokens
            self.say(
                f"{done} of {functions} lowered: {program.kind}, {programs[program]} rows of {tokens} tokens "
                f"({duration(line['took_s'])})"
            )
            if len(found[program]) == FUNCTIONS[program.kind]:
                yield program, [answer for _, answer in sorted(found[program].items())]

    def _answers(self, programs: Mapping[Program, int]) -> Iterator[dict[str, Any]]:
        """Yield the lines of a process that lowers the programs."""
        with TemporaryDirectory() as folder:
            asked = [{"program": dataclasses.asdict(program), "rows": rows} for program, rows in programs.items()]
            request = {
                "model": dict(self.model),
                "programs": asked,
                "folder": folder,
                "gap_bytes": self.gap_bytes,
            }
            with (
                Path(folder, "errors").open("w+", encoding="utf-8") as errors,
                subprocess.Popen(
                    [sys.executable, "-W", "ignore", "-m", "orchestrator.preflight.memory.lowering_process"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    env=environment(self.devices, *self._flags),
                ) as process,
            ):
                assert process.stdin is not None and process.stdout is not None
                process.stdin.write(json.dumps(request))
                process.stdin.close()
                for line in process.stdout:
                    answer: dict[str, Any] = json.loads(line)
                    if "error" in answer:
                        raise BadInput(answer["error"])
                    yield answer
                if process.wait() != 0:
                    errors.seek(0)
                    raise Permanent(f"lowering a program failed: {_last_line(errors.read())}")


def environment(devices: int, *more_flags: str) -> dict[str, str]:
    """Return the environment of a process with emulated devices and these XLA flags.

    `XLA_FLAGS` and `ALWAYS` make XLA plan memory as for an accelerator.
    """
    paths = [str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
    settings = [f"--xla_force_host_platform_device_count={devices}", *more_flags]
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "OPENBLAS_NUM_THREADS": "1",
        "XLA_FLAGS": " ".join(settings),
        "PYTHONPATH": os.pathsep.join(paths),
    }


def _last_line(text: str) -> str:
    lines: Sequence[str] = [line for line in text.splitlines() if line.strip()] or ["it gave no message"]
    return next((line for line in reversed(lines) if "Error" in line), lines[-1]).strip()[:300]


def _read(answers: Sequence[dict[str, Any]], program: Program, fsdp: int) -> Needs:
    # A copy for sampling is half as large as the weights that it was rounded from.
    times = 2 if program.narrow else 1
    sizes = {name: (times * int(chip), times * int(whole)) for name, (chip, whole) in answers[0]["sizes"].items()}
    trained = sizes["adapter"] if program.rank else sizes["weights"]
    return Needs(
        sizes["weights"],
        sizes["adapter"],
        sizes["optimizer"],
        tuple(answer["part"] for answer in answers),
        fsdp,
        sizes["masters"],
        sizes["largest"][1],
        answers[0]["layers"],
        0 if program.kind == "answers" else trained[0],
        trains=program.kind != "answers",
    )
