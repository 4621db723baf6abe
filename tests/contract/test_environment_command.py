"""`relay environment`: the wheels of a pipeline become one private dataset, once; its packages become a lock."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.base.clock import SystemClock
from orchestrator.cli import main
from orchestrator.pipeline.loader import load
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS
from orchestrator.rehearsal.local_kaggle.sandbox import ScriptedSandbox
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from stages.session.wheels import BLOB_NAME, LIST_NAME
from tests.contract.local import AT_ONCE, IDLES
from tests.unit.test_kernel_pins import make_wheel

PIPELINE = """
name: count
environment: [ENVIRONMENT]
session: {limit_s: 60, margin_s: 5}
stages: [{name: one, kind: counting, steps: 4}]
"""


class Place:
    """An account on a local Kaggle, and a folder in which pip finds two packages."""

    def __init__(self, root: Path, kaggle: LocalKaggle) -> None:
        self.root, self.kaggle = root, kaggle
        self.pipeline = root / "count.yaml"
        (wheels := root / "wheels").mkdir()
        for name, version in (("steady", "1.0"), ("moving", "2.0")):
            make_wheel(wheels, name, version)
        self.environment = {**kaggle.environment(), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}

    def publish(self, *flags: str, pins: str = "steady==1.0, moving==2.0", named: str = "") -> Result:
        text = PIPELINE.replace("[ENVIRONMENT]", named or f"[{pins}]")
        self.pipeline.write_text(text, encoding="utf-8")
        arguments = ["--home", str(self.root / "home"), "environment", "publish", str(self.pipeline), *flags]
        return CliRunner().invoke(main, arguments, env=self.environment)

    def lock(self, *flags: str, pins: str = "steady==1.0, moving") -> Result:
        """Lock the pins; uv finds packages only in the folder."""
        self.pipeline.write_text(PIPELINE.replace("ENVIRONMENT", pins), encoding="utf-8")
        arguments = ["--home", str(self.root / "home"), "environment", "lock", str(self.pipeline), *flags]
        found = {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(self.root / "wheels"), "UV_NO_CONFIG": "1"}
        return CliRunner().invoke(main, arguments, env=found)

    def datasets(self) -> list[Any]:
        return [dataset.slug for dataset in self.kaggle.world.datasets.all()]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    sandbox = ScriptedSandbox(lambda *_: IDLES)
    with LocalKaggle(tmp_path / "kaggle", SystemClock(), AT_ONCE, NO_FAULTS, sandbox) as kaggle:
        yield Place(tmp_path, kaggle)


@pytest.mark.slow
def test_the_wheels_are_published_once_and_the_line_for_the_pipeline_is_told(place: Place) -> None:
    first, second = place.publish(), place.publish()
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    ref = first.output.splitlines()[-1].removeprefix("  wheels: ")
    assert f"{ref} is published: 2 wheels for Python 3.12" in first.output
    assert f"{ref} was there already: 2 wheels for Python 3.12" in second.output
    assert place.datasets() == [ref.partition("/")[2]]
    place.pipeline.write_text(place.pipeline.read_text() + f"inputs: {{wheels: {ref}}}\n")
    assert load(place.pipeline).dataset_sources == (ref,)


@pytest.mark.slow
def test_the_dataset_is_private_and_holds_two_files_that_kaggle_leaves_alone(place: Place) -> None:
    found = json.loads(place.publish("--json").stdout)
    assert (found["python"], found["pins"]) == ("3.12", ["steady==1.0", "moving==2.0"])
    assert sorted(found["files"]) == ["moving-2.0-py3-none-any.whl", "steady-1.0-py3-none-any.whl"]
    owner, slug = found["wheels"].split("/")
    with place.kaggle.world.at_now() as now:
        seen = place.kaggle.world.datasets.find(owner, slug)
        assert sorted(seen.current(now).files) == sorted((LIST_NAME, BLOB_NAME))
        assert seen.about.is_private


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pins", "said"),
    [
        ("", "count installs nothing, so there are no wheels to publish: environment is empty"),
        ("absent==1.0", "pip has not provided wheels of absent==1.0 for Python 3.12 on Linux (ERROR: "),
    ],
)
def test_what_cannot_be_published_is_one_sentence_and_nothing_is_made(place: Place, pins: str, said: str) -> None:
    done = place.publish(pins=pins)
    assert done.exit_code == 2
    assert f"relay: {said}" in done.output.replace("\n", " ")
    assert place.datasets() == []
    assert not (place.root / "home").exists()


# --- locks -----------------------------------------------------------------------------

BUILDS = """
import zipfile
from pathlib import Path

