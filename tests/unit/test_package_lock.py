"""A lock names every package once, with the hashes of its files, and whatever is no lock is refused in one sentence."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.app.asked_file import FileChoice, answering_pipeline
from orchestrator.app.locks import lock_pipeline
from orchestrator.base.errors import BadInput
from orchestrator.core.asking import Drawing
from orchestrator.pipeline import loader, locking
from orchestrator.pipeline.environments import COMPILERS, ENVIRONMENTS, PYTHON, lock_of, pins_of
from orchestrator.pipeline.lock_files import require_pins
from orchestrator.pipeline.model import Pipeline, canonical_in
from orchestrator.pipeline.summary import outline
from orchestrator.preflight.check.findings import CheckSubject, Severity
from orchestrator.preflight.check.packages import versions
from orchestrator.rehearsal.verify.chain import order_of
from stages.session import packages
from stages.session.package_lock import BadLock, LockedPackage, PackageLock, normalised
from stages.session.packages import name_of
from stages.session.wheels import NoWheels, WheelList, lock_for

ROOT = Path(__file__).parents[2]
ONE, TWO, SOURCE = "1" * 64, "2" * 64, "5" * 64
LOCK = PackageLock(
    "3.12",
    "x86_64-manylinux_2_31",
    2048,
    ("steady==1.0", "moving"),
    (LockedPackage("moving", "2.0", (ONE, TWO)), LockedPackage("steady", "1.0", (SOURCE,))),
)
OWN = [(name, platform) for name in ENVIRONMENTS for platform in (*COMPILERS[name], "cpu")]


def test_a_lock_comes_back_from_its_text() -> None:
    assert PackageLock.parse(LOCK.text) == LOCK
    assert PackageLock.parse(locking.file_text(LOCK).replace("\nsteady==", "\n# a comment\nSteady==")) == LOCK
    assert LOCK.requirements(["steady==1.0"]) == f"steady==1.0 \\\n    --hash=sha256:{SOURCE}\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("# relay lock 1", "# relay lock 2", "its first line is not '# relay lock 1'"),
        ("# python: 3.12\n", "", "its head does not say python"),
        ("size_bytes: 2048", "size_bytes: many", "its head does not say size_bytes"),
        ("moving==2.0", "moving>=2.0", "line 6 is not name==version"),
        (f"--hash=sha256:{SOURCE}", "--hash=md5:0", "line 9 is not name==version"),
        (f" \\\n    --hash=sha256:{SOURCE}", "", "line 9 is not name==version"),
        ("steady==1.0 \\", "-e git+https://x/y \\", "line 9 is not name==version"),
        ("# pins: steady==1.0 moving\nmoving", "moving", "its head does not say pins"),
        ("steady==1.0 \\", "Moving==1.0 \\", "line 9 names moving for the second time"),
    ],
)
def test_what_is_no_lock_is_refused_with_the_line(old: str, new: str, said: str) -> None:
    assert old in LOCK.text
    with pytest.raises(BadLock, match=said):
        PackageLock.parse(LOCK.text.replace(old, new, 1) + "# pins: steady==1.0\n")


# --- relay's own locks -------------------------------------------------------------------


@pytest.mark.parametrize(("name", "platform"), OWN)
def test_each_lock_of_an_environment_holds_its_pins_and_the_tested_versions(name: str, platform: str) -> None:
    lock = PackageLock.parse(lock_of(name, platform))
    anew = "the locks lag behind the pins or the constraints: type make locks"
    assert lock.pins == pins_of(name, platform), anew
    assert lock.python == PYTHON, anew
    locked = {package.name: package.version for package in lock.packages}
    pinned = {normalised(name_of(pin)): pin.partition("==")[2] for pin in lock.pins}
    assert {key: version or locked[key] for key, version in pinned.items()}.items() <= locked.items(), anew
    lines = (ROOT / locking.CONSTRAINTS[name]).read_text(encoding="utf-8").splitlines()
    tested = {normalised(line.partition("==")[0]): line.partition("==")[2] for line in lines if "==" in line}
    assert {key: tested[key] for key in locked if key in tested} == {
        key: v for key, v in locked.items() if key in tested
    }, anew


@pytest.mark.parametrize(("name", "platform"), OWN)
def test_a_lock_pins_the_compiler_of_its_accelerator_alone(name: str, platform: str) -> None:
    names = {package.name for package in PackageLock.parse(lock_of(name, platform)).packages}
    compilers = {found for found in names if packages.COMPILER.fullmatch(found)}
    assert compilers == {name_of(pin) for pin in COMPILERS[name].get(platform, ())}
    assert any(found.startswith("nvidia-") for found in names) == (platform == "gpu")


# --- making locks ------------------------------------------------------------------------


def entry(name: str, **files: Any) -> dict[str, Any]:
    """A package in the answer of a resolver."""
    return {"name": name, "version": "1.0", **files}


def file(digest: str, size: int) -> dict[str, Any]:
    return {"url": "https://index.example/x.whl", "size": size, "hashes": {"sha256": digest}}


def test_a_lock_takes_wheels_and_the_source_only_without_any() -> None:
    both = entry("Steady", wheels=[file(TWO, 5), file(ONE, 7)], sdist=file(SOURCE, 99))
    only = entry("moving", sdist=file(SOURCE, 11))
    lock = locking.made(("steady",), resolve=lambda *_: {"packages": [both, only]})
    assert lock.packages == (LockedPackage("moving", "1.0", (SOURCE,)), LockedPackage("steady", "1.0", (ONE, TWO)))
    assert lock.size_bytes == 18
    assert "index.example" not in locking.file_text(lock)


@pytest.mark.parametrize(
    ("found", "said"),
    [([], "it holds no package"), ([entry("other", sdist=file(ONE, 1))], "its packages do not include steady")],
)
def test_an_answer_that_makes_no_lock_is_one_sentence(found: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(BadInput, match=f"uv's answer for steady makes no lock that a session could use: .*{said}"):
        locking.made(("steady",), resolve=lambda *_: {"packages": found})


@pytest.mark.parametrize(
    ("package", "said"),
    [
        ({"name": "mine", "vcs": {"type": "git"}}, "mine does not come from a package index"),
        (entry("mine", sdist={"hashes": {}}), "no SHA-256 for a file of mine"),
    ],
)
def test_what_has_no_hash_cannot_be_locked(package: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        locking.made(("mine",), resolve=lambda *_: {"packages": [package]})


# --- pipelines with a lock of their own ----------------------------------------------------

PIPELINE = "name: mine\naccelerator: cpu\nenvironment: my.lock.txt\nstages: [{name: one, kind: counting, steps: 4}]\n"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    (tmp_path / "my.lock.txt").write_text(locking.file_text(LOCK), encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(PIPELINE, encoding="utf-8")
    return tmp_path / "mine.yaml"


def test_a_run_keeps_the_lock_that_its_pipeline_names(written: Path) -> None:
    pipeline = loader.load(written)
    assert (pipeline.lock, pipeline.pins) == (LOCK.text, LOCK.pins)
    assert Pipeline.from_canonical(pipeline.canonical()) == pipeline
    order = replace(order_of(pipeline), lock=pipeline.lock, pipeline_rest=pipeline.rest)
    assert canonical_in(order) == pipeline.canonical()
    assert order.to_json().count(ONE) == 1
    (written.parent / "my.lock.txt").write_text(LOCK.text.replace("2.0", "2.1"), encoding="utf-8")
    assert loader.load(written).digest != pipeline.digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            None,
            "my.lock.txt does not exist: correct the name, or write the list of pins here and type relay environment lock",
        ),
        ("steady==1.0\n", "my.lock.txt is not a lock that relay can use: its first line is not"),
        (
            LOCK.text.replace("1.0 moving", "1.1 moving"),
            "its head names steady==1.1, and its packages have steady at 1.0",
        ),
        (
            LOCK.text.replace("1.0 moving", "1.0 absent"),
            "its head names absent, and its packages do not include absent",
        ),
        (LOCK.text.replace("1.0 moving", "1.0 == moving"), "its head names '==', which is no pin"),
        (LOCK.text + "#" * 1_000_000, "it has 1,000,3[0-9]{2} bytes, and a lock has at most 1,000,000"),
    ],
)
def test_a_lock_that_cannot_be_used_is_told_before_anything_is_made(written: Path, text: str | None, said: str) -> None:
    lock = written.parent / "my.lock.txt"
    lock.unlink() if text is None else lock.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=r"mine\.yaml: environment: .*" + said):
        loader.load(written)


def test_a_lock_file_that_would_never_end_is_not_read(written: Path) -> None:
    (lock := written.parent / "my.lock.txt").unlink()
    os.mkfifo(lock)
    with pytest.raises(BadInput, match=r"my\.lock\.txt is not a lock that relay can use: it is not a regular file"):
        loader.load(written)
    pins = written.with_name("pins.yaml")
    pins.write_text(PIPELINE.replace("my.lock.txt", "[steady]"), encoding="utf-8")
    with pytest.raises(BadInput, match="exists and is not a lock"):
        lock_pipeline(pins, lock)


@pytest.mark.parametrize(
    ("pin", "version"), [("1.0", "1"), ("1.0", "1.0.0"), ("1.0", "1.0+cpu"), ("1.0-RC.1", "1.0rc1")]
)
def test_a_pin_accepts_each_spelling_of_its_version(pin: str, version: str) -> None:
    lock = replace(LOCK, pins=(f"steady=={pin}",), packages=(LockedPackage("steady", version, (ONE,)),))
    require_pins(lock)
    for other in ("10.0", "1.1", "1!1.0", "1.0.dev1", "1.0.post1"):
        with pytest.raises(BadLock, match="its packages have steady at"):
            require_pins(replace(lock, packages=(LockedPackage("steady", other, (ONE,)),)))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "python: 3.12",
            "python: 99.99",
            "my.lock.txt is for Python 99.99, and Kaggle's is 3.12: sessions will install",
        ),
        (
            "platform: x86_64-manylinux_2_31",
            "platform: win_amd64",
            "my.lock.txt is for win_amd64, and Kaggle's machines",
        ),
        ("size", "size", ""),
    ],
)
def test_a_lock_for_another_machine_is_told_before_a_session_meets_it(
    written: Path, key: str, value: str, said: str
) -> None:
    (written.parent / "my.lock.txt").write_text(LOCK.text.replace(key, value), encoding="utf-8")
    subject = CheckSubject(written, loader.load(written), written.parent, written.parent, {}, datetime.now(UTC))
    told = [each.sentence for each in versions(subject) if each.state is Severity.WARNING]
    assert [said in each for each in told] == [True] * bool(said)


def test_questions_in_another_folder_are_answered_with_the_lock_of_the_run(written: Path, tmp_path: Path) -> None:
    stage = "{name: sft, kind: sft, steps: 4, options: {data: [gsm8k]}}"
    written.write_text(f"name: mine\nenvironment: my.lock.txt\nstages: [{stage}]\n", encoding="utf-8")
    trained = loader.load(written)
    asked = tmp_path / "elsewhere" / "asked.jsonl"
    asked.parent.mkdir()
    asked.write_text('{"question": "a"}\n', encoding="utf-8")
    for beside in (None, LOCK.text.replace("2.0", "2.1")):
        if beside is not None:
            (asked.parent / "my.lock.txt").write_text(beside, encoding="utf-8")
        found = answering_pipeline(trained, FileChoice("mine-1", asked, Drawing()), 1, "0" * 64)
        assert (found.lock, found.pins) == (LOCK.text, LOCK.pins)


def test_users_do_not_write_the_text_of_a_lock() -> None:
    with pytest.raises(BadInput, match="own_lock: relay fills this in"):
        loader.parse(PIPELINE + "own_lock: x\n", "mine.yaml")


def test_the_lock_of_the_default_environment_leaves_room_in_a_kernel() -> None:
    text = "name: mine\nstages: [{name: sft, kind: sft, steps: 4, options: {data: [gsm8k]}}]\n"
    pipeline = loader.parse(text, "mine.yaml")
    bare = pipeline.model_copy(update={"environment": ()})
    assert outline(pipeline)["kernel"]["bytes"] - outline(bare)["kernel"]["bytes"] < 30_000


# --- what a session holds its packages to ----------------------------------------------------


def wanted(monkeypatch: pytest.MonkeyPatch, lock: PackageLock | None, **environment: str) -> packages.Wanted:
    for name in (packages.STAND_IN, packages.INSTALL_AS_ON_KAGGLE):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    pipeline = loader.parse("name: mine\nstages: [{name: one, kind: counting, steps: 4}]\n", "mine.yaml")
    pins = ("steady==1.0", "libtpu==0.0.42.1", "jax-cuda12-pjrt==0.10.2")
    return packages.wanted(replace(order_of(pipeline), pins=pins, lock=lock.text if lock else ""))


HERE = replace(LOCK, python=packages.python_version())


def test_a_session_with_the_locks_python_needs_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = wanted(monkeypatch, HERE)
    assert (found.pins, found.lock) == (("moving==2.0", "steady==1.0"), HERE)
    assert found.description == f"lock {HERE.digest}, 2 packages for Python {HERE.python}"
    assert wanted(monkeypatch, HERE, RELAY_STAND_IN="1", RELAY_INSTALL_AS_ON_KAGGLE="1").lock == HERE


def test_a_session_with_another_python_needs_the_pins_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    found = wanted(monkeypatch, replace(LOCK, python="2.7"))
    assert (len(found.pins), found.lock) == (3, None)
    assert found.description.startswith("pins without their lock, which is for Python 2.7, and this is ")


def test_a_rehearsal_needs_neither_the_lock_nor_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    found = wanted(monkeypatch, HERE, RELAY_STAND_IN="1")
    assert (found.pins, found.lock) == (("steady==1.0",), None)


# --- wheels that fit a lock -------------------------------------------------------------------


def listed(files: dict[str, str], built: dict[str, str] | None = None) -> WheelList:
    return WheelList("3.12", ("steady==1.0",), files, 1, "0" * 64, built or {})


MOVING, STEADY = "moving-2.0-py3-none-any.whl", "steady-1.0-py3-none-any.whl"


def test_a_wheel_that_was_built_counts_as_its_source() -> None:
    wheels = listed({MOVING: TWO, STEADY: "9" * 64}, {STEADY: SOURCE})
    assert WheelList.from_json(wheels.to_json()) == wheels
    found = lock_for(wheels, LOCK, "me/wheels")
    assert [package.hashes for package in found.packages] == [(TWO,), ("9" * 64,)]


@pytest.mark.parametrize(
    ("wheels", "said"),
    [
        (listed({MOVING: TWO}), "me/wheels has no wheel of steady==1.0: publish it anew"),
        (listed({MOVING: TWO, STEADY: "9" * 64}), "another file of steady==1.0 than the lock names"),
        (listed({MOVING: TWO, STEADY: "9" * 64}, {STEADY: ONE}), "another file of steady==1.0"),
        (listed({MOVING: TWO, "steady-1.1-py3-none-any.whl": SOURCE}), "no wheel of steady==1.0"),
    ],
)
def test_wheels_that_the_lock_does_not_name_are_not_installed(wheels: WheelList, said: str) -> None:
    with pytest.raises(NoWheels, match=said):
        lock_for(wheels, LOCK, "me/wheels")
