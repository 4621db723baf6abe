"""Writes down, bit for bit, what each step of a session was made of and what it measured: a line of JSON a step.

    {"stage": "grpo", "step": 3, "metrics": {"loss": "0x1.8p-2"}, "saw": {"batch": "<SHA-256>", "rollouts": "<SHA-256>"}}

Two runs that computed the same have the same lines, whatever sessions they were cut into.
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
"""Below `relay` in the session's output."""


@dataclass(frozen=True)
class Traced:
    """One step: metrics as `float.hex`, and the digests of what went into it."""

    metrics: dict[str, str] = field(default_factory=dict)
    saw: dict[str, str] = field(default_factory=dict)


Steps = dict[tuple[str, int], Traced]
"""By stage and step."""


class Trace:
    """Appends to a session's trace. A step that is killed leaves no line."""

    def __init__(self, working: Path) -> None:
        self._path = path_of(working)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_bytes(b"")
        self._seen: dict[int, dict[str, str]] = {}

    def saw(self, step: int, name: str, value: object) -> None:
        """Take down what a step is made of; the same name again in the same step counts as more of it."""
        seen = self._seen.setdefault(step, {})
        digest = digest_of(value)
        seen[name] = digest_of([seen[name], digest]) if name in seen else digest

    def step_done(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Write the line of a step, which is out when this returns."""
        measured = {name: value.hex() for name, value in metrics.items()}
        line = {"stage": stage, "step": step, "metrics": measured, "saw": self._seen.pop(step, {})}
        with self._path.open("a", encoding="ascii") as file:
            file.write(json.dumps(line, sort_keys=True) + "\n")


def path_of(working: Path) -> Path:
    """Where a session that works in this folder leaves its trace."""
    return working / OUTPUT_DIRECTORY / TRACE_NAME


def read(path: Path) -> Steps:
    """The steps of a trace; a line that was cut off by a kill is none. No file is no step."""
    text = path.read_text(encoding="ascii") if path.exists() else ""
    lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return {(line["stage"], line["step"]): Traced(line["metrics"], line["saw"]) for line in lines}


def digest_of(value: object) -> str:
    """SHA-256, in hex, of a value: text, bytes, numbers, arrays, data classes, and lists, tuples and mappings of them.

    A list and a tuple of equal items are equal; arrays are equal where type, shape and every bit are. Something that can be
    called is called first. Raises TypeError for anything else: what cannot be told apart cannot be compared.
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
    import numpy as np  # whoever has an array has NumPy

    array = np.asarray(value)
    if array.dtype.kind in "OT":  # the bytes of these are addresses
        return _feed_all(digest, f"objects {array.shape}", array.reshape(-1).tolist())
    return _put(digest, f"array {array.dtype} {array.shape}", np.ascontiguousarray(array).tobytes())


def _put(digest: Any, kind: str, data: bytes) -> None:
    # With its length before it, nothing runs into what comes next.
    digest.update(f"{kind} {len(data)}\0".encode())
    digest.update(data)
