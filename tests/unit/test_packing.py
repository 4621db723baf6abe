"""A directory as one file: the same bytes for the same contents, back exactly, and nothing written outside its directory."""

import io
import os
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.contract import Cursor, FileEntry, Manifest
from stages.session import packing
from stages.session.packing import CannotPack, CorruptCheckpoint

PARTS = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40).filter(
    lambda part: part not in (".", "..") and len(part.encode()) < 200
)
TREES = st.dictionaries(st.lists(PARTS, min_size=1, max_size=3).map(tuple), st.binary(max_size=2_000), max_size=6)


def write_tree(root: Path, tree: dict[tuple[str, ...], bytes]) -> dict[str, bytes]:
    """Make the files that fit beside each other, and say which those are."""
    made = {}
    for parts, content in tree.items():
        path = root.joinpath(*parts)
        if path.exists() or any(parent.is_file() for parent in path.parents):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        made["/".join(parts)] = content
    return made


def read_tree(root: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(tree=TREES)
def test_what_is_packed_comes_back_exactly(tree: dict[tuple[str, ...], bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "in").mkdir()
        made = write_tree(root / "in", tree)
        entry = packing.pack(root / "in", root / "state.bin")
        packing.unpack(root / "state.bin", root / "out", size_bytes_max=entry.size_bytes)
        assert read_tree(root / "out") == made
        assert entry.size_bytes == (root / "state.bin").stat().st_size
        assert entry.sha256 == packing.sha256_of(root / "state.bin")


def test_an_empty_directory_comes_back_too(tmp_path: Path) -> None:
    (tmp_path / "in" / "nothing").mkdir(parents=True)
    entry = packing.pack(tmp_path / "in", tmp_path / "state.bin")
    packing.unpack(tmp_path / "state.bin", tmp_path / "out", size_bytes_max=entry.size_bytes)
    assert (tmp_path / "out" / "nothing").is_dir()


def test_equal_contents_give_equal_bytes_whenever_and_in_whatever_order_they_were_written(tmp_path: Path) -> None:
    names = ["b", "a.b", "a/c", "a/a", "ä"]
    for place, order, mode, age_s in (("one", names, 0o600, 0), ("two", names[::-1], 0o755, 90_000)):
        write_tree(tmp_path / place, {tuple(name.split("/")): name.encode() for name in order})
        for path in (tmp_path / place).rglob("*"):
            if path.is_file():
                path.chmod(mode)
                os.utime(path, (age_s, age_s))
    packing.pack(tmp_path / "one", tmp_path / "1.bin")
    packing.pack(tmp_path / "two", tmp_path / "2.bin")
    assert (tmp_path / "1.bin").read_bytes() == (tmp_path / "2.bin").read_bytes()


def test_a_link_is_not_packed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to("/etc/passwd")
    with pytest.raises(CannotPack, match="link is neither a file nor a directory"):
        packing.pack(tmp_path / "in", tmp_path / "state.bin")


def test_a_blob_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "state.bin").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        packing.pack(tmp_path / "in", tmp_path / "state.bin")
    assert (tmp_path / "state.bin").read_bytes() == b"precious"


def member(name: str, content: bytes = b"x", **changes: object) -> tuple[tarfile.TarInfo, bytes]:
    """A member of an archive that no pack of ours has written."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> int:
    """Write it; its size."""
    with tarfile.open(path, "w") as file:
        for info, content in members:
            file.addfile(info, io.BytesIO(content))
    return path.stat().st_size


HOSTILE = {
    "absolute": [member("/tmp/escaped")],
    "climbs": [member("../escaped")],
    "climbs late": [member("a", type=tarfile.DIRTYPE, size=0), member("a/../../escaped")],
    "here": [member("./a")],
    "symbolic link": [member("a", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0)],
    "hard link": [member("a"), member("b", b"", type=tarfile.LNKTYPE, linkname="a", size=0)],
    "through a link": [member("a", b"", type=tarfile.SYMTYPE, linkname="..", size=0), member("a/escaped")],
    "device": [member("a", b"", type=tarfile.CHRTYPE, size=0)],
    "pipe": [member("a", b"", type=tarfile.FIFOTYPE, size=0)],
    "contiguous": [member("a", type=tarfile.CONTTYPE)],
    "twice": [member("a", b"one"), member("a", b"two")],
    "a file as a folder": [member("a"), member("a/b")],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE.keys())
def test_an_archive_that_is_not_ours_is_refused_and_writes_nothing_outside(
    members: list[tuple[tarfile.TarInfo, bytes]], tmp_path: Path
) -> None:
    blob = tmp_path / "state.bin"
    size_bytes = archive(blob, *members)
    with pytest.raises(CorruptCheckpoint):
        packing.unpack(blob, tmp_path / "deep" / "out", size_bytes_max=size_bytes)
    outside = set(read_tree(tmp_path)) - {"state.bin"}
    assert all(name.startswith("deep/out/") for name in outside)
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
    assert not Path("/tmp/escaped").exists()


def test_a_sparse_file_which_unpacks_to_more_than_its_bytes_is_refused(tmp_path: Path) -> None:
    info, _ = member("a", b"")
    info.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.map": "0,1",
        "GNU.sparse.size": "99999999",
    }
    info.size = 1
    with tarfile.open(tmp_path / "state.bin", "w", format=tarfile.PAX_FORMAT) as file:
        file.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(CorruptCheckpoint):
        packing.unpack(tmp_path / "state.bin", tmp_path / "out", size_bytes_max=10**9)


def test_an_old_kind_of_sparse_file_is_refused_too(tmp_path: Path) -> None:
    info, _ = member("a", b"", type=tarfile.GNUTYPE_SPARSE, size=0)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:398], header[398:410] = b"00000000000\0", b"00000000001\0"  # one byte of data, at the beginning
    header[483:495] = b"77777777777\0"  # of a file of 8 GiB
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "state.bin").write_bytes(bytes(header) + bytes(1024))
    with pytest.raises(CorruptCheckpoint):
        packing.unpack(tmp_path / "state.bin", tmp_path / "out", size_bytes_max=10**12)
    assert not any((tmp_path / "out").iterdir())


def test_an_archive_of_endless_empty_files_is_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("same").tobuf(tarfile.GNU_FORMAT)
    folders = [member(str(number), b"", type=tarfile.DIRTYPE, size=0)[0] for number in range(3)]
    blob = b"".join(info.tobuf(tarfile.GNU_FORMAT) for info in folders) + header + bytes(1024)
    (tmp_path / "state.bin").write_bytes(blob)
    packing.unpack(tmp_path / "state.bin", tmp_path / "few", size_bytes_max=len(blob), members_max=4)
    with pytest.raises(CorruptCheckpoint, match="more than 3 files"):
        packing.unpack(tmp_path / "state.bin", tmp_path / "out", size_bytes_max=len(blob), members_max=3)


def test_nothing_unpacks_to_more_than_was_announced(tmp_path: Path) -> None:
    archive(tmp_path / "state.bin", member("a", b"x" * 600), member("b", b"x" * 600))
    with pytest.raises(CorruptCheckpoint, match="more than the announced 1000 bytes"):
        packing.unpack(tmp_path / "state.bin", tmp_path / "out", size_bytes_max=1_000)
    assert not (tmp_path / "out" / "b").exists()


@pytest.mark.parametrize("left_bytes", [0, 100, 512, 700, 1_100])
def test_an_archive_that_was_cut_is_not_taken_for_a_whole_one(left_bytes: int, tmp_path: Path) -> None:
    archive(tmp_path / "state.bin", member("a", b"x" * 600), member("b", b"x" * 600))
    whole = (tmp_path / "state.bin").read_bytes()
    (tmp_path / "state.bin").write_bytes(whole[:left_bytes])
    with pytest.raises(CorruptCheckpoint):
        packing.unpack(tmp_path / "state.bin", tmp_path / "out", size_bytes_max=len(whole))


@pytest.fixture
def checkpoint(tmp_path: Path) -> tuple[Path, Manifest]:
    """A folder with a packed state, and its manifest."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "weights").write_bytes(os.urandom(3_000))
    (tmp_path / "c").mkdir()
    entry = packing.pack(tmp_path / "in", tmp_path / "c" / "state.bin")
    cursor = Cursor(stage="first", step=1)
    return tmp_path / "c", Manifest(
        run="r", session=1, attempt=1, token="t", cursor=cursor, parent=None, files=(entry,)
    )


def test_a_checkpoint_that_is_whole_opens(checkpoint: tuple[Path, Manifest], tmp_path: Path) -> None:
    packing.open_checkpoint(*checkpoint, tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(tmp_path / "in")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda blob: blob.unlink(), "state.bin is missing"),
    "shorter": (lambda blob: os.truncate(blob, 5_000), "state.bin has 5000 bytes instead of 10240"),
    "longer": (lambda blob: os.truncate(blob, 20_000), "state.bin has 20000 bytes instead of 10240"),
    "other bytes": (lambda blob: blob.write_bytes(b"\0" * 10_240), "another SHA-256"),
    "a folder": (lambda blob: (blob.unlink(), blob.mkdir()), "state.bin is missing"),
}


