"""Kaggle's JSON as it is on the wire: camelCase, default values left out, times as ISO with Z, durations as `123s`."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar

from orchestrator.rehearsal.local_kaggle.rules import KaggleRefusal, Rules
from orchestrator.rehearsal.local_kaggle.sandbox import SessionLine
from orchestrator.rehearsal.local_kaggle.stored_file import Files

T = TypeVar("T")
Json = dict[str, Any]

STATUS_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


@dataclass(frozen=True)
class Redirect:
    """An answer with status 302."""

    url: str


@dataclass(frozen=True)
class Ask:
    """A request's JSON object, read field by field; raises KaggleRefusal(400) where a type does not fit."""

    value: Json

    def text(self, name: str) -> str:
        """A string that UTF-8 can hold; empty where it is missing."""
        found = self._typed(name, str) or ""
        try:
            found.encode()
        except UnicodeEncodeError as error:  # half of a surrogate pair
            raise KaggleRefusal(400, f"Invalid value for field {name}") from error
        return found

    def number(self, name: str) -> int | None:
        """A whole number; None where it is missing."""
        return self._typed(name, int)

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean."""
        found = self._typed(name, bool)
        return default if found is None else found

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(str(item) for item in self._typed(name, list) or [])

    def inner(self, name: str) -> "Ask":
        """An object inside."""
        return Ask(self._typed(name, dict) or {})

    def inners(self, name: str) -> tuple["Ask", ...]:
        """A list of objects inside."""
        items = self._typed(name, list) or []
        if not all(isinstance(item, dict) for item in items):
            raise KaggleRefusal(400, f"Invalid value for field {name}")
        return tuple(Ask(item) for item in items)

    def _typed(self, name: str, kind: type[T]) -> T | None:
        found = self.value.get(name)
        if found is not None and not isinstance(found, kind):
            raise KaggleRefusal(400, f"Invalid value for field {name}")
        return found


def sparse(value: Json) -> Json:
    """The object without the fields that hold a default value."""
    return {key: item for key, item in value.items() if item not in (None, "", 0, False, [], {})}


def moment(when: datetime) -> str:
    """A time as ISO with milliseconds and Z."""
    return when.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def duration(seconds: float) -> str:
    """A duration in seconds, with three decimals where it is not whole."""
    return f"{int(seconds)}s" if seconds == int(seconds) else f"{seconds:.3f}s"


def error_body(code: int, message: str = "") -> Json:
    """The nested object with which Kaggle explains an error; its own client shows none of it.

    501 is no answer of Kaggle's, and is said a second time where that client looks for something to show.
    """
    word = STATUS_WORDS.get(code, "UNKNOWN")
    said = message or HTTPStatus(code).phrase
    shown = {"code": code, "message": said} if code == HTTPStatus.NOT_IMPLEMENTED else {}
    return {**shown, "error": {"code": code, "message": said, "status": word}}


def log_entry(line: SessionLine) -> Json:
    """One line of a log."""
    return {"stream_name": line.stream, "time": round(line.at_s, 6), "data": line.text + "\n"}


def log_text(lines: Iterable[SessionLine]) -> str:
    """A finished log: the text of a JSON array, one entry a line; empty where there is none."""
    entries = ",".join(json.dumps(log_entry(line)) + "\n" for line in lines)
    return f"[{entries}]" if entries else ""


def page(items: Sequence[T], ask: Ask, rules: Rules) -> tuple[Sequence[T], str]:
    """The page that was asked for, and the token of the next one (empty on the last)."""
    size = min(max(1, ask.number("pageSize") or rules.page_size), rules.page_size_max)
    token = ask.text("pageToken")
    if token and not token.removeprefix("at-").isdigit():
        raise KaggleRefusal(400, "Invalid page token")
    number = max(1, ask.number("page") or 1)
    start = int(token.removeprefix("at-")) if token else (number - 1) * size
    end = start + size
    return items[start:end], f"at-{end}" if end < len(items) else ""


def total_bytes(files: Files) -> int:
    """Bytes of all files together."""
    return sum(file.size_bytes for file in files.values())
