"""A session on a GPU computes equal bits and gives JAX the memory that is planned with; elsewhere nothing is set."""

import pytest

from orchestrator.pipeline.chips import CHIPS, GIB
from orchestrator.pipeline.environments import ALIASES, HARDWARE, RETIRED, replacement_of
from stages.session.accelerator import GPU_MEMORY_SHARE, prepare
from stages.session.numerics_record import settings

EQUAL = "--xla_gpu_deterministic_ops=true"
SHARE = "XLA_PYTHON_CLIENT_MEM_FRACTION"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"XLA_FLAGS": EQUAL, SHARE: "0.92"}),
        ({"XLA_FLAGS": "--xla_dump_to=/d"}, {"XLA_FLAGS": f"--xla_dump_to=/d {EQUAL}", SHARE: "0.92"}),
        (
            {"XLA_FLAGS": "--xla_gpu_deterministic_ops=false", SHARE: "0.5"},
            {"XLA_FLAGS": "--xla_gpu_deterministic_ops=false", SHARE: "0.5"},
        ),
    ],
)
def test_a_gpu_is_asked_for_equal_bits_unless_the_user_said_otherwise(
    before: dict[str, str], after: dict[str, str]
) -> None:
    environ = dict(before)
    prepare("gpu", environ)
    assert environ == after
    prepare("gpu", environ)
    assert environ == after, "a process that replaces itself prepares twice"


@pytest.mark.parametrize("platform", ["tpu", "cpu"])
def test_other_accelerators_need_nothing(platform: str) -> None:
    environ: dict[str, str] = {}
    prepare(platform, environ)
    assert environ == {}


def test_the_flag_is_among_the_settings_whose_change_is_noticed() -> None:
    environ: dict[str, str] = {}
    prepare("gpu", environ)
    assert settings(environ, {}) == {"XLA_FLAGS --xla_gpu_deterministic_ops": "true"}


def test_the_plan_counts_what_jax_takes_of_a_t4() -> None:
    planned = CHIPS["NvidiaTeslaT4"].memory_bytes
    assert planned <= GPU_MEMORY_SHARE * 15 * GIB
    assert planned > 0.75 * 15 * GIB, "JAX's default share would waste a quarter"


def test_no_spelling_means_two_accelerators() -> None:
    spellings = [name for names in (*ALIASES.values(), *RETIRED.values()) for name in names]
    assert len(set(spellings)) == len(spellings)
    assert set(ALIASES) == set(HARDWARE)
    assert all(replacement_of(name) == (known, False) for known, names in ALIASES.items() for name in names)
