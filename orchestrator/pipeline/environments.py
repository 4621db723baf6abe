"""Kaggle's accelerators with their limits, and the packages that a session needs on them."""

import difflib
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from stages.contract import Accelerator
from stages.session.package_lock import PackageLock

LOCKS = Path(__file__).with_name("locks")
"""Folder of relay's own locks, one for each named environment and platform; `make locks` writes them."""

HOUR_S = 3600.0

PYTHON = "3.12"
"""Python version of Kaggle's TPU image (github.com/Kaggle/docker-python, tpu/, August 2026)."""


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


ALIASES = {
    "cpu": ("none",),
    "TpuV5E8": ("tpu", "tpuv5e", "v5e8", "v5e", "v5litepod8"),
    "TpuV6E8": ("tpuv6e", "v6e8", "v6e"),
    "NvidiaTeslaT4": ("t4", "t4x2", "2xt4", "gput4x2", "gput4", "nvidiat4", "teslat4", "gpu", "cuda"),
}
"""Other spellings of accelerators, such as those on Kaggle's pages; lower case, letters and digits only."""


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("×", "x"))


def replacement_of(name: str) -> tuple[str, bool]:
    """Return the accelerator meant by another spelling or a retired name, and whether the name is retired.

    The accelerator is empty if none matches.
    """
    bare = _bare(name)
    for new, names in RETIRED.items():
        if bare in names:
            return new, True
    return next((known for known in HARDWARE if bare in (known.lower(), *ALIASES[known])), ""), False


def similar_accelerator(name: str) -> str:
    """Return the accelerator whose name or other spelling resembles a mistyped one; empty if none does."""
    spellings = {spelling: known for known in HARDWARE for spelling in (known.lower(), *ALIASES[known])}
    near = difflib.get_close_matches(_bare(name), spellings, n=1, cutoff=0.75)
    return spellings[near[0]] if near else ""


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

DEFAULT = "tunix-0.1.7"
"""Name of the environment of a pipeline that names none."""

ENVIRONMENTS = {
    DEFAULT: TRAINING_PINS,
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

COMPILERS = {
    DEFAULT: {
        "tpu": (
            "libtpu==0.0.42.1",  # jax[tpu] 0.10.2 asks for 0.0.42.*; this one has run on a Kaggle v5e-8; the image has 0.0.17
        ),
        "gpu": (
            "jax-cuda12-plugin==0.10.2",  # JAX's CUDA 12 kernels: the version must be jaxlib's
            "jax-cuda12-pjrt==0.10.2",  # XLA for NVIDIA GPUs: it decides the bits as libtpu does
        ),
    },
    "tunix-0.1.5": {
        "tpu": ("libtpu==0.0.30",),  # jax[tpu] 0.8.1 asks for 0.0.30.*, and this is the only such release
        "gpu": (
            "jax-cuda12-plugin==0.8.1",  # as above
            "jax-cuda12-pjrt==0.8.1",
        ),
    },
}
"""Pins of the accelerator's compiler, by environment and platform. Equal bits need the same compiler, and without a pin
a session keeps the one of Kaggle's image, which changes when the image is rebuilt. The CPU's compiler is jaxlib, whose
version jax fixes. The NVIDIA libraries of the plugins are fixed by the lock."""

JAX_EXTRAS = {"tpu": "[tpu]", "gpu": "[cuda12]"}
"""Extra of the jax package that adds the accelerator's support, if the image has another version of JAX."""


def pins_of(name: str, platform: str) -> tuple[str, ...]:
    """Return the pins of a named environment for an accelerator's platform: `tpu`, `gpu` or `cpu`."""
    extra = JAX_EXTRAS.get(platform, "")
    pins = (pin.replace("jax==", f"jax{extra}==") if pin.startswith("jax==") else pin for pin in ENVIRONMENTS[name])
    return (*pins, *COMPILERS[name].get(platform, ()))


def lock_name(name: str, platform: str) -> str:
    """Return the file name of relay's own lock of a named environment."""
    return f"{name}-{platform}.txt"


@cache
def lock_of(name: str, platform: str) -> str:
    """Return the text of relay's own lock of a named environment, as an order carries it."""
    text = (LOCKS / lock_name(name, platform)).read_text(encoding="utf-8")
    return PackageLock.parse(text).text
