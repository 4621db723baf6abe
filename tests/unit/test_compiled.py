"""Compiled programs ride along where it pays, and never stand in a session's way."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from stages.contract import COMPILED_NAME, Cursor, FileEntry, Manifest
from stages.session import packing
from stages.session.compilation_cache import PROGRAM, SIZE_BYTES_MAX, Compiled, machine, pays_off
from tests.unit.counting_runs import Kaggle, kaggle, next_order, order


@pytest.mark.parametrize(
    ("size_bytes", "seconds", "pays"),
    [
        (0, 100.0, False),  # nothing was compiled
        (50 * 2**20, 300.0, True),  # a large model's five minutes
        (50 * 2**20, 2.0, False),
        (200_000, 2.0, True),
        (SIZE_BYTES_MAX + 1, 1e9, False),
    ],
)
def test_programs_ride_along_where_compiling_costs_more_than_their_transfer(
    size_bytes: int, seconds: float, pays: bool
) -> None:
    assert pays_off(size_bytes, seconds) is pays


def programs(place: Path, seconds: float, kind: str = "here", **files: bytes) -> Compiled:
    """What a session has that compiled these programs and did nothing else, as JAX leaves it."""
    directory = place / "compiled"
    directory.mkdir(parents=True, exist_ok=True)
    found = Compiled(directory, kind, print)
    for name, content in files.items():
        (directory / f"{name}{PROGRAM}").write_bytes(content)
        found._heard("/jax/core/compile/backend_compile_duration", seconds)
    return found


def packed(found: Compiled, folder: Path) -> Manifest:
    """The manifest of a checkpoint with these programs."""
    folder.mkdir()
    entry = found.pack(folder)
    files = (entry,) if entry else ()
    here = Cursor(stage="first", step=1)
    return Manifest(run="r", session=1, attempt=1, token="t", cursor=here, parent=None, files=files)


def held(found: Compiled) -> dict[str, bytes]:
    return {name: (found._directory / name).read_bytes() for name in found._programs()}


@pytest.fixture
def carried(tmp_path: Path) -> tuple[Path, Manifest]:
    """A checkpoint with two programs."""
    folder = tmp_path / "checkpoint"
    return folder, packed(programs(tmp_path / "one", 3.0, a=b"A" * 100, b=b"B"), folder)


def test_the_next_session_has_the_programs_and_knows_what_they_are_worth(
    carried: tuple[Path, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    following = programs(tmp_path / "two", 0.0)
    following.take_in(*carried)
    assert held(following) == {"a-cache": b"A" * 100, "b-cache": b"B"}
    assert "2 compiled programs came with the checkpoint, 6 s of compiling" in capsys.readouterr().out


def test_only_programs_that_a_session_asked_for_go_on(carried: tuple[Path, Manifest], tmp_path: Path) -> None:
    following = programs(tmp_path / "two", 0.0)
    following.take_in(*carried)
    (tmp_path / "two" / "compiled" / "b-atime").write_bytes(b"\x01" * 8)  # what JAX does when it takes one
    third = programs(tmp_path / "three", 0.0)
    third.take_in(tmp_path / "later", packed(following, tmp_path / "later"))
    assert held(third) == {"b-cache": b"B"}


def test_programs_of_a_session_that_used_the_same_ones_are_the_same_bytes(
    carried: tuple[Path, Manifest], tmp_path: Path
) -> None:
    """So that nobody need fetch them again."""
    folder, manifest = carried
    following = programs(tmp_path / "two", 0.0)
    following.take_in(folder, manifest)
    for name in ("a", "b"):
        (tmp_path / "two" / "compiled" / f"{name}-atime").write_bytes(b"\x01" * 8)
    assert packed(following, tmp_path / "later").files == manifest.files


def test_programs_that_do_not_pay_stay_behind(tmp_path: Path) -> None:
    assert packed(programs(tmp_path / "one", 0.001, a=bytes(500_000)), tmp_path / "checkpoint").files == ()
    assert list((tmp_path / "checkpoint").iterdir()) == []


def test_programs_for_another_kind_of_machine_are_left_alone(carried: tuple[Path, Manifest], tmp_path: Path) -> None:
    following = programs(tmp_path / "two", 0.0, kind="there")
    following.take_in(*carried)
    assert held(following) == {}


def test_what_a_processor_can_do_tells_machines_apart(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).write_text(f"processor : 0\nflags : fpu {name}\n", encoding="utf-8")
    assert machine("tpu", tmp_path / "one") == machine("tpu", tmp_path / "one")
    assert machine("tpu", tmp_path / "one") != machine("tpu", tmp_path / "other")
    assert machine("tpu", tmp_path / "one") != machine("cpu", tmp_path / "one")


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [_flip, lambda path: os.truncate(path, 10), Path.unlink])
def test_damaged_programs_are_left_alone(
    damage: object, carried: tuple[Path, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(carried[0] / COMPILED_NAME)  # type: ignore[operator]
    following = programs(tmp_path / "two", 0.0)
    following.take_in(*carried)
    assert held(following) == {}
    assert capsys.readouterr().out.count("the compiled programs of the parent are not used") == 1


@pytest.mark.parametrize(
    "about",
    [
        "",
        "[]",
        "{}",
        '{"machine": "here", "seconds": {"../../a-cache": 1}}',
        '{"machine": "here", "seconds": {"c-cache": 1}}',
    ],
)
def test_programs_that_somebody_else_packed_are_left_alone(
    about: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "about.json").write_text(about, encoding="utf-8")
    (tmp_path / "a-cache").write_text("not a program")
    (tmp_path / "checkpoint").mkdir()
    entry = packing.pack(tmp_path / "odd", tmp_path / "checkpoint" / COMPILED_NAME)
    here = Cursor(stage="first", step=1)
    manifest = Manifest(run="r", session=1, attempt=1, token="t", cursor=here, parent=None, files=(entry,))
    following = programs(tmp_path / "two", 0.0)
    following.take_in(tmp_path / "checkpoint", manifest)
    assert held(following) == {}
    assert "are not used" in capsys.readouterr().out
    assert (tmp_path / "a-cache").exists()


def with_programs(world: Kaggle, damage: bool) -> tuple[Path, Manifest]:
    """A counting run's checkpoint that also carries programs, as a training one does."""
    folder = world.folders()[-1]
    manifest = Manifest.from_json((folder / "manifest.json").read_text())
    content = world.root / "content"
    content.mkdir()
    (content / "about.json").write_text(json.dumps({"machine": "here", "seconds": {}}))
    entry: FileEntry = packing.pack(content, folder / COMPILED_NAME)
    made = replace(manifest, files=(*manifest.files, entry))
    (folder / "manifest.json").write_text(made.to_json())
    if damage:
        _flip(folder / COMPILED_NAME)
    return folder, made


@pytest.mark.parametrize("damage", [False, True])
def test_a_session_resumes_with_whole_or_damaged_programs_alike(damage: bool, tmp_path: Path) -> None:
    world = kaggle(tmp_path / "kaggle")
    first = replace(order(), stop_at=Cursor(stage="first", step=3))
    _, report = world.run(first)
    folder, manifest = with_programs(world, damage)
    following = kaggle(tmp_path / "following")
    following.publish(folder, "parent")
    asked = next_order(replace(first, stop_at=None), replace(report, checkpoint=manifest))
    assert following.run(asked)[1].outcome == "finished"


def test_a_folder_of_programs_that_somebody_else_named_is_left_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    assert Compiled.begin(tmp_path / "scratch", "cpu", print) is None
    shutil.rmtree(tmp_path / "scratch", ignore_errors=True)
