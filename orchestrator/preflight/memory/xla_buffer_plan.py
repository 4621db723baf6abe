"""XLA's plan of a program's memory, as soon as it is settled.

After that the compiler makes machine code and a graph of what may run beside what, which takes three quarters of the time for a
model of 26 layers, and both would be thrown away. XLA can be told to write its plan down on the way (`--xla_dump_to`), so
nobody has to wait for the end.
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
    """As much of JAX's `CompiledMemoryStats` as is asked of it, under the same names; bytes on one device."""

    argument_size_in_bytes: int
    output_size_in_bytes: int
    alias_size_in_bytes: int
    """Outputs that take the place of an argument; counted in both."""
    temp_size_in_bytes: int


def flags(folder: Path) -> tuple[str, ...]:
    """What XLA has to be told for `plan_of` to find its plan in `folder`."""
    return (f"--xla_dump_to={folder}", "--xla_dump_hlo_as_text", "--xla_dump_hlo_module_re=jit_step")


def plan_of(lowered: Any, folder: Path | None) -> Any:
    """The plan of a lowered program named `step`: read from `folder` when it is there, or asked of the compiled program.

    Compiling may go on in the background; a process that is done with its work ends by `os._exit`.
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
    """The plan that XLA wrote down, or None where it has not yet."""
    # The report is written after the assignment that it sums up: where one has begun, the other is whole.
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
    except Exception as error:  # noqa: BLE001 - raised again by who waits
        kept = error

        def failed() -> Any:
            raise kept

        return failed
    return lambda: compiled.memory_analysis()
