"""What determines the bits of a session, and how two sessions differ in it: in words, and as to whether bits may change."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from orchestrator.rehearsal.verify.chain import ResumeVerdict
from orchestrator.rehearsal.verify.view import verdict_document, verdict_view
from stages.contract import Cursor, FileEntry, Manifest
from stages.numerics import (
    CHIP,
    COMPILER,
    CPU,
    DEVICES,
    DRIVER,
    MESH,
    PLATFORM,
    PYTHON,
    THREADS,
    Numerics,
    compared,
    differences,
    package_decides,
    refusal,
)
from stages.session import numerics_record

TPU = Numerics(
    machine={
        CHIP: "TPU v5 lite",
        PLATFORM: "tpu",
        DEVICES: "8",
        MESH: "fsdp 8, tp 1",
        COMPILER: "cl/1",
        CPU: "AMD (1)",
        THREADS: "224",
        PYTHON: "3.12.11",
    },
    settings={"LIBTPU_INIT_ARGS --xla_tpu_x": "true", "jax_enable_x64": "False"},
    packages={"jax": "0.10.2", "jaxlib": "0.10.2", "libtpu": "0.0.17", "numpy": "2.5.0", "tqdm": "4.1"},
)
ON_CPU = replace(TPU, machine={PLATFORM: "cpu", CPU: "AMD (1)", THREADS: "2", PYTHON: "3.12.11"})
ON_GPU = replace(TPU, machine={**TPU.machine, CHIP: "Tesla T4", PLATFORM: "gpu", DRIVER: "550.54"})
NOTHING = Numerics()


def with_part(record: Numerics, **changed: dict[str, str]) -> Numerics:
    parts = {name: {**getattr(record, name), **values} for name, values in changed.items()}
    return replace(record, **{name: {k: v for k, v in found.items() if v} for name, found in parts.items()})  # type: ignore[arg-type]


CHANGES: list[tuple[Numerics, Numerics, list[tuple[str, bool]]]] = [
    (TPU, TPU, []),
    (TPU, with_part(TPU, packages={"libtpu": "0.0.42.1"}), [("libtpu 0.0.17 → 0.0.42.1", True)]),
    (TPU, with_part(TPU, machine={CHIP: "TPU v6 lite"}), [("chip TPU v5e → TPU v6e", True)]),
    (TPU, with_part(TPU, machine={DEVICES: "4"}), [("devices 8 → 4", True)]),
    (TPU, with_part(TPU, machine={MESH: "fsdp 4, tp 2"}), [("mesh fsdp 8, tp 1 → fsdp 4, tp 2", True)]),
    (TPU, with_part(TPU, machine={COMPILER: "cl/2"}), [("compiler build cl/1 → cl/2", True)]),
    (TPU, with_part(TPU, machine={CPU: "Intel (2)", THREADS: "96"}), [("CPU AMD (1) → Intel (2)", False), ("CPU threads 224 → 96", False)]),
    (ON_CPU, with_part(ON_CPU, machine={CPU: "Intel (2)"}), [("CPU AMD (1) → Intel (2)", True)]),
    (ON_CPU, with_part(ON_CPU, machine={THREADS: "1"}), [("CPU threads 2 → 1", True)]),
    (ON_CPU, with_part(ON_CPU, packages={"libtpu": "0.0.42.1"}), [("libtpu 0.0.17 → 0.0.42.1", False)]),
    (ON_GPU, with_part(ON_GPU, machine={DRIVER: "570.1"}), [("driver 550.54 → 570.1", True)]),
    (ON_GPU, with_part(ON_GPU, packages={"nvidia-cudnn-cu12": "9.1"}), [("nvidia-cudnn-cu12 none → 9.1", True)]),
    (TPU, with_part(TPU, packages={"nvidia-cudnn-cu12": "9.1"}), [("nvidia-cudnn-cu12 none → 9.1", False)]),
    (TPU, with_part(TPU, machine={PYTHON: "3.12.12"}), [("Python 3.12.11 → 3.12.12", False)]),
    (TPU, with_part(TPU, machine={PYTHON: "3.13.0"}), [("Python 3.12.11 → 3.13.0", True)]),
    (TPU, with_part(TPU, packages={"tqdm": "4.2", "numpy": "2.6.0"}), [("numpy 2.5.0 → 2.6.0", True), ("tqdm 4.1 → 4.2", False)]),
    (TPU, with_part(TPU, packages={"numpy": ""}), [("numpy 2.5.0 → none", True)]),
    (TPU, with_part(TPU, packages={"some-kernel": "1"}), [("some-kernel none → 1", True)]),
    (TPU, with_part(TPU, settings={"LIBTPU_INIT_ARGS --xla_tpu_x": ""}), [("LIBTPU_INIT_ARGS --xla_tpu_x true → none", True)]),
    (TPU, with_part(TPU, settings={"jax_enable_x64": "True"}), [("jax_enable_x64 False → True", True)]),
    (TPU, NOTHING, []),
    (NOTHING, TPU, []),
]  # fmt: skip
"""Record of the parent · record of the session · each change in words, and whether bits may change."""


@pytest.mark.parametrize(("before", "after", "told"), CHANGES, ids=[str(number) for number in range(len(CHANGES))])
def test_a_change_is_told_in_words_and_as_to_whether_it_may_change_bits(
    before: Numerics, after: Numerics, told: list[tuple[str, bool]]
) -> None:
    found = differences(before, after)
    assert [(change.text, change.changes_bits) for change in found] == told
    record = compared(after, before, has_parent=True)
    assert bool(refusal(record)) == any(decides for _, decides in told)
    assert all(text in refusal(record) for text, decides in told if decides)


@pytest.mark.parametrize(
    ("changed", "remedy"),
    [
        (
            {"packages": {"libtpu": "0.0.42.1", "tqdm": "5"}},
            "Add libtpu==0.0.17 to `environment`, or set `exactness: warn`",
        ),
        ({"packages": {"some-kernel": "1"}}, "Set `exactness: warn` to go on with other bits"),
        ({"machine": {CHIP: "TPU v6 lite"}}, "Set `exactness: warn` to go on with other bits"),
    ],
)
def test_a_refusal_names_the_pins_that_would_bring_the_bits_back_where_there_are_any(
    changed: dict[str, dict[str, str]], remedy: str
) -> None:
    found = compared(with_part(TPU, **changed), TPU, has_parent=True)
    assert remedy in refusal(found)


def test_a_change_is_of_one_session_and_the_next_one_is_compared_with_that() -> None:
    rebuilt = with_part(TPU, packages={"libtpu": "0.0.42.1"})
    second = compared(rebuilt, TPU, has_parent=True)
    assert second is not None
    assert second.breaking
    third = compared(rebuilt, second, has_parent=True)
    assert third is not None
    assert third.changes == ()


def test_a_parent_without_a_record_is_unknown_once_and_refuses_nothing() -> None:
    first = compared(TPU, None, has_parent=True)
    assert first is not None
    assert first.parent_unknown
    assert refusal(first) == ""
    second = compared(TPU, first, has_parent=True)
    assert second is not None
    assert not second.parent_unknown
    begun = compared(TPU, None, has_parent=False)
    assert begun is not None
    assert not begun.parent_unknown


def test_a_session_that_computes_no_numbers_claims_nothing_and_hands_the_record_on() -> None:
    assert compared(NOTHING, None, has_parent=False) == NOTHING
    assert compared(NOTHING, None, has_parent=True) is None, "what an older relay computed stays unknown"
    between = compared(NOTHING, compared(TPU, None, has_parent=True), has_parent=True)
    assert between == TPU
    later = compared(with_part(TPU, packages={"libtpu": "0.0.42.1"}), between, has_parent=True)
    assert later is not None
    assert later.breaking


def test_a_manifest_without_a_record_keeps_its_bytes_and_so_its_identity() -> None:
    entry = FileEntry(path="state.bin", size_bytes=1, sha256="0" * 64)
    cursor = Cursor(stage="sft", step=1)
    old = Manifest(run="r", session=1, attempt=1, token="t", cursor=cursor, parent=None, files=(entry,))
    assert "numerics" not in old.to_json()
    assert Manifest.from_json(old.to_json()).digest == old.digest
    new = replace(old, numerics=compared(TPU, with_part(TPU, packages={"jax": "1"}), has_parent=True))
    assert Manifest.from_json(new.to_json()) == new
    assert new.digest != old.digest


# --- what a session records ------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "configuration", "found"),
    [
        ({}, {}, {}),
        ({"XLA_FLAGS": "--xla_dump_to=/home/me --xla_force_host_platform_device_count=8"}, {}, {}),
        (
            {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2 --xla_cpu_enable_fast_math"},
            {},
            {"XLA_FLAGS --xla_cpu_max_isa": "AVX2", "XLA_FLAGS --xla_cpu_enable_fast_math": "set"},
        ),
        ({"LIBTPU_INIT_ARGS": "--xla_tpu_x=1", "HOME": "/me"}, {}, {"LIBTPU_INIT_ARGS --xla_tpu_x": "1"}),
        ({"NVIDIA_TF32_OVERRIDE": "0"}, {}, {"NVIDIA_TF32_OVERRIDE": "0"}),
        ({}, {"jax_enable_x64": True, "jax_log_compiles": True}, {"jax_enable_x64": "True"}),
        ({}, {"jax_default_matmul_precision": None}, {"jax_default_matmul_precision": "None"}),
    ],
)
def test_flags_and_settings_that_may_change_numbers_are_recorded_and_no_others(
    environment: dict[str, str], configuration: dict[str, object], found: dict[str, str]
) -> None:
    assert numerics_record.settings(environment, configuration) == found


INTEL = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\nmodel name\t: Xeon\nflags\t\t: fpu avx2 fma ibrs\n\nprocessor\t: 1\n"


def test_a_cpu_is_another_one_with_other_arithmetic_or_caches_and_not_with_other_patches() -> None:
    known = numerics_record.cpu_of(INTEL, ["32K"])
    assert known.startswith("Xeon (")
    assert numerics_record.cpu_of(INTEL.replace("ibrs", "ibpb md_clear"), ["32K"]) == known
    assert numerics_record.cpu_of(INTEL.replace("fma", "fma avx512f"), ["32K"]) != known
    assert numerics_record.cpu_of(INTEL.replace("85", "106"), ["32K"]) != known
    assert numerics_record.cpu_of(INTEL, ["48K"]) != known


def test_the_driver_of_a_gpu_is_read_from_what_it_says() -> None:
    said = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31 09:35:42 UTC 2024\nGCC version:\n"
    open_one = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n"
    assert numerics_record.driver_of(said) == "550.90.07"
    assert numerics_record.driver_of(open_one) == "570.86.15"
    assert numerics_record.driver_of("") == ""


def test_the_threads_are_those_for_which_xla_compiles() -> None:
    assert numerics_record.threads({"NPROC": "7"}) == 7
    assert numerics_record.threads({"NPROC": "many"}) == numerics_record.threads({}) >= 1


def test_the_packages_are_the_closure_of_the_pins_and_no_others() -> None:
    found = numerics_record.closure(["click==8", "absent==1"])
    assert "click" in found
    assert "pytest" not in found
    assert "absent" not in found
    small = numerics_record.closure(["pydantic==2"])
    assert {"pydantic", "pydantic-core", "typing-extensions"} <= set(small)
    assert "email-validator" not in small, "an extra that nobody asked for"
    assert numerics_record.digest_of(small) != numerics_record.digest_of(found)


@pytest.mark.parametrize(("name", "platform", "decides"), [
    ("jaxlib", "tpu", True), ("libtpu", "tpu", True), ("libtpu", "gpu", False), ("jax-cuda12-plugin", "gpu", True),
    ("jax-cuda12-plugin", "tpu", False), ("wandb", "tpu", False), ("mine", "cpu", True),
])  # fmt: skip
def test_a_package_decides_unless_it_is_known_to_compute_nothing(name: str, platform: str, decides: bool) -> None:
    assert package_decides(name, platform) is decides


def test_a_verdict_on_resuming_says_for_which_machine_and_compiler_it_holds() -> None:
    verdict = ResumeVerdict((), 0, TPU)
    document = verdict_document(verdict)
    assert document["numerics"]["packages"]["libtpu"] == "0.0.17"
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(verdict_view(verdict))
    said = " ".join(console.export_text().split())
    assert "computed with chip TPU v5e, devices 8, mesh fsdp 8, tp 1" in said
    assert "jaxlib 0.10.2, libtpu 0.0.17, LIBTPU_INIT_ARGS --xla_tpu_x true" in said
    assert verdict_document(ResumeVerdict((), 0))["numerics"] is None
