"""Records what determines the bits of this session's numbers: machine, compiler, settings and package versions."""

import hashlib
import importlib
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from stages.contract import Order
from stages.numerics import CHIP, COMPILER, CPU, DEVICES, DRIVER, MESH, PLATFORM, PROCESSES, PYTHON, THREADS, Numerics
from stages.session.accelerator import STAND_IN
from stages.session.package_lock import normalised

STAND_IN_LIBTPU = "RELAY_STAND_IN_LIBTPU"
"""Environment variable of a rehearsal: the version of libtpu that this machine stands in for."""

COMPUTING = ("jax", "jaxlib", "libtpu", "numpy", "ml-dtypes")
"""Packages that are recorded also if no pin names them."""
VENDOR = re.compile(r"(nvidia|jax-cuda|jax-rocm)[a-z0-9-]*")
"""Packages of a GPU's libraries, which an image may bring without any other package that requires them."""

FLAG_VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")
VALUE_VARIABLES = ("NVIDIA_TF32_OVERRIDE", "TF_CUDNN_DETERMINISTIC", "CUBLAS_WORKSPACE_CONFIG")
SILENT_FLAGS = re.compile(
    r"--xla_(dump|hlo_profile|force_host_platform_device_count|cpu_parallel_codegen|gpu_force_comp)"
)
"""Flags that leave the compiled program as it is; the number of devices is a part of its own."""
JAX_SETTINGS = (
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_disable_jit",
    "jax_disable_most_optimizations",
    "jax_enable_x64",
    "jax_exec_time_optimization_effort",
    "jax_memory_fitting_effort",
    "jax_memory_fitting_level",
    "jax_numpy_dtype_promotion",
    "jax_optimization_level",
    "jax_random_seed_offset",
    "jax_softmax_custom_jvp",
    "jax_threefry_partitionable",
    "jax_use_shardy_partitioner",
)
"""Configuration of JAX that changes how a program is traced or compiled."""

CPU_FLAGS = re.compile(r"sse|ssse|avx|fma|f16c|amx|asimd|sve|sme|fphp|bf16|i8mm")
"""CPU features for which XLA and NumPy generate or choose other arithmetic."""
NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?")


def recorded(order: Order) -> Numerics:
    """Return the record of this session. Imports JAX, which its stages need; without any part if JAX is missing."""
    try:
        jax = importlib.import_module("jax")
    except ImportError:  # the stage says so when it begins
        return Numerics()
    installed = closure([*order.pins, *COMPUTING])
    if os.environ.get(STAND_IN) == "1" and (stood_in := os.environ.get(STAND_IN_LIBTPU)):
        installed["libtpu"] = stood_in
    return Numerics(
        machine=_machine(jax, order),
        settings=settings(os.environ, jax.config.values),
        packages=dict(sorted(installed.items())),
        packages_sha256=digest_of(installed),
    )


def closure(pins: Iterable[str]) -> dict[str, str]:
    """Return the versions of the pinned packages and of all installed packages that they need, by normalised name."""
    found: dict[str, str] = {}
    seen: set[tuple[str, tuple[str, ...]]] = set()
    wanted = [_named(pin) for pin in pins]
    wanted += [(name, ()) for name in map(normalised, _installed_names()) if VENDOR.fullmatch(name)]
    while wanted:
        name, extras = wanted.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found[name] = distribution.version
        wanted += [_named(each) for each in distribution.requires or () if _applies(each, extras)]
    return found


def digest_of(versions: Mapping[str, str]) -> str:
    """Return the SHA-256 of the sorted lines `name==version`."""
    lines = "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def settings(environment: Mapping[str, str], configuration: Mapping[str, Any]) -> dict[str, str]:
    """Return what may change numbers in the environment's compiler flags and in JAX's configuration, by name."""
    found: dict[str, str] = {}
    for variable in FLAG_VARIABLES:
        for flag in environment.get(variable, "").split():
            name, _, value = flag.partition("=")
            if not SILENT_FLAGS.match(name):
                found[f"{variable} {name}"] = value or "set"
    found |= {name: environment[name] for name in VALUE_VARIABLES if environment.get(name)}
    found |= {name: _plain(configuration[name]) for name in JAX_SETTINGS if name in configuration}
    return found


def cpu_of(text: str, cache_sizes: Sequence[str] = ()) -> str:
    """Return a CPU's name and a digest of its arithmetic features, model and cache sizes, from Linux's `cpuinfo`.

    XLA's matrix products are blocked by the sizes of the caches, so these change the order of sums.
    """
    fields = {}
    for line in text.split("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    flags = fields.get("flags", fields.get("Features", "")).split()
    decisive = sorted(flag for flag in flags if CPU_FLAGS.match(flag))
    kind = [fields.get(name, "") for name in ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")]
    digest = hashlib.sha256("\n".join([*kind, *decisive, *cache_sizes]).encode()).hexdigest()[:12]
    return f"{fields.get('model name') or platform.machine()} ({digest})"


def driver_of(text: str) -> str:
    """Return the version in NVIDIA's `/proc/driver/nvidia/version`; empty if there is none."""
    found = re.search(r"Kernel Module\s+(?:for \S+\s+)?(\d+[\d.]*)", text)
    return found[1] if found else ""


def threads(environment: Mapping[str, str]) -> int:
    """Return the number of threads for which XLA compiles CPU programs: `NPROC`, else the CPUs that it may use."""
    if (named := environment.get("NPROC", "")).isdigit():
        return int(named)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _machine(jax: Any, order: Order) -> dict[str, str]:
    devices = jax.devices()
    first = devices[0]
    found = {
        CHIP: "" if first.platform == "cpu" else first.device_kind,
        PLATFORM: first.platform,
        DEVICES: str(len(devices)),
        PROCESSES: str(order.accelerator.processes or ""),
        MESH: f"fsdp {order.model.get('mesh_fsdp', 1)}, tp {order.model.get('mesh_tp', 1)}",
        COMPILER: _build(str(getattr(first.client, "platform_version", ""))),
        DRIVER: driver_of(_text(Path("/proc/driver/nvidia/version"))),
        CPU: cpu_of(_text(Path("/proc/cpuinfo")), _cache_sizes()),
        THREADS: str(threads(os.environ)),
        PYTHON: platform.python_version(),
    }
    return {name: value for name, value in found.items() if value}


def _build(text: str) -> str:
    """Return a PJRT client's `platform_version` in one line; empty if it only names the platform."""
    line = " ".join(text.split())
    return "" if line in ("", "cpu") else line


def _cache_sizes() -> list[str]:
    folder = Path("/sys/devices/system/cpu/cpu0/cache")
    return [_text(path).strip() for path in sorted(folder.glob("index*/size"))]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _plain(value: object) -> str:
    return str(getattr(value, "value", value))


def _installed_names() -> Iterator[str]:
    for distribution in metadata.distributions():
        if name := distribution.metadata["Name"]:
            yield name


def _named(requirement: str) -> tuple[str, tuple[str, ...]]:
    """Return the normalised name and the extras of a pin or a requirement."""
    match = NAME.match(requirement)
    if match is None:
        return "", ()
    return normalised(match[1]), tuple(sorted(extra.strip() for extra in (match[2] or "").split(",") if extra.strip()))


def _applies(requirement: str, extras: Sequence[str]) -> bool:
    """Return False for a requirement of an extra that nobody asked for. Other markers need no look: what they exclude is
    not installed, or is recorded needlessly."""
    named = re.findall(r"""\bextra\s*==\s*['"]([^'"]+)""", requirement.partition(";")[2])
    return not named or any(normalised(extra) in map(normalised, extras) for extra in named)
