"""Records the exact inputs and metrics of each step of a session, as one line of JSON per step.

    {"stage": "grpo", "step": 3, "metrics": {"loss": "0x1.8p-2"}, "saw": {"batch": "<SHA-256>", "rollouts": "<SHA-256>"}}

Two runs that computed the same numbers have the same lines, regardless of how they were cut into sessions.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.contract import OUTPUT_DIRECTORY

TRACE_NAME = "trace.jsonl"
"""File name of the trace, below `relay` in the session's output."""


@dataclass(frozen=True)
class Traced:
    """Trace of one step: metrics as `float.hex`, and digests of the step's inputs."""

    metrics: dict[str, str] = field(default_factory=dict)
    saw: dict[str, str] = field(default_factory=dict)


Steps = dict[tuple[str, int], Traced]
"""Traced steps by stage and step number."""


class Trace:
    """Appends to a session's trace. A step that is killed leaves no line."""

    def __init__(self, working: Path) -> None:
        self._path = path_of(working)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_bytes(b"")
        self._seen: dict[int, dict[str, str]] = {}

    def saw(self, step: int, name: str, value: object) -> None:
        """Record an input of a step; values recorded under the same name in the same step are combined."""
        seen = self._seen.setdefault(step, {})
        digest = digest_of(value)
        seen[name] = digest_of([seen[name], digest]) if name in seen else digest

    def step_done(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Write the line of a step and close the file before returning."""
        measured = {name: value.hex() for name, value in metrics.items()}
        line = {"stage": stage, "step": step, "metrics": measured, "saw": self._seen.pop(step, {})}
        with self._path.open("a", encoding="ascii") as file:
            file.write(json.dumps(line, sort_keys=True) + "\n")


def path_of(working: Path) -> Path:
    """Return the path of the trace of a session with this working folder."""
    return working / OUTPUT_DIRECTORY / TRACE_NAME


def read(path: Path) -> Steps:
    """Read the steps of a trace, without a last line that was truncated by a kill; empty if the file is missing."""
    text = path.read_text(encoding="ascii") if path.exists() else ""
    lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return {(line["stage"], line["step"]): Traced(line["metrics"], line["saw"]) for line in lines}


def digest_of(value: object) -> str:
    """Compute the SHA-256, in hex, of a value: text, bytes, numbers, arrays, dataclasses, and
    lists, tuples and mappings of them.

    A list and a tuple of equal items have the same digest; arrays have if type, shape and every bit are equal. A
    callable is called first. Raises TypeError for other types.
    """
    digest = hashlib.sha256()
    _feed(digest, value() if callable(value) else value)
    return digest.hexdigest()


def _feed(digest: Any, value: object) -> None:
    match value:
        case None | bool() | int():
            _put(digest, type(value).__name__, repr(value).encode())
        case float():
            _put(digest, "float", value.hex().encode())
        case str():
            _put(digest, "str", value.encode("utf-8", "surrogatepass"))
        case bytes() | bytearray() | memoryview():
            _put(digest, "bytes", bytes(value))
        case list() | tuple():
            _feed_all(digest, "list", list(value))
        case Mapping():
            _feed_all(digest, "mapping", [item for key in sorted(value, key=str) for item in (key, value[key])])
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            _feed_all(digest, type(value).__name__, [getattr(value, entry.name) for entry in dataclasses.fields(value)])
        case _ if hasattr(value, "__array__"):
            _feed_array(digest, value)
        case _:
            raise TypeError(f"a trace cannot hold a {type(value).__name__}: give arrays, text or numbers")


def _feed_all(digest: Any, kind: str, items: list[Any]) -> None:
    _put(digest, kind, str(len(items)).encode())
    for item in items:
        _feed(digest, item)


def _feed_array(digest: Any, value: Any) -> None:
    import numpy as np  # imported late: only values with arrays need NumPy

    array = np.asarray(value)
    if array.dtype.kind in "OT":  # their bytes are memory addresses
        return _feed_all(digest, f"objects {array.shape}", array.reshape(-1).tolist())
    return _put(digest, f"array {array.dtype} {array.shape}", np.ascontiguousarray(array).tobytes())


def _put(digest: Any, kind: str, data: bytes) -> None:
    # The length prefix keeps consecutive values apart: "ab" + "c" differs from "a" + "bc".
    digest.update(f"{kind} {len(data)}\0".encode())
    digest.update(data)
