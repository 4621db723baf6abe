"""Pins in a pipeline's `environment`: `name[extra,…]==version` or `name[extra,…]`, as a session compares and installs them.

The loader checks them, and the pipeline's type does not: runs that began earlier keep the pins that they have.
"""

import re
from collections.abc import Iterator, Sequence

from orchestrator.pipeline.environments import ENVIRONMENTS
from stages.session.package_lock import names_lock, normalised

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VERSION = r"[A-Za-z0-9][A-Za-z0-9.+!_-]*"
PIN = re.compile(rf"({_NAME})(\[{_NAME}(?:,{_NAME})*\])?(?:==({_VERSION}))?")
"""Canonical pin: a package's name, its extras, and its version."""
SPACED = re.compile(r"\s*([\[\],]|==)\s*")

SCHEMA_PATTERN = (
    rf"^\s*(?!(?:.*\.lock\.txt|{'|'.join(map(re.escape, ENVIRONMENTS))})\s*$)"
    rf"{_NAME}(?:\s*\[\s*{_NAME}(?:\s*,\s*{_NAME})*\s*\])?(?:\s*==\s*{_VERSION})?\s*$"
)
"""Pattern of a pin as it may be written, for the JSON schema; no lock file and no name of a set of pins."""


def canonical_pin(entry: str) -> str:
    """Return the pin without the spaces that requirements may have around `==` and in their extras."""
    return SPACED.sub(r"\1", entry.strip())


def pin_problems(pins: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the index of each pin that no session can install, with a sentence that ends in the remedy."""
    versions: dict[str, str] = {}
    for index, entry in enumerate(pins):
        match = PIN.fullmatch(canonical_pin(entry))
        if names_lock(entry.strip()) or entry.strip() in ENVIRONMENTS:
            yield index, f"{entry!r} is no package: write environment: {entry.strip()}, without brackets"
        elif match is None:
            yield (
                index,
                f"{entry!r} is not a pin that a session can install: write name==version or name, such as sympy==1.14.0, "
                "without markers, hashes, options or other comparisons",
            )
        elif match[3] and match[3] != (other := versions.setdefault(normalised(match[1]), match[3])):
            yield index, f"{entry!r} pins a package that an earlier pin has at {other}: leave one of them out"
