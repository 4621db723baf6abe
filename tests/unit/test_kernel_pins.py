"""A kernel makes its Python what the order pins: it installs just what differs, and starts anew before it trains."""

import base64
import ensurepip
import hashlib
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from kaggle_kernels import build
from orchestrator.engine.wheels import packed
from stages.session.package_lock import LockedPackage, PackageLock
from tests.unit.counting_runs import Kaggle, counting, kaggle, order

pytestmark = pytest.mark.slow


def make_wheel(folder: Path, name: str, version: str) -> None:
    """A package of one module, as an index would serve it."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{path},{hash_of(text)},{len(text)}" for path, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


def hash_of(text: str) -> str:
    """As a wheel's RECORD writes it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


class Machine:
    """A Python of its own, whose pip finds packages only in a folder."""

    def __init__(self, root: Path) -> None:
        self.wheels = root / "wheels"
        self.wheels.mkdir(parents=True)
        venv.create(root / "python", with_pip=False)
        self.python = root / "python" / "bin" / "python"
        self.pip = next((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))

    def run(self, world: Kaggle, *pins: str, wheels: str = "", lock: str = "") -> subprocess.CompletedProcess[str]:
        """A kernel whose order pins these packages."""
        script = world.root / "script.py"
        script.write_text(build.script(order(pins=pins, wheels=wheels, lock=lock, stages=(counting("first", 3),))))
        found = {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "PYTHONPATH": str(self.pip),
            "TMPDIR": str(world.root / "tmp"),
        }
        return subprocess.run(
            [self.python, "-I", str(script)],
            cwd=world.working,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **found},
        )


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    made = Machine(tmp_path_factory.mktemp("machine"))
    for name, version in (("steady", "1.0"), ("moving", "1.0"), ("moving", "2.0")):
        make_wheel(made.wheels, name, version)
    return made


def test_only_what_differs_is_installed_and_the_session_runs_with_it(machine: Machine, tmp_path: Path) -> None:
    first, second, third = (kaggle(tmp_path / name) for name in ("1", "2", "3"))
    done = machine.run(first, "steady==1.0", "moving==1.0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == "installing 2 of 2 packages: steady==1.0, moving==1.0"
    done = machine.run(second, "steady==1.0", "moving==2.0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == "installing 1 of 2 packages: moving==2.0"
    assert second.report().outcome == "finished"
    assert second.report().versions.items() >= {("steady", "1.0"), ("moving", "2.0")}
    assert "installing" not in machine.run(third, "steady==1.0", "moving==2.0").stdout
    assert sorted(path.name for path in second.root.iterdir()) == ["input", "script.py", "tmp", "working"]


def test_what_cannot_be_installed_is_reported_as_a_passing_trouble(machine: Machine, tmp_path: Path) -> None:
    world = kaggle(tmp_path / "kaggle")
    assert machine.run(world, "absent==3.1").returncode == 1
    report = world.report()
    assert (report.outcome, report.cause, report.transient) == ("failed", "environment-install", True)
    assert report.reason.startswith("pip could not install absent==3.1: ")
    assert "No matching distribution found" in report.reason


@pytest.fixture
def offline(machine: Machine, tmp_path: Path) -> Machine:
    """The same Python where pip finds nothing by itself."""
    alone = object.__new__(Machine)
    alone.python, alone.pip, alone.wheels = machine.python, machine.pip, tmp_path / "nothing"
    alone.wheels.mkdir()
    return alone


def mounted(world: Kaggle, wheels: Path, python: str) -> str:
    """A dataset of these wheels among the session's inputs; its `owner/slug`."""
    (folder := world.inputs / "datasets" / "me" / "wheels").mkdir(parents=True)
    return f"me/{packed(('steady==1.0',), python, wheels, folder).slug}"


HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_a_session_installs_from_its_wheels_without_the_network(
    machine: Machine, offline: Machine, tmp_path: Path
) -> None:
    world = kaggle(tmp_path / "kaggle")
    ref = mounted(world, machine.wheels, HERE)
    done = offline.run(world, "moving==1.0", wheels=ref)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[:3] == [
        "installing 1 of 1 packages: moving==1.0",
        "held to: pins alone, since the pipeline names no lock",
        f"installed from {ref}, without the network",
    ]
    assert world.report().versions["moving"] == "1.0"
    assert world.report().seconds["environment_install"] > 0
    assert list((world.root / "tmp").iterdir()) == []


def test_wheels_that_do_not_fit_are_told_of_and_the_network_is_asked(machine: Machine, tmp_path: Path) -> None:
    world = kaggle(tmp_path / "kaggle")
    ref = mounted(world, machine.wheels, "2.7")
    done = machine.run(world, "moving==2.0", wheels=ref)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[2] == (
        f"installing from the network after all: {ref} holds wheels for Python 2.7, and this is {HERE}: publish them anew"
    )
    assert world.report().versions["moving"] == "2.0"


# --- locks -----------------------------------------------------------------------------


def locked(machine: Machine, *versions: str, python: str = HERE, **hashes: str) -> PackageLock:
    """A lock of these packages (`moving==1.0`) with the hashes of their wheels, or with others."""
    packages = []
    for name, version in (found.split("==") for found in versions):
        wheel = machine.wheels / f"{name}-{version}-py3-none-any.whl"
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        packages.append(LockedPackage(name, version, (hashes.get(name, digest),)))
    return PackageLock(python, "x86_64-manylinux_2_31", 0, versions[:1], tuple(packages))


def test_all_packages_of_a_lock_are_installed_and_only_with_its_hashes(machine: Machine, tmp_path: Path) -> None:
    first, second, third = (kaggle(tmp_path / name) for name in ("1", "2", "3"))
    lock = locked(machine, "steady==1.0", "moving==1.0")
    assert machine.run(kaggle(tmp_path / "before"), "moving==2.0").returncode == 0
    done = machine.run(first, "steady==1.0", lock=lock.text)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0].endswith("moving==1.0")
    assert first.report().environment == f"lock {lock.digest}, 2 packages for Python {HERE}"
    wrong = locked(machine, "steady==1.0", "moving==2.0", moving="0" * 64)
    assert machine.run(second, "steady==1.0", lock=wrong.text).returncode == 1
    report = second.report()
    assert (report.outcome, report.cause) == ("failed", "environment-install")
    assert "moving==2.0" in report.reason and "hash" in report.reason.lower()
    other = locked(machine, "steady==1.0", "moving==2.0", python="2.7")
    done = machine.run(third, "steady==1.0", lock=other.text)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "installing" not in done.stdout
    assert third.report().environment.startswith("pins without their lock, which is for Python 2.7")


def test_a_lock_is_installed_from_its_wheels_without_the_network(
    machine: Machine, offline: Machine, tmp_path: Path
) -> None:
    assert machine.run(kaggle(tmp_path / "before"), "moving==2.0", "steady==1.0").returncode == 0
    world = kaggle(tmp_path / "kaggle")
    lock, ref = locked(machine, "moving==1.0", "steady==1.0"), mounted(world, machine.wheels, HERE)
    done = offline.run(world, "moving==1.0", wheels=ref, lock=lock.text)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[:3] == [
        "installing 1 of 2 packages: moving==1.0",
        f"held to: lock {lock.digest}, 2 packages for Python {HERE}",
        f"installed from {ref}, without the network",
    ]
    assert world.report().versions["moving"] == "1.0"
