"""What all tests share: how XLA compiles, and the programs that it has compiled once."""

import json
import os
import tempfile

import pytest

COMPILED = "JAX_COMPILATION_CACHE_DIR"
SMALLEST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
FLAGS = "XLA_FLAGS"
XLA = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
"""Half the time to compile. Sessions of rehearsals inherit none of this: see `quick_image`."""
NO_EMITTERS = "--xla_cpu_use_fusion_emitters=false"
"""XLA flag that halves it once more: fused operations are compiled as before XLA had emitters of their own for them. Programs
compute with it as exactly, and are slower only if they run hundreds of times."""
FOLDER = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Say how JAX compiles and name a folder in which it keeps what it compiled, before any test module imports it.

    JAX reads these variables once: a process that imported it earlier would compute other last bits than those it starts.
    The environment hands them on to the workers of pytest-xdist and to the processes that tests start. Where a person has
    named a folder, that is used and kept, so the next run of the tests compiles nothing again.
    """
    for name, value in XLA.items():
        os.environ.setdefault(name, value)
    if NO_EMITTERS not in os.environ.get(FLAGS, ""):  # a worker of pytest-xdist has it of the process that started it
        os.environ[FLAGS] = f"{os.environ.get(FLAGS, '')} {NO_EMITTERS}".strip()
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
    """Variables by which a process that inherits nothing compiles as these tests do, and shares the programs."""
    return {name: os.environ[name] for name in (COMPILED, SMALLEST, *XLA, FLAGS)}


@pytest.fixture(scope="session")
def quick_image() -> str:
    """A line of a fault plan: an image in which the sessions of a rehearsal compile as these tests do."""
    environment = {name: os.environ[name] for name in (*XLA, FLAGS)}
    return f"images: [{{session: 1, environment: {json.dumps(environment)}}}]\n"
