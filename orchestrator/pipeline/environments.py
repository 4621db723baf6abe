"""What Kaggle's accelerators are and give, and the packages that a session needs on them."""

import re
from typing import NamedTuple

from stages.contract import Accelerator

HOUR_S = 3600.0


class Hardware(NamedTuple):
    """What Kaggle gives for one value of `accelerator` (limits: Kaggle's notebook documentation)."""

    promise: Accelerator
    limit_s: float
    slots: int
    quota: str
    """Whose weekly hours it uses: `tpu`, `gpu`, or empty."""
    hours_per_week: float = 0.0
    """How many there are, as far as Kaggle's documentation says; Kaggle's own answer comes before it."""


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
"""Values that Kaggle's client takes no more, by what has taken their place, without hyphens and the like."""


def stands_for(name: str) -> tuple[str, bool]:
    """The accelerator that another spelling, or the name of a retired one, stands for, and whether it is retired; empty for none."""
    bare = re.sub(r"[^a-z0-9]", "", name.lower())
    for new, names in RETIRED.items():
        if bare in names:
            return new, True
    return next((known for known in HARDWARE if known.lower() == bare), ""), False


COMMON = (
    "datasets",  # any version reads the sets; so do the tokenizer's and the hub's packages, which come with it and Tunix
    "sympy==1.14.0",  # rewards follow what it proves equal
)

TRAINING_PINS = (
    "flax==0.12.8",
    "google-tunix==0.1.7",
    "jax==0.10.2",
    "optax==0.2.8",
    "orbax-checkpoint==0.12.8",
    "qwix==0.1.8",
    "math-verify[antlr4_13_2]==0.9.0",  # evaluations show where it says otherwise
    *COMMON,
)
"""What bit-for-bit resume is measured with; the same pins as the `train` extra."""

ENVIRONMENTS = {
    "tunix-0.1.7": TRAINING_PINS,
    "tunix-0.1.5": (
        "flax==0.12.1",
        "google-tunix==0.1.5",
        "jax==0.8.1",
        "optax==0.2.6",
        "orbax-checkpoint==0.11.28",
        "qwix==0.1.5",
        "math-verify[antlr4_9_3]==0.9.0",  # the parser of the configuration library that this Tunix asks for
        *COMMON,
    ),
}
"""Pins by a name that `environment` may have; `make test-compat` tests the older ones, with constraints-0.1.5.txt."""

JAX_EXTRAS = {"tpu": "[tpu]", "gpu": "[cuda12]"}
"""What brings the accelerator's own part of JAX, where another version than the image's has to be installed."""
