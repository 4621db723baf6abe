"""The local Kaggle's datasets keep Kaggle's rules."""

import io
import zipfile

import pytest

from orchestrator.rehearsal.local_kaggle.archives import write_zip
from orchestrator.rehearsal.local_kaggle.rules import KaggleRefusal, Rules
from tests.unit.worlds import OWNER, SmallWorld


def status(small: SmallWorld, slug: str = "some-data") -> str:
    with small.world.at_now() as now:
        return small.world.datasets.find(OWNER, slug).status(now)


def current(small: SmallWorld, slug: str = "some-data") -> tuple[int, dict[str, bytes]]:
    with small.world.at_now() as now:
        dataset = small.world.datasets.find(OWNER, slug)
        ready = dataset.ready(now)
        files = ready.files if ready is not None else {}
        return dataset.current(now).number, {name: file.read() for name, file in files.items()}


def test_a_first_version_goes_through_kaggles_words_until_it_is_ready() -> None:
    small = SmallWorld(rules=Rules(dataset_processing_s=50))
    small.create("some-data", a=b"1")
    words = [status(small)]
    words += [status(small.after(10)) for _ in range(5)]
    assert words == [
        "NOT_YET_PERSISTED",
        "BLOBS_RECEIVED",
        "BLOBS_DECOMPRESSED",
        "BLOBS_COPIED_TO_SDS",
        "INDIVIDUAL_BLOBS_COMPRESSED",
        "READY",
    ]


def test_nothing_of_a_first_version_is_seen_before_it_is_ready() -> None:
    small = SmallWorld(rules=Rules(dataset_processing_s=50))
    small.create("some-data", a=b"1")
    assert current(small) == (1, {})
    assert current(small.after(50)) == (1, {"a": b"1"})


def test_while_a_second_version_is_processed_the_first_one_answers_ready() -> None:
    small = SmallWorld(rules=Rules(dataset_processing_s=50))
    small.create("some-data", a=b"1")
    small.after(50).add_version("some-data", b=b"2")
    assert status(small) == "READY"
    assert current(small) == (1, {"a": b"1"})
    assert current(small.after(50)) == (2, {"b": b"2"})


def test_a_new_version_is_refused_while_the_first_is_processed() -> None:
    small = SmallWorld()
    small.create("some-data", a=b"1")
    with pytest.raises(KaggleRefusal) as refused:
        small.add_version("some-data", a=b"2")
    assert refused.value.code == 403


def test_old_versions_are_deleted_only_once_the_new_one_is_ready() -> None:
    small = SmallWorld(rules=Rules(dataset_processing_s=50))
    small.create("some-data", a=b"1")
    small.after(50).add_version("some-data", delete_old=True, a=b"2")
    assert current(small) == (1, {"a": b"1"})
    small.after(50)
    with small.world.at_now() as now:
        assert [version.number for version in small.world.datasets.find(OWNER, "some-data").kept(now)] == [2]
        with pytest.raises(KaggleRefusal) as refused:
            small.world.datasets.version(OWNER, "some-data", 1, now)
    assert refused.value.code == 404


def test_a_name_that_is_taken_is_refused_in_kaggles_words() -> None:
    small = SmallWorld()
    small.create("some-data", a=b"1")
    with pytest.raises(ValueError, match="already in use by a dataset"):
        small.create("some-data", a=b"2")


@pytest.mark.parametrize("slug", ["short", "x" * 51])
def test_a_slug_has_six_to_fifty_characters(slug: str) -> None:
    with pytest.raises(ValueError, match="between 6 and 50"):
        SmallWorld().create(slug, a=b"1")


@pytest.mark.parametrize("slug", ["../../escaped", "with/slash", "-begins", "with space", "nul\0nul"])
def test_a_slug_cannot_lead_anywhere(slug: str) -> None:
    with pytest.raises(ValueError, match="letters, digits and hyphens"):
        SmallWorld().create(slug, a=b"1")


@pytest.mark.parametrize("name", ["../escaped", "/absolute", "a/../../b", "a//b", "./a", "nul\0", "a\\b", "a\nb", ""])
def test_a_file_name_that_climbs_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="Invalid file name"):
        SmallWorld().create("some-data", **{name: b"1"})


def test_an_empty_dataset_and_one_with_too_many_files_are_refused() -> None:
    with pytest.raises(ValueError, match="At least one file"):
        SmallWorld().create("some-data")
    with pytest.raises(ValueError, match="at most 50"):
        SmallWorld().create("some-data", **{f"file-{number}": b"" for number in range(51)})


def test_fifty_top_level_names_may_hold_more_files() -> None:
    SmallWorld().create("some-data", **{f"folder/{number}": b"" for number in range(51)})


def _zip_of(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_an_archive_is_unpacked_and_its_own_name_is_lost() -> None:
    small = SmallWorld()
    packed = _zip_of(**{"x.txt": b"x", "deep/y.txt": b"y", "../evil": b"z"})
    small.create("some-data", **{"tree.zip": packed, "state.bin": packed, "broken.zip": b"not a zip"})
    _, files = current(small.after(100))
    assert files == {"x.txt": b"x", "deep/y.txt": b"y", "state.bin": packed, "broken.zip": b"not a zip"}


def test_a_deleted_dataset_is_gone() -> None:
    small = SmallWorld()
    small.create("some-data", a=b"1")
    with small.world.at_now():
        small.world.datasets.delete(OWNER, "some-data")
        with pytest.raises(KaggleRefusal):
            small.world.datasets.delete(OWNER, "some-data")
    small.create("some-data", a=b"2")
    assert current(small.after(100)) == (1, {"a": b"2"})


def test_a_zip_of_all_files_holds_every_byte() -> None:
    small = SmallWorld()
    small.create("some-data", **{"a.bin": b"a" * 5_000, "folder/b.bin": b""})
    buffer = io.BytesIO()
    with small.after(100).world.at_now() as now:
        ready = small.world.datasets.find(OWNER, "some-data").ready(now)
    assert ready is not None
    write_zip(ready.files, buffer)
    with zipfile.ZipFile(buffer) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "a.bin": b"a" * 5_000,
            "folder/b.bin": b"",
        }
