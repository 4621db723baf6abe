"""A session installs what was published for it, byte for byte, or says why not and asks the network."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.engine.wheels import packed
from stages.session.wheels import BLOB_NAME, LIST_NAME, NoWheels, WheelList, unpacked

PINS = ("one==1.0", "two==2.0")


def dataset(inputs: Path, place: str = "relay-wheels", python: str = "3.12") -> tuple[str, WheelList]:
    """A mounted dataset of two files; its `owner/slug`."""
    (downloaded := inputs.parent / "downloaded").mkdir(exist_ok=True)
    for name in ("one-1.0-py3-none-any.whl", "two-2.0-py3-none-any.whl"):
        (downloaded / name).write_bytes(name.encode())
    (folder := inputs / place).mkdir(parents=True)
    wheels = packed(PINS, python, downloaded, folder)
    return f"me/{wheels.slug}", wheels


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return tmp_path / "input"


@pytest.mark.parametrize("place", ["wheels", "datasets/me/wheels"])
def test_wheels_are_found_wherever_they_are_mounted(place: str, inputs: Path, tmp_path: Path) -> None:
    ref, wheels = dataset(inputs, place)
    assert unpacked(inputs, ref, into := tmp_path / "into", "3.12") == wheels
    assert sorted(path.name for path in into.iterdir()) == sorted(wheels.files)
    assert (into / "one-1.0-py3-none-any.whl").read_bytes() == b"one-1.0-py3-none-any.whl"


def test_the_name_is_made_of_the_contents(inputs: Path) -> None:
    first, second = dataset(inputs, "a"), dataset(inputs, "b")
    assert first == second
    assert first[1].slug.startswith("relay-wheels-")
    assert len(first[1].slug) <= 50
    assert replace(first[1], pins=("one==1.1",)).slug != first[1].slug
    assert WheelList.from_json(first[1].to_json()) == first[1]


def refused(inputs: Path, ref: str, into: Path, python: str = "3.12") -> str:
    with pytest.raises(NoWheels) as caught:
        unpacked(inputs, ref, into, python)
    assert not into.exists()
    return str(caught.value)


def test_wheels_of_another_python_are_not_installed(inputs: Path, tmp_path: Path) -> None:
    ref, _ = dataset(inputs)
    assert refused(inputs, ref, tmp_path / "into", "3.13") == (
        f"{ref} holds wheels for Python 3.12, and this is 3.13: publish them anew"
    )


def test_one_flipped_bit_and_nothing_is_installed(inputs: Path, tmp_path: Path) -> None:
    ref, _ = dataset(inputs)
    blob = inputs / "relay-wheels" / BLOB_NAME
    data = bytearray(blob.read_bytes())
    data[700] ^= 1
    blob.write_bytes(data)
    assert "is not the file that was published" in refused(inputs, ref, tmp_path / "into")


def test_a_list_that_was_changed_is_not_the_one_that_the_name_says(inputs: Path, tmp_path: Path) -> None:
    ref, wheels = dataset(inputs)
    (inputs / "relay-wheels" / LIST_NAME).write_text(replace(wheels, sha256="0" * 64).to_json())
    assert "is not mounted as it was published" in refused(inputs, ref, tmp_path / "into")


def test_a_dataset_that_is_not_there_is_named(inputs: Path, tmp_path: Path) -> None:
    inputs.mkdir()
    assert "relay-wheels-0123 is not mounted" in refused(inputs, "me/relay-wheels-0123", tmp_path / "into")


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 2}'])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(NoWheels):
        WheelList.from_json(text)
