"""Reads XLA's memory plan of a program as soon as it is final.

After that the compiler generates machine code and a graph of concurrent operations, which takes three quarters of the
time for a model of 26 layers and is not needed. XLA can write its plan to a file meanwhile (`--xla_dump_to`), so
compilation need not finish.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

LOOK_EVERY_S = 0.1
_ALLOCATION = re.compile(r"allocation \d+: size (\d+)(.*)")


@dataclass(frozen=True)
class MemoryStats:
    """The fields of JAX's `CompiledMemoryStats` that are used, under the same names; bytes on one device."""

    argument_size_in_bytes: int
    output_size_in_bytes: int
    alias_size_in_bytes: int
    """Bytes of outputs that reuse an argument's memory; counted in both."""
    temp_size_in_bytes: int


def flags(folder: Path) -> tuple[str, ...]:
    """Return the XLA flags that make `plan_of` find the plan in `folder`."""
    return (
        f"--xla_dump_to={folder}",
        "--xla_dump_hlo_as_text",
        "--xla_dump_hlo_module_re=jit_(step|_prefill|_segment)",
    )


def plan_of(lowered: Any, folder: Path | None) -> Any:
    """Return the plan of a lowered program (a step, or a function of the sampler): from `folder` once written, or from the compiled program.

    Compilation may continue in the background; end the process with `os._exit`.
    """
    if folder is None:
        return lowered.compile().memory_analysis()
    done: list[Callable[[], Any]] = []
    compiling = Thread(target=lambda: done.append(_outcome(lowered)), daemon=True)
    compiling.start()
    while compiling.is_alive():
        compiling.join(LOOK_EVERY_S)
        plan = written(folder)
        if plan is not None:
            return plan
    return done[0]()


def written(folder: Path) -> MemoryStats | None:
    """Return the plan that XLA wrote, or None if it has not written one yet."""
    # The report is written after the assignment that it sums up: if it exists, the assignment is complete.
    if not any(folder.glob("*-memory-usage-report.txt")):
        return None
    (assignment,) = folder.glob("*-buffer-assignment.txt")
    sizes = {"argument": 0, "output": 0, "alias": 0, "temp": 0}
    with assignment.open(encoding="utf-8") as lines:
        for found in filter(None, map(_ALLOCATION.match, lines)):
            size, what = int(found[1]), found[2]
            argument, output = "parameter" in what, "maybe-live-out" in what
            sizes["argument"] += size * argument
            sizes["output"] += size * output
            sizes["alias"] += size * (argument and output)
            sizes["temp"] += size * ("preallocated-temp" in what)
    return MemoryStats(**{f"{name}_size_in_bytes": size for name, size in sizes.items()})


def _outcome(lowered: Any) -> Callable[[], Any]:
    try:
        compiled = lowered.compile()
    except Exception as error:  # noqa: BLE001 - raised again in the waiting thread
        kept = error

        def failed() -> Any:
            raise kept

        return failed
    return lambda: compiled.memory_analysis()
