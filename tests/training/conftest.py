"""Makes real training quick to test: two compiled programs that are equal are compiled once. And whose warnings are not ours."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")

HERE = Path(__file__).parent

THIRD_PARTY_WARNINGS = (
    # The pinned versions use each other's older names. Only what these packages themselves do, nothing of ours.
    r"ignore::DeprecationWarning:(tunix|qwix|flax|optax|orbax)\..*",
    # Tunix 0.1.7 enters its meshes this way and reads them so, and so have we to.
    "ignore:`with mesh.:DeprecationWarning",
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


@pytest.fixture(scope="session")
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where programs are kept that this session of tests has compiled."""
    import jax

    directory = tmp_path_factory.mktemp("compiled")
    wanted = {"jax_compilation_cache_dir": str(directory), "jax_persistent_cache_min_compile_time_secs": 0.0}
    before = {name: getattr(jax.config, name) for name in wanted}
    for name, value in wanted.items():
        jax.config.update(name, value)
    yield directory
    for name, value in before.items():
        jax.config.update(name, value)
