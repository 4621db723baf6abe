"""Everything that determines the bits of a session's numbers besides its order and its checkpoint. Standard library only.

A record holds the machine, the compiler, the settings and the package versions. Two records are compared part by part.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from stages.documents import Document

Decides = Callable[[str, str, str], bool]
"""Function from (part, before, after) to whether the change may change bits."""

WARN, STRICT = "warn", "strict"
"""Values of `exactness`: go on and report the change, or end before the first step."""

NUMERICS_CHANGED = "numerics-changed"
"""Failure cause of a session that would not compute what the sessions before it did."""

CHIP, PLATFORM, DEVICES, PROCESSES, MESH = "chip", "platform", "devices", "processes", "mesh"
COMPILER, DRIVER, CPU, THREADS, PYTHON = "compiler build", "driver", "CPU", "CPU threads", "Python"
MACHINE = (CHIP, PLATFORM, DEVICES, PROCESSES, MESH, COMPILER, DRIVER, CPU, THREADS, PYTHON)
"""Names of the parts of a machine, in the order in which they are told."""

OF_PLATFORM = {
    "tpu": re.compile(r"libtpu"),
    "gpu": re.compile(r"nvidia-|jax-cuda|jax-rocm"),
}
"""Packages that compute on one platform only, by platform."""

CARRIERS = frozenset(
    [
        "absl-py", "aiofiles", "aiohappyeyeballs", "aiohttp", "aiosignal", "annotated-doc", "annotated-types",
        "anyio", "array-record", "attrs", "cachetools", "certifi", "charset-normalizer", "click", "cloudpickle",
        "clu", "colorama", "contextlib2", "datasets", "dill", "docstring-parser", "etils", "exceptiongroup",
        "filelock", "frozenlist", "fsspec", "gitdb", "gitpython", "google-api-core", "google-auth",
        "google-cloud-storage", "google-metrax", "googleapis-common-protos", "grpcio", "h11", "hf-transfer",
        "hf-xet", "httpcore", "httpx", "huggingface-hub", "humanize", "idna", "immutabledict",
        "importlib-metadata", "importlib-resources", "jaxtyping", "kaggle", "kagglehub", "kagglesdk",
        "markdown", "markdown-it-py", "markupsafe", "mdurl", "ml-collections", "msgpack", "multidict",
        "multiprocess", "mypy-extensions", "nest-asyncio", "omegaconf", "orbax-checkpoint", "packaging",
        "pandas", "perfetto", "pillow", "pip", "platformdirs", "portalocker", "portpicker", "pox", "ppft",
        "prometheus-client", "promise", "propcache", "proto-plus", "protobuf", "psutil", "pyarrow", "pyasn1",
        "pyasn1-modules", "pydantic", "pydantic-core", "pyglove", "pygments", "pytest", "python-dateutil",
        "python-dotenv", "pytz", "pyyaml", "requests", "rich", "rsa", "safetensors", "sentry-sdk", "setuptools",
        "shellingham", "simple-parsing", "simplejson", "six", "smmap", "sniffio", "tenacity", "tensorboard",
        "tensorboard-data-server", "tensorboardx", "tensorflow-datasets", "tensorflow-metadata", "tensorstore",
        "termcolor", "toml", "tqdm", "treescope", "typer", "typer-slim", "typing-extensions",
        "typing-inspection", "tzdata", "urllib3", "uvloop", "wadler-lindig", "wandb", "werkzeug", "wheel",
        "wrapt", "xxhash", "yarl", "zipp", "zstandard",
    ]
)  # fmt: skip
"""Packages that carry, store, show or log values and compute none; a session compares the rows that they read itself.
Every other package may change bits."""


@dataclass(frozen=True, kw_only=True)
class NumericsChange(Document):
    """Part in which a session differs from the one that its checkpoint comes from; a value that is absent is empty."""

    part: str
    before: str
    after: str
    changes_bits: bool
    """False if the part is known to leave every computed bit as it is."""

    @property
    def text(self) -> str:
        """The change in words, such as `libtpu 0.0.17 → 0.0.42.1`."""
        return f"{self.part} {_readable(self.before)} → {_readable(self.after)}"


@dataclass(frozen=True, kw_only=True)
class Numerics(Document):
    """Record of what determines a session's bits; without any part if no stage up to the checkpoint needs JAX."""

    machine: dict[str, str] = field(default_factory=dict)
    """Chip, platform, devices, processes if there are several, mesh, compiler build, driver, CPU, threads and Python."""
    settings: dict[str, str] = field(default_factory=dict)
    """Compiler flags and configuration of JAX that may change numbers, by name."""
    packages: dict[str, str] = field(default_factory=dict)
    """Versions of the packages that the order's pins need, by name. A report leaves them out."""
    packages_sha256: str = ""
    """SHA-256 of the sorted lines `name==version` of `packages`."""
    changes: tuple[NumericsChange, ...] = ()
    """Differences from the record of the parent checkpoint."""
    parent_unknown: bool = False
    """True if the parent checkpoint has no record, so that nothing is known of the sessions before this one."""

    @property
    def claims(self) -> bool:
        """False if the session computes no numbers, and so says nothing about them."""
        return bool(self.machine)

    @property
    def without_packages(self) -> Self:
        """The record with the digest of its packages instead of their list."""
        return replace(self, packages={})

    @property
    def breaking(self) -> tuple[NumericsChange, ...]:
        """The changes that may change bits."""
        return tuple(change for change in self.changes if change.changes_bits)

    @property
    def summary(self) -> str:
        """The machine and the compiler in one line."""
        versions = [f"{name} {self.packages[name]}" for name in ("jax", "jaxlib", "libtpu") if name in self.packages]
        hidden = (PLATFORM, DRIVER) if CHIP in self.machine else ()
        told = [f"{name} {_readable(value)}" for name, value in _in_order(self.machine) if name not in hidden]
        flags = [f"{name} {value}" for name, value in self.settings.items() if not name.startswith("jax_")]
        return ", ".join([*told, *versions, *flags])


