"""Real training: whose warnings are not ours."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent

THIRD_PARTY_WARNINGS = (
    # The pinned versions use each other's older names. Only what these packages themselves do, nothing of ours.
    r"ignore::DeprecationWarning:(tunix|qwix|flax|optax|orbax)\..*",
    # Tunix 0.1.7 enters its meshes this way and reads them so, and so have we to.
    "ignore:`with mesh.:DeprecationWarning",
    # Another worker was just writing this program down; it is compiled here.
    "ignore:Error reading persistent compilation cache entry",
)


WHILE_IMPORTED = "ignore:builtin type .* has no __module__ attribute:DeprecationWarning"
"""What SWIG makes, in the SentencePiece that goes with Tunix 0.1.5: as an error this would crash the interpreter."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", WHILE_IMPORTED)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            for warning in THIRD_PARTY_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))
