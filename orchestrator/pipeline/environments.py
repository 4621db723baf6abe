"""Kaggle's accelerators with their limits, and the packages that a session needs on them."""

import re
from typing import NamedTuple

from stages.contract import Accelerator

HOUR_S = 3600.0


class Hardware(NamedTuple):
    """Kaggle's limits for one value of `accelerator` (source: Kaggle's notebook documentation)."""

    promise: Accelerator
    limit_s: float
    slots: int
    quota: str
    """Quota that a session uses: `tpu`, `gpu`, or empty for none."""
    hours_per_week: float = 0.0
    """Weekly hours according to Kaggle's documentation; Kaggle's own answer takes precedence."""


HARDWARE: dict[str, Hardware] = {
    "cpu": Hardware(Accelerator(platform="cpu"), 12 * HOUR_S, 5, ""),
    "TpuV5E8": Hardware(Accelerator(machine_shape="TpuV5E8", platform="tpu", devices=8), 9 * HOUR_S, 1, "tpu", 20),
    "TpuV6E8": Hardware(Accelerator(machine_shape="TpuV6E8", platform="tpu", devices=8), 9 * HOUR_S, 1, "tpu", 20),
    "NvidiaTeslaT4": Hardware(
        Accelerator(machine_shape="NvidiaTeslaT4", platform="gpu", devices=2), 12 * HOUR_S, 2, "gpu", 30
    ),
}

RETIRED = {
    "TpuV5E8": ("tpuv38", "tpu1vmv38", "tpuvmv38", "tpuv28", "tpuv232", "tpuv2256"),
    "NvidiaTeslaT4": ("nvidiateslap100", "teslap100", "p100", "nvidiateslak80"),
}
"""Names that Kaggle's client no longer accepts, by their replacement; lower case, without hyphens."""


def replacement_of(name: str) -> tuple[str, bool]:
    """Return the accelerator meant by a misspelt or retired name, and whether the name is retired.

    The accelerator is empty if none matches.
    """
    bare = re.sub(r"[^a-z0-9]", "", name.lower())
    for new, names in RETIRED.items():
        if bare in names:
            return new, True
    return next((known for known in HARDWARE if known.lower() == bare), ""), False


COMMON = (
    "datasets",  # unpinned: any version reads the sets; tokenizer and hub packages come with it and Tunix
    "sympy==1.14.0",  # pinned: rewards depend on what it proves equal
)

TRAINING_PINS = (
    "flax==0.12.8",
    "google-tunix==0.1.7",
    "jax==0.10.2",
    "optax==0.2.8",
    "orbax-checkpoint==0.12.8",
    "qwix==0.1.8",
    "math-verify[antlr4_13_2]==0.9.0",  # evaluations report where its verdict differs
    *COMMON,
)
"""Pins with which bit-for-bit resume is measured; the same as the `train` extra."""

ENVIRONMENTS = {
    "tunix-0.1.7": TRAINING_PINS,
    "tunix-0.1.5": (
        "flax==0.12.1",
        "google-tunix==0.1.5",
        "jax==0.8.1",
        "optax==0.2.6",
        "orbax-checkpoint==0.11.28",
        "qwix==0.1.5",
        "math-verify[antlr4_9_3]==0.9.0",  # the ANTLR version of the configuration library that this Tunix requires
        *COMMON,
    ),
}
"""Named sets of pins for `environment`; `make test-compat` tests the older ones, with constraints-0.1.5.txt."""

JAX_EXTRAS = {"tpu": "[tpu]", "gpu": "[cuda12]"}
"""Extra of the jax package that adds the accelerator's support, if the image has another version of JAX."""