def build_wheel(folder, settings=None, metadata=None):
    name = "sourced-3.0-py3-none-any.whl"
    with zipfile.ZipFile(Path(folder, name), "w") as wheel:
        for path, text in FILES.items():
            wheel.writestr(zipfile.ZipInfo(path), text)
    return name

INFO = "sourced-3.0.dist-info"
FILES = {
    "sourced.py": "VERSION = 3\\n",
    f"{INFO}/METADATA": "Metadata-Version: 2.1\\nName: sourced\\nVersion: 3.0\\n",
    f"{INFO}/WHEEL": "Wheel-Version: 1.0\\nGenerator: by hand\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    f"{INFO}/RECORD": "".join(f"{p},,\\n" for p in ("sourced.py", f"{INFO}/METADATA", f"{INFO}/WHEEL", f"{INFO}/RECORD")),
}
"""
"""A build backend that needs no other package."""


def make_source(folder: Path) -> str:
    """Write a package that is published only as source into the folder; returns its SHA-256."""
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    about = "Metadata-Version: 2.1\nName: sourced\nVersion: 3.0\n"
    target = folder / "sourced-3.0.tar.gz"
    with tarfile.open(target, "w:gz") as archive:
        for name, text in (("pyproject.toml", project), ("backend.py", BUILDS), ("PKG-INFO", about)):
            entry = tarfile.TarInfo(f"sourced-3.0/{name}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return hashlib.sha256(target.read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_lock_is_published_once_with_a_wheel_of_what_has_only_a_source(place: Place) -> None:
    source = make_source(place.root / "wheels")
    done = place.lock(pins="steady==1.0, moving, sourced")
    assert done.exit_code == 0, done.output
    name = done.output.splitlines()[-1].removeprefix("environment: ")
    assert name == "count.lock.txt"
    (place.root / "wheels" / "moving-2.1-py3-none-any.whl").write_bytes(
        b"a newer release, which the lock does not name"
    )
    first, second = (place.publish("--json", named=name) for _ in range(2))
    assert first.exit_code == second.exit_code == 0, first.output + second.output
    assert "downloading 3 packages" in first.stderr
    assert "building a wheel of sourced-3.0.tar.gz, which is published only as source" in first.stderr
    found = json.loads(first.stdout)
    assert sorted(found["files"]) == [
        f"{name}-py3-none-any.whl" for name in ("moving-2.0", "sourced-3.0", "steady-1.0")
    ]
    assert found["built"] == {"sourced-3.0-py3-none-any.whl": source}
    assert json.loads(second.stdout) == found | {"there_before": True}
    assert len(place.datasets()) == 1


@pytest.mark.slow
def test_a_lock_is_written_anew_over_a_lock_and_over_nothing_else(place: Place) -> None:
    target = place.root / "my.lock.txt"
    target.write_text("my notes", encoding="utf-8")
    for flags, pins, said in (
        (("-o", str(target)), "steady", f"{target} exists and is not a lock: remove it, or name another file"),
        (("-o", str(place.root / "lock.txt")), "steady", "a lock file's name ends in .lock.txt"),
        ((), "", "count installs nothing, so there is nothing to lock"),
        ((), "absent==1.0", "uv cannot resolve absent==1.0 for Python 3.12 on Linux (error: "),
    ):
        done = place.lock(*flags, pins=pins)
        assert done.exit_code == 2
        assert said in done.output.replace("\n", " ")
    assert (target.read_text(), [*place.root.glob("*.lock.txt")]) == ("my notes", [target])
    target.unlink()
    first, second = place.lock("-o", str(target), "--json"), place.lock("-o", str(target), "--json", pins="moving==2.0")
    assert json.loads(first.stdout)["packages"] == {"moving": "2.0", "steady": "1.0"}
    assert json.loads(second.stdout)["packages"] == {"moving": "2.0"}
    assert "moving==2.0" in target.read_text() and "steady" not in target.read_text()
