"""Reads TensorBoard's files the way that its documentation says, apart from the code that writes them."""

import importlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def events(path: Path) -> Iterator[Any]:
    """Each event of a file: length (8 bytes), its checksum (4), the event, its checksum (4); a cut-off end is left out."""
    proto = importlib.import_module("tensorboardX.proto.event_pb2")
    data, at = path.read_bytes(), 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        content = data[at + 12 : at + 12 + length]
        if len(content) < length:
            return
        yield proto.Event.FromString(content)
        at += 16 + length


def shown(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a folder, by its rule: a START drops what was read before of that step and later ones."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.name.rpartition(".s")[2]):
        for event in events(path):
            if event.HasField("session_log"):
                found = {tag: [point for point in points if point[0] < event.step] for tag, points in found.items()}
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found
