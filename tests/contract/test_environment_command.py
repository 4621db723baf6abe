"""`relay environment publish`: the wheels of a pipeline become one private dataset, once, and the pipeline mounts it."""

import json
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

    def publish(self, *flags: str, pins: str = "steady==1.0, moving==2.0") -> Result:
        self.pipeline.write_text(PIPELINE.replace("ENVIRONMENT", pins), encoding="utf-8")
        arguments = ["--home", str(self.root / "home"), "environment", "publish", str(self.pipeline), *flags]
        return CliRunner().invoke(main, arguments, env=self.environment)

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
        ("absent==1.0", "pip has no wheels of absent==1.0 for Python 3.12 on Linux (ERROR: "),
    ],
)
def test_what_cannot_be_published_is_one_sentence_and_nothing_is_made(place: Place, pins: str, said: str) -> None:
    done = place.publish(pins=pins)
    assert done.exit_code == 2
    assert f"relay: {said}" in done.output.replace("\n", " ")
    assert place.datasets() == []
    assert not (place.root / "home").exists()