@pytest.mark.parametrize(("damage", "sentence"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_checkpoint_is_refused_before_anything_is_unpacked(
    damage: Callable[[Path], object], sentence: str, checkpoint: tuple[Path, Manifest], tmp_path: Path
) -> None:
    damage(checkpoint[0] / "state.bin")
    with pytest.raises(CorruptCheckpoint, match=sentence):
        packing.open_checkpoint(*checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(bit=st.integers(0, 10_240 * 8 - 1))
def test_one_flipped_bit_anywhere_is_noticed(bit: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "in").mkdir()
        (Path(name) / "in" / "weights").write_bytes(bytes(range(250)) * 12)
        entry = packing.pack(Path(name) / "in", Path(name) / "state.bin")
        damaged = bytearray((Path(name) / "state.bin").read_bytes())
        damaged[bit // 8] ^= 1 << bit % 8
        (Path(name) / "state.bin").write_bytes(damaged)
        manifest = Manifest(
            run="r", session=1, attempt=1, token="t", cursor=Cursor(stage="s", step=1), parent=None, files=(entry,)
        )
        with pytest.raises(CorruptCheckpoint, match="another SHA-256"):
            packing.verify(Path(name), manifest)


def test_every_file_that_the_manifest_names_is_checked(checkpoint: tuple[Path, Manifest], tmp_path: Path) -> None:
    folder, manifest = checkpoint
    more = FileEntry(path="notes.bin", size_bytes=1, sha256="0" * 64)
    (folder / "notes.bin").write_bytes(b"x")
    with pytest.raises(CorruptCheckpoint, match=r"notes\.bin has another SHA-256"):
        packing.open_checkpoint(folder, replace(manifest, files=(*manifest.files, more)), tmp_path / "out")


def test_a_manifest_without_a_state_opens_nothing(checkpoint: tuple[Path, Manifest], tmp_path: Path) -> None:
    with pytest.raises(CorruptCheckpoint, match=r"names no state\.bin"):
        packing.open_checkpoint(checkpoint[0], replace(checkpoint[1], files=()), tmp_path / "out")


def test_papers_are_read_out_of_a_packed_state_without_unpacking_it(tmp_path: Path) -> None:
    for name, text in (
        ("artifacts/a.md", "first"),
        ("artifacts/b.jsonl", "second"),
        ("artifacts/deep/c.md", "no"),
        ("d.md", "no"),
    ):
        path = tmp_path / "state" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    packing.pack(tmp_path / "state", tmp_path / "state.bin")
    found = packing.texts_in(tmp_path / "state.bin", "artifacts", size_bytes_max=1000)
    assert found == {"a.md": b"first", "b.jsonl": b"second"}
    assert packing.texts_in(tmp_path / "state.bin", "artifacts", size_bytes_max=5) == {"a.md": b"first"}


@pytest.mark.parametrize(
    "name", ["artifacts/../../out.md", "artifacts//out.md", "/artifacts/out.md", "artifacts/..", "artifacts/a\\b.md"]
)
def test_a_paper_whose_name_leads_elsewhere_is_not_read(name: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "state.bin", "w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
        link = tarfile.TarInfo("artifacts/link.md")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert packing.texts_in(tmp_path / "state.bin", "artifacts", size_bytes_max=1000) == {}


def test_papers_of_what_is_no_archive_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "state.bin").write_bytes(b"not an archive" * 100)
    with pytest.raises(packing.CorruptCheckpoint):
        packing.texts_in(tmp_path / "state.bin", "artifacts", size_bytes_max=1000)


GOLDEN = "2f834c0251e44a29b0634a9badbbf8fea82961b1182bb04471d3de4a67a96b0f"
"""SHA-256 of the archive below as GNU tar 1.34 writes it: `tar --format=gnu --no-recursion --owner=:0 --group=:0
--mtime=@0 --numeric-owner` with the names in `LC_ALL=C sort` order, files of mode 644 and folders of mode 755."""


def test_an_archive_has_the_bytes_that_gnu_tar_writes(tmp_path: Path) -> None:
    """A checkpoint's identity is the hash of these bytes: another order or another field would be another checkpoint."""
    tree = {("a", "c"): b"one", ("a.b",): b"two", ("b", "empty"): b"", ("ä",): b"three", ("Z",): b"four"}
    write_tree(tmp_path / "in", tree)
    entry = packing.pack(tmp_path / "in", tmp_path / "p.bin")
    assert entry == FileEntry(path="p.bin", size_bytes=10_240, sha256=GOLDEN)
    with tarfile.open(tmp_path / "p.bin") as archive:
        assert archive.getnames() == ["Z", "a", "a.b", "a/c", "b", "b/empty", "ä"]
