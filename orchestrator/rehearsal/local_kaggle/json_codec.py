"""Kaggle's JSON wire format: camelCase, default values omitted, times as ISO 8601 with Z, durations as `123s`."""

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
    """A response with status 302."""

    url: str


@dataclass(frozen=True)
class Ask:
    """A request's JSON object, read field by field. Raises KaggleRefusal(400) if a field has the wrong type."""

    value: Json

    def text(self, name: str) -> str:
        """Return a string that UTF-8 can encode; empty if the field is missing."""
        found = self._typed(name, str) or ""
        try:
            found.encode()
        except UnicodeEncodeError as error:  # a lone surrogate
            raise KaggleRefusal(400, f"Invalid value for field {name}") from error
        return found

    def number(self, name: str) -> int | None:
        """Return a whole number; None if the field is missing."""
        return self._typed(name, int)

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a boolean; `default` if the field is missing."""
        found = self._typed(name, bool)
        return default if found is None else found

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings; empty if the field is missing."""
        return tuple(str(item) for item in self._typed(name, list) or [])

    def inner(self, name: str) -> "Ask":
        """Return a nested object; empty if the field is missing."""
        return Ask(self._typed(name, dict) or {})

    def inners(self, name: str) -> tuple["Ask", ...]:
        """Return a list of nested objects; empty if the field is missing."""
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
    """Return the object without fields that hold a default value."""
    return {key: item for key, item in value.items() if item not in (None, "", 0, False, [], {})}


def moment(when: datetime) -> str:
    """Format a time as ISO 8601 with milliseconds and Z."""
    return when.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def duration(seconds: float) -> str:
    """Format a duration in seconds, with three decimals unless it is whole."""
    return f"{int(seconds)}s" if seconds == int(seconds) else f"{seconds:.3f}s"


def error_body(code: int, message: str = "") -> Json:
    """Return Kaggle's nested error object, which Kaggle's own client does not show.

    501 is never sent by Kaggle, so its message is repeated at the top level, which that client does show.
    """
    word = STATUS_WORDS.get(code, "UNKNOWN")
    said = message or HTTPStatus(code).phrase
    shown = {"code": code, "message": said} if code == HTTPStatus.NOT_IMPLEMENTED else {}
    return {**shown, "error": {"code": code, "message": said, "status": word}}


def log_entry(line: SessionLine) -> Json:
    """Return one log line as a JSON object."""
    return {"stream_name": line.stream, "time": round(line.at_s, 6), "data": line.text + "\n"}


def log_text(lines: Iterable[SessionLine]) -> str:
    """Return a finished log as JSON array text, one entry per line; empty if there are no lines."""
    entries = ",".join(json.dumps(log_entry(line)) + "\n" for line in lines)
    return f"[{entries}]" if entries else ""


def page(items: Sequence[T], ask: Ask, rules: Rules) -> tuple[Sequence[T], str]:
    """Return the requested page and the token of the next one (empty for the last page)."""
    size = min(max(1, ask.number("pageSize") or rules.page_size), rules.page_size_max)
    token = ask.text("pageToken")
    if token and not token.removeprefix("at-").isdigit():
        raise KaggleRefusal(400, "Invalid page token")
    number = max(1, ask.number("page") or 1)
    start = int(token.removeprefix("at-")) if token else (number - 1) * size
    end = start + size
    return items[start:end], f"at-{end}" if end < len(items) else ""


def total_bytes(files: Files) -> int:
    """Return the total size of all files, in bytes."""
    return sum(file.size_bytes for file in files.values())
