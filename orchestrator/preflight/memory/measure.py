"""Lowers every program of a pipeline, two at a time, each in a process of its own."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrator.base.clock import monotonic_s
from orchestrator.base.errors import BadInput, Permanent
from orchestrator.base.humanize import duration
from orchestrator.preflight.memory.programs import Program, share
from orchestrator.preflight.memory.xla_buffer_plan import flags

XLA_FLAGS = (
    # This scheduler minimizes memory, as a TPU's does; the CPU's default optimizes for speed.
    "--xla_cpu_scheduler_type=CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    # The first pass is useless here and takes a third of the time; the second would undo the recomputation of `remat`.
    "--xla_disable_hlo_passes=cpu-all-reduce-combiner,cse_barrier_expander",
    # The machine code is discarded: memory is planned before code generation.
    "--xla_backend_optimization_level=0",
)
AT_ONCE = 2
"""Number of concurrent processes; each uses one core and about 1 GiB."""
SLOWEST_FIRST = ("grpo", "sft", "answers")


@dataclass(frozen=True)
class Needs:
    """Memory of one program on one chip, in bytes, for any number of rows."""

    weights: tuple[int, int]
    """Bytes of the weights: on one chip, in total."""
    adapter: tuple[int, int]
    optimizer: tuple[int, int]
    parts: tuple[tuple[dict[str, int], dict[str, int]], ...]
    """Needs of each compiled function at two numbers of rows."""
    fsdp: int
    masters: tuple[int, int] = (0, 0)
    """Share of `optimizer` that holds the float32 copy of trained weights of a bfloat16 model."""

    def at(self, rows: int) -> list[dict[str, int]]:
        """Return bytes of `inputs`, `cache`, `cache_whole`, `outputs` and `temporaries` per function at these rows."""
        return [{name: self._interpolated(name, one, two, rows) for name in one} for one, two in self.parts]

    def _interpolated(self, name: str, one: dict[str, int], two: dict[str, int], rows: int) -> int:
        if name in ("rows", "cache_whole"):
            return one[name] * rows // one["rows"]
        first, second = share(one["rows"], self.fsdp), share(two["rows"], self.fsdp)
        slope = (two[name] - one[name]) / (second - first)
        return max(0, round(one[name] + slope * (share(rows, self.fsdp) - first)))


def measure(
    model: dict[str, Any], programs: dict[Program, tuple[int, int]], fsdp: int, devices: int, say: Callable[[str], None]
) -> dict[Program, Needs]:
    """Lower each program at its two numbers of rows.

    Raises BadInput if the model cannot be laid out on the mesh, Permanent if lowering itself failed.
    """
    wanted = [(program, rows) for program, pair in programs.items() for rows in pair]
    wanted.sort(key=lambda each: SLOWEST_FIRST.index(each[0].kind))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = {each: pool.submit(_lowered, model, *each, devices, say) for each in wanted}
        try:
            answers = {each: future.result() for each, future in waiting.items()}
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {program: _read([answers[program, rows] for rows in pair], fsdp) for program, pair in programs.items()}


def _lowered(
    model: dict[str, Any], program: Program, rows: int, devices: int, say: Callable[[str], None]
) -> dict[str, Any]:
    began_s = monotonic_s()
    title = f"{program.kind}, {rows} rows of {program.prompt_tokens + program.answer_tokens} tokens"
    say(f"lowering {title} …")
    with TemporaryDirectory() as folder:
        request = {"model": model, "program": dataclasses.asdict(program), "rows": rows, "folder": folder}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "orchestrator.preflight.memory.lowering"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            env=environment(devices, *flags(Path(folder))),
            check=False,
        )
    if done.returncode != 0:
        raise Permanent(f"lowering {title} failed: {_last_line(done.stderr)}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        raise BadInput(answer["error"])
    say(f"lowered {title}: {duration(monotonic_s() - began_s)}")
    return answer


def environment(devices: int, *more_flags: str) -> dict[str, str]:
    """Return the environment of a process with emulated devices, in which XLA plans memory as for an accelerator."""
    paths = [str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
    settings = [f"--xla_force_host_platform_device_count={devices}", *XLA_FLAGS, *more_flags]
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": " ".join(settings),
        "PYTHONPATH": os.pathsep.join(paths),
    }


def _last_line(text: str) -> str:
    lines: Sequence[str] = [line for line in text.splitlines() if line.strip()] or ["it said nothing"]
    return next((line for line in reversed(lines) if "Error" in line), lines[-1]).strip()[:300]


def _read(answers: Sequence[dict[str, Any]], fsdp: int) -> Needs:
    sizes = {name: (int(chip), int(whole)) for name, (chip, whole) in answers[0]["sizes"].items()}
    one, two = (answer["parts"] for answer in answers)
    parts = tuple(zip(one, two, strict=True))
    return Needs(sizes["weights"], sizes["adapter"], sizes["optimizer"], parts, fsdp, sizes["masters"])
