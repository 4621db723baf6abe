"""Records which values a write-up prints, and in which of its files. Pure."""

import math
from typing import Any

from orchestrator.views.writeup.traced import Traced, TracedNumber


class Ledger:
    """Collects the values printed in the files of one write-up."""

    def __init__(self) -> None:
        self._values: dict[str, Traced] = {}
        self._files: dict[str, list[str]] = {}

    def printed(self, value: Traced, file: str) -> str:
        """Record that a file prints the value, and return the printed text."""
        known = self._values.setdefault(value.name, value)
        assert known.text == value.text, f"two values are called {value.name}"
        files = self._files.setdefault(value.name, [])
        if file not in files:
            files.append(file)
        return value.text

    def document(self) -> list[dict[str, Any]]:
        """Return the values in the order in which they were first printed: name, value, text, files and origin."""
        return [
            {
                "name": name,
                "value": _json_value(value),
                "text": value.text,
                "in": self._files[name],
                "source": value.source,
            }
            for name, value in self._values.items()
        ]


def _json_value(value: Traced) -> float | int | str:
    """Return a value as JSON can hold it; numbers that JSON lacks become texts."""
    if not isinstance(value, TracedNumber) or not math.isfinite(value):
        return value.text
    return int(value) if value.is_integer() and abs(value) < 2**53 else float(value)