def differences(before: Numerics, after: Numerics) -> tuple[NumericsChange, ...]:
    """Return every part in which two records differ: the machine first, then packages, then settings.

    Nothing is compared if one of them computes no numbers.
    """
    if not (before.claims and after.claims):
        return ()
    platform = after.machine.get(PLATFORM, "")
    found = [
        *_changed(before.machine, after.machine, lambda part, old, new: _machine_decides(part, old, new, platform)),
        *_changed(before.packages, after.packages, lambda part, old, new: package_decides(part, platform)),
        *_changed(before.settings, after.settings, lambda part, old, new: True),
    ]
    return tuple(found)


def compared(record: Numerics, parent: Numerics | None, *, has_parent: bool) -> Numerics | None:
    """Return this session's record with its differences from the parent checkpoint's record.

    A session that computes no numbers passes its parent's record on, so that a later one is compared with that: None if
    the parent has none.
    """
    if not record.claims:
        passed_on = Numerics() if parent is None else replace(parent, changes=(), parent_unknown=False)
        return None if parent is None and has_parent else passed_on
    if parent is None:
        return replace(record, parent_unknown=has_parent)
    return replace(record, changes=differences(parent, record))


def refusal(record: Numerics | None) -> str:
    """Return why a session with `exactness: strict` must not train, as a sentence; empty if it may."""
    if record is None or not record.breaking:
        return ""
    told = "; ".join(change.text for change in record.breaking)
    pins = [f"{each.part}=={each.before}" for each in record.breaking if each.before and each.part in record.packages]
    pin = f"Add {', '.join(pins)} to `environment`, or set" if pins else "Set"
    return (
        f"this session would not compute bit for bit what the sessions before it did: {told}. {pin} `exactness: warn` to "
        "go on with other bits"
    )


def package_decides(name: str, platform: str) -> bool:
    """Return whether another version of this package may change bits on a platform (`tpu`, `gpu`, `cpu`)."""
    only_on = next((known for known, pattern in OF_PLATFORM.items() if pattern.match(name)), platform)
    return only_on == platform and name not in CARRIERS


def _machine_decides(part: str, before: str, after: str, platform: str) -> bool:
    if part in (CPU, THREADS):
        return platform == "cpu"
    if part == PYTHON:  # programs of a reward run in it, and a patch release changes no result of theirs
        return before.split(".")[:2] != after.split(".")[:2]
    return True


def _changed(before: Mapping[str, str], after: Mapping[str, str], decides: Decides) -> list[NumericsChange]:
    pairs = [(name, before.get(name, ""), after.get(name, "")) for name, _ in _in_order({**before, **after})]
    return [
        NumericsChange(part=name, before=old, after=new, changes_bits=decides(name, old, new))
        for name, old, new in pairs
        if old != new
    ]


def _in_order(parts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the parts of a machine in the order of MACHINE, others by name."""
    return sorted(
        parts.items(), key=lambda part: (MACHINE.index(part[0]) if part[0] in MACHINE else len(MACHINE), part[0])
    )


def _readable(value: str) -> str:
    """Return a value in common words: JAX calls a v5e `TPU v5 lite`."""
    return re.sub(r"\bTPU v(\d+) lite\b", r"TPU v\1e", value) if value else "none"
