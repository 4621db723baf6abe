"""What all tests share: how XLA compiles, and the programs that it has compiled once."""

import os
import tempfile

import pytest

COMPILED = "JAX_COMPILATION_CACHE_DIR"
SMALLEST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
XLA = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
"""Half the time to compile. What rehearsals and `relay verify-resume` start inherits none of this, and is compiled as usual."""
FOLDER = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Say how JAX compiles and name a folder in which it keeps what it compiled, before any test module imports it.

    JAX reads these variables once: a process that imported it earlier would compute other last bits than those it starts.
    The environment hands them on to the workers of pytest-xdist and to the processes that tests start. Where a person has
    named a folder, that is used and kept, so the next run of the tests compiles nothing again.
    """
    for name, value in XLA.items():
        os.environ.setdefault(name, value)
    if COMPILED not in os.environ:
        config.stash[FOLDER] = tempfile.TemporaryDirectory(prefix="relay-compiled-", ignore_cleanup_errors=True)
        os.environ[COMPILED] = config.stash[FOLDER].name
    os.environ.setdefault(SMALLEST, "0")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the folder that was made for these tests alone."""
    if (folder := config.stash.get(FOLDER, None)) is not None:
        folder.cleanup()


@pytest.fixture(scope="session")
def compiled_programs() -> dict[str, str]:
    """The variable by which rehearsals share compiled programs, for a process that inherits nothing."""
    return {COMPILED: os.environ[COMPILED]}
