"""Bits are really counted, in every part of a checkpoint, and equal digests are not taken for more than they say."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.rehearsal.verify import bits
from orchestrator.rehearsal.verify.bits import Bits, between, count
from stages.contract import BLOB_NAME, Cursor, Manifest
from stages.session import packing
from stages.session.parent_checkpoint import MountedCheckpoint

MANIFEST = Manifest(
    run="mine", session=1, attempt=1, token="t", cursor=Cursor(stage="first", step=1), parent=None, files=()
)


def checkpoint(folder: Path, files: dict[str, bytes], digests: dict[str, str]) -> MountedCheckpoint:
    content = folder / "content"
    content.mkdir(parents=True)
    for name, data in files.items():
        (content / name).write_bytes(data)
    blob = packing.pack(content, folder / BLOB_NAME)
    return MountedCheckpoint(folder, replace(MANIFEST, files=(blob,), digests=digests))


@pytest.mark.slow
@given(st.binary(max_size=64), st.binary(max_size=64))
def test_counting_is_the_sum_over_all_bits(first: bytes, second: bytes) -> None:
    shared = sum((one ^ two).bit_count() for one, two in zip(first, second, strict=False))
    assert count(first, second) == count(second, first) == shared + 8 * abs(len(first) - len(second))


def test_a_bit_in_any_chunk_counts() -> None:
    data = bytearray(2 * bits.CHUNK_BYTES + 3)
    for place in (0, bits.CHUNK_BYTES - 1, bits.CHUNK_BYTES, len(data) - 1):
        other = bytearray(data)
        other[place] = 1
        assert count(bytes(data), bytes(other)) == 1


def test_equal_checkpoints_differ_in_nothing_and_are_counted_whole(tmp_path: Path) -> None:
    one, two = (checkpoint(tmp_path / name, {"a": b"same", "b": b"too"}, {"state": "1"}) for name in ("one", "two"))
    assert between(one, two) == Bits(compared=8 * 7)


def test_a_difference_is_counted_in_bits(tmp_path: Path) -> None:
    one = checkpoint(tmp_path / "one", {"a": b"\x00\x01", "gone": b"\xff"}, {"state": "1"})
    two = checkpoint(tmp_path / "two", {"a": b"\x03\x01", "new": b"ab"}, {"state": "2"})
    assert between(one, two) == Bits(compared=8 * 4, other=2 + 8 + 16)


def test_without_digests_the_bytes_are_compared(tmp_path: Path) -> None:
    """A stage of the user's own need not give any."""
    one, two = checkpoint(tmp_path / "one", {"a": b"\x00"}, {}), checkpoint(tmp_path / "two", {"a": b"\x01"}, {})
    assert between(one, two).differing == 1


def test_a_foreign_state_json_is_a_file_like_any_other(tmp_path: Path) -> None:
    for text in (b"{}", b"[]", b"not JSON"):
        one = checkpoint(tmp_path / text.hex(), {"state.json": text}, {"state": "1"})
        assert between(one, one) == Bits(compared=8 * len(text))
