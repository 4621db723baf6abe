"""Turns an exception into the failure that the report contains: stable cause, one sentence,
shortened traceback, no secrets."""

import os
import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass

from stages.stage import StageFailed

REASON_CHARS_MAX = 1_000
"""Longest reason, in characters."""
TRACEBACK_CHARS_MAX = 12_000
"""Longest traceback, in characters."""
OUT_OF_MEMORY = "out-of-memory"
EXHAUSTED = "RESOURCE_EXHAUSTED"
"""Status in JAX's error for a device without memory; it also has an allocator's report of many lines."""
GIB = 2**30
PASSING = (ConnectionError, TimeoutError)
"""Exceptions that are treated as transient: another session may succeed."""
SECRET_NAME = re.compile(r"TOKEN|KEY|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
SECRET_CHARS_MIN = 8
URL_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True)
class Failure:
    """Description of why a session failed."""

    cause: str
    reason: str
    transient: bool
    traceback: str

    @property
    def headline(self) -> str:
        """Summary in one line for people."""
        return " ".join(f"{self.cause}: {self.reason}".split())


def of(error: BaseException, stage: str, memory: Mapping[str, int] | None = None) -> Failure:
    """Describe an exception that ended the session while `stage` ran, with its peaks of memory in bytes
    (`stages.session.peak_memory.peaks`)."""
    trace = _cut(without_secrets("".join(traceback.format_exception(error))), TRACEBACK_CHARS_MAX)
    if isinstance(error, StageFailed):
        return Failure(error.cause, _reason(error.reason), error.transient, trace)
    if isinstance(error, MemoryError) or EXHAUSTED in str(error):
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Failure(
            OUT_OF_MEMORY, _reason(f"{stage} ran out of memory: {said}{used_text(memory or {})}"), False, trace
        )
    cause = f"{type(error).__name__}@{stage}"
    return Failure(cause, _reason(str(error) or type(error).__name__), isinstance(error, PASSING), trace)


def used_text(memory: Mapping[str, int]) -> str:
    """Return what was in use at most, as a clause that ends a sentence; empty if nothing was measured."""
    names = {"device": "a device's", "host": "the machine's"}
    parts = [
        f"{used / GIB:.1f} of {words} {memory[f'{name}_limit_bytes'] / GIB:.1f} GiB"
        if f"{name}_limit_bytes" in memory
        else f"{used / GIB:.1f} GiB of {words} memory"
        for name, words in names.items()
        if (used := memory.get(f"{name}_bytes", 0))
    ]
    return f"; at most {' and '.join(parts)} were in use" if parts else ""


def without_secrets(text: str) -> str:
    """Remove credentials in URLs and the values of environment variables that look like secrets."""
    for name, value in os.environ.items():
        if SECRET_NAME.search(name) and len(value) >= SECRET_CHARS_MIN:
            text = text.replace(value, f"<{name}>")
    return URL_CREDENTIALS.sub("", text)


def _reason(text: str) -> str:
    return _cut(without_secrets(text), REASON_CHARS_MAX)


def _cut(text: str, chars_max: int) -> str:
    """Shorten text to its beginning and, mostly, its end, where a traceback names the error."""
    if len(text) <= chars_max:
        return text
    head = chars_max // 4
    return f"{text[:head]}\n[… {len(text) - chars_max} characters …]\n{text[-(chars_max - head) :]}"
