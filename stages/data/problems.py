"""Problems from a file of the user's own: JSON Lines that travel with the run as a dataset and are found by name in the mounts."""

import hashlib
import json
from pathlib import Path
from typing import Any

from stages.data.sums import HELD_OUT_ONE_IN, Example, Source

FIELDS = {"prompt": str, "answer": str, "completion": str}


def problems_in(inputs: Path, name: str) -> Source:
    """The problems of the mounted file `name`; raises ValueError with one sentence that names file, line and field.

    Each line is an object with `prompt`, `answer`, `completion` (what SFT teaches) and, where it is one, `"hard": true`.
    """
    path = next(iter(sorted(inputs.rglob(name))), None)
    if path is None:
        raise ValueError(f"data: {name} is in none of the mounted inputs")
    lines = path.read_text(encoding="utf-8").splitlines()
    examples = [_example(line, f"{name}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    train = tuple(example for example in examples if not _held_out(example.prompt))
    source = Source(
        train=train,
        hard=tuple(example for example in train if example.hard),
        held_out=tuple(example for example in examples if _held_out(example.prompt)),
    )
    if not source.train or not source.held_out:
        raise ValueError(f"data: {name} has too few problems to hold any out: {len(examples)}")
    return source


def _held_out(prompt: str) -> bool:
    return hashlib.sha256(prompt.encode()).digest()[0] % HELD_OUT_ONE_IN == 0


def _example(line: str, where: str) -> Example:
    try:
        value: Any = json.loads(line)
    except ValueError as error:
        raise ValueError(f"data: {where}: this is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"data: {where}: this is not an object")
    for field, kind in FIELDS.items():
        if not isinstance(value.get(field), kind):
            raise ValueError(f"data: {where}: {field} is missing or not text")
    hard = value.get("hard", False)
    return Example(prompt=value["prompt"], answer=value["answer"], taught=(value["completion"],), hard=hard is True)
