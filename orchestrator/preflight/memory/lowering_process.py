"""Process that lowers a pipeline's programs: `python -m orchestrator.preflight.memory.lowering_process`, JSON in and out.

It is a process of its own because JAX fixes the number of devices once. A request has the options of the model, the
programs with their rows, a folder, and `gap_bytes` (see `depths.extrapolated`). The answer has a line for each function of each program: its `program` (a number),
`part`, `took_s`, and what `lowering.measured` returns, for all layers. A line with an `error` for the user is the last.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.base.clock import monotonic_s
from orchestrator.preflight.memory import depths, xla_buffer_plan
from orchestrator.preflight.memory.abstract_model import CannotLower, model_config, vocabulary_of
from orchestrator.preflight.memory.copies import Copies
from orchestrator.preflight.memory.depths import WHOLE, Sample
from orchestrator.preflight.memory.lowering import measured
from orchestrator.preflight.memory.programs import FUNCTIONS, Program
from stages.options import Model, fit
from stages.stage import StageFailed

AT_ONCE = 2
"""Number of concurrent copies; each uses one core and at most 1 GiB."""


@dataclass
class Function:
    """A function of a program, and what is known of it."""

    number: int
    """Number of the program in the request."""
    program: Program
    rows: int
    part: int
    layers: int = 0
    found: dict[Sample, dict[str, Any]] = field(default_factory=dict)


def main() -> None:
    """Read a request from standard input; write the answers to standard output."""
    for answer in answers(json.load(sys.stdin)):
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def answers(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the answer for each function as soon as it is known; an error ends them."""
    options = fit(Model, request["model"], "model")
    chips = options.mesh_fsdp * options.mesh_tp
    functions = [
        Function(number, Program(**each["program"]), each["rows"], part)
        for number, each in enumerate(request["programs"])
        for part in range(FUNCTIONS[each["program"]["kind"]])
    ]
    copies = Copies[tuple[Function | None, Sample]](
        lambda task: _computed(options, *task, Path(request["folder"])), AT_ONCE
    )
    copies.add((None, WHOLE))
    for (function, sample), answer in copies.results():
        if "error" in answer:
            yield answer
            return
        if function is None:
            for each in functions:
                each.layers = answer["layers"]
                for wanted in depths.samples_of(each.program, each.layers, answer["vocabulary"], chips):
                    copies.add((each, wanted))
        elif (told := _told(function, sample, answer, request["gap_bytes"])) is not None:
            yield told
        elif len(function.found) == len(depths.SAMPLES):  # they do not tell enough
            copies.add((function, WHOLE), first=True)


def _told(function: Function, sample: Sample, answer: dict[str, Any], gap_bytes: int) -> dict[str, Any] | None:
    """Return the line for a function, or None if more has to be lowered for it."""
    function.found[sample] = answer
    whole: dict[str, Any] | None = answer
    if sample != WHOLE:
        if len(function.found) < len(depths.SAMPLES):
            return None
        whole = depths.extrapolated(function.found, function.layers, gap_bytes)
    if whole is None:
        return None
    began_s = min(each["began_s"] for each in function.found.values())
    return {
        "program": function.number,
        "part": function.part,
        "took_s": monotonic_s() - began_s,
        "answer": {name: whole[name] for name in ("sizes", "part", "layers")},
    }


def _computed(options: Model, function: Function | None, sample: Sample, folder: Path) -> dict[str, Any]:
    """Return what a copy computes: the model's size if there is no function, else what the function needs."""
    began_s = monotonic_s()
    try:
        if function is None:
            config = model_config(options)
            return {"layers": config.num_layers, "vocabulary": vocabulary_of(config)}
        mine = folder / f"{function.number}-{function.part}-{sample.layers}-{sample.narrow:d}"
        mine.mkdir()
        os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *xla_buffer_plan.flags(mine)])
        found = measured(options, sample, function.program, function.rows, function.part, mine)
        return {"began_s": began_s, **found}
    except (CannotLower, StageFailed) as error:
        return {"error": str(error)}


if __name__ == "__main__":
    main()
