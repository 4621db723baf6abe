"""The local Kaggle's datasets and uploads on the wire: resumable as Kaggle's protocol says, listed and fetched whole."""

import io
import socket
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from kagglesdk.blobs.types import blob_api_service as blob_types
from kagglesdk.datasets.types import dataset_api_service as dataset_types

from tests.contract.local import AT_ONCE, BLOBS, DATASETS, PATIENCE_S, Client, scripted
from tests.contract.test_local_kaggle import refusal, seen

DATA = bytes(range(256)) * 2_000
HERE = {"ownerSlug": "rehearsal", "datasetSlug": "some-data"}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with scripted(tmp_path) as client:
        yield client


def begin(client: Client, size: int = len(DATA), name: str = "state.bin") -> tuple[str, str]:
    """Token and address of an upload that has begun."""
    sized = {"contentLength": size} if size else {}
    value = client.json(BLOBS, "StartBlobUpload", type="DATASET", name=name, **sized)
    seen(blob_types.ApiStartBlobUploadResponse, value)
    return value["token"], value["createUrl"]


def probe(url: str, size: int = len(DATA)) -> requests.Response:
    """Ask how much has arrived."""
    headers = {"Content-Length": "0", "Content-Range": f"bytes */{size}"}
    return requests.put(url, headers=headers, timeout=PATIENCE_S)


def send(url: str, start: int, end: int, size: int = len(DATA)) -> requests.Response:
    """Send a piece."""
    headers = {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
    return requests.put(url, data=DATA[start:end], headers=headers, timeout=PATIENCE_S)


def cut(url: str, data: bytes, announced: int) -> None:
    """Send the beginning of a body and end the connection."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=PATIENCE_S) as connection:
        head = f"PUT {parts.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {announced}\r\n\r\n"
        connection.sendall(head.encode() + data)


def make(client: Client, *tokens: str) -> dict[str, Any]:
    """A dataset of uploads."""
    files = [{"token": token} for token in tokens]
    return client.json(DATASETS, "CreateDataset", ownerSlug="rehearsal", slug="some-data", title="t", files=files)


def fetched(client: Client, **fields: Any) -> bytes:
    """What a download brings."""
    found = client.ask(DATASETS, "DownloadDataset", **HERE, **fields)
    assert found.status_code == 302, found.text
    return requests.get(found.headers["Location"], timeout=PATIENCE_S).content


# --- uploads ----------------------------------------------------------------


def test_a_whole_upload_becomes_the_file_of_a_dataset(client: Client) -> None:
    token, url = begin(client)
    assert requests.put(url, data=DATA, timeout=PATIENCE_S).status_code == 200
    assert probe(url).status_code == 200
    answer = seen(dataset_types.ApiCreateDatasetResponse, make(client, token))
    assert (answer.ref, answer.status, answer.error) == ("rehearsal/some-data", "ok", "")
    assert fetched(client, fileName="state.bin") == DATA


def test_an_upload_that_was_cut_off_goes_on_where_it_stopped(client: Client) -> None:
    token, url = begin(client)
    empty = probe(url)
    assert (empty.status_code, empty.headers.get("Range")) == (308, None)
    cut(url, DATA[:70_000], len(DATA))
    deadline = time.monotonic() + PATIENCE_S
    while "Range" not in (told := probe(url)).headers and time.monotonic() < deadline:
        time.sleep(0.05)  # a busy server has not read what arrived
    assert told.status_code == 308
    arrived = int(told.headers["Range"].removeprefix("bytes=0-")) + 1
    assert 0 < arrived <= 70_000
    piece = send(url, arrived, 300_000)
    assert (piece.status_code, piece.headers["Range"]) == (308, "bytes=0-299999")
    assert send(url, 300_000, len(DATA)).status_code == 200
    make(client, token)
    assert fetched(client, fileName="state.bin") == DATA


def test_a_piece_that_overlaps_what_arrived_changes_nothing_and_one_that_leaves_a_hole_is_refused(
    client: Client,
) -> None:
    token, url = begin(client)
    send(url, 0, 1_000)
    assert refusal(send(url, 1_001, 2_000)) == (400, "INVALID_ARGUMENT")
    assert send(url, 500, 2_000).headers["Range"] == "bytes=0-1999"
    assert send(url, 0, 10).headers["Range"] == "bytes=0-1999"
    assert send(url, 2_000, len(DATA)).status_code == 200
    make(client, token)
    assert fetched(client, fileName="state.bin") == DATA


def test_bytes_beyond_the_announced_size_are_dropped(client: Client) -> None:
    token, url = begin(client, size=10)
    assert requests.put(url, data=DATA, timeout=PATIENCE_S).status_code == 200
    make(client, token)
    assert fetched(client, fileName="state.bin") == DATA[:10]


def test_an_empty_file_arrives_chunked_or_with_a_length_of_zero(client: Client) -> None:
    chunked, plain = begin(client, 0, "chunked.txt"), begin(client, 0, "plain.txt")
    assert requests.put(chunked[1], data=iter(()), timeout=PATIENCE_S).status_code == 200
    assert requests.put(plain[1], headers={"Content-Range": "bytes 0--1/0"}, timeout=PATIENCE_S).status_code == 200
    make(client, chunked[0], plain[0])
    listed = client.json(DATASETS, "ListDatasetFiles", **HERE)["datasetFiles"]
    assert [(file["name"], file.get("totalBytes", 0)) for file in listed] == [("chunked.txt", 0), ("plain.txt", 0)]


@pytest.mark.slow
def test_an_upload_that_never_was_or_has_expired_is_not_found(tmp_path: Path) -> None:
    with scripted(tmp_path, rules=replace(AT_ONCE, upload_ttl_s=100.0)) as client:
        _, url = begin(client)
        assert refusal(probe(url + "x")) == (404, "NOT_FOUND")
        client.clock.sleep(100)
        assert refusal(probe(url)) == (404, "NOT_FOUND")
        assert refusal(send(url, 0, 10)) == (404, "NOT_FOUND")


def test_a_range_that_makes_no_sense_is_refused(client: Client) -> None:
    _, url = begin(client)
    answer = requests.put(url, data=b"x", headers={"Content-Range": "bytes x-y/z"}, timeout=PATIENCE_S)
    assert refusal(answer) == (400, "INVALID_ARGUMENT")


def test_a_dataset_of_an_upload_that_is_not_whole_is_refused(client: Client) -> None:
    token, url = begin(client)
    send(url, 0, 10)
    for unfit in (token, "no-such-token"):
        files = [{"token": unfit}]
        answer = client.ask(DATASETS, "CreateDataset", ownerSlug="rehearsal", slug="some-data", title="t", files=files)
        assert refusal(answer) == (400, "INVALID_ARGUMENT")


def test_a_name_cannot_lead_out_of_the_place_of_uploads(client: Client) -> None:
    token, url = begin(client, 3, "../../../escaped.txt")
    requests.put(url, data=b"abc", timeout=PATIENCE_S)
    make(client, token)
    assert [file["name"] for file in client.json(DATASETS, "ListDatasetFiles", **HERE)["datasetFiles"]] == [
        "escaped.txt"
    ]


# --- datasets ---------------------------------------------------------------


@pytest.mark.slow
def test_a_dataset_goes_through_its_states_and_then_shows_everything(tmp_path: Path) -> None:
    with scripted(tmp_path, rules=replace(AT_ONCE, dataset_processing_s=50.0)) as client:
        client.create("some-data", a=b"12345")
        early = client.json(DATASETS, "GetDataset", **HERE)
        assert client.json(DATASETS, "GetDatasetStatus", **HERE) == {}
        client.clock.sleep(20)
        assert client.json(DATASETS, "GetDatasetStatus", **HERE) == {"status": "BLOBS_DECOMPRESSED"}
        assert client.json(DATASETS, "ListDatasetFiles", **HERE) == {}
        assert refusal(client.ask(DATASETS, "DownloadDataset", **HERE)) == (404, "NOT_FOUND")
        client.clock.sleep(30)
        assert client.json(DATASETS, "GetDatasetStatus", **HERE) == {"status": "READY"}
        ready = client.json(DATASETS, "GetDataset", **HERE)
    assert "totalBytes" not in early
    answer = dataset_types.ApiDataset.from_dict(ready)
    assert (answer.ref, answer.current_version_number, answer.total_bytes) == ("rehearsal/some-data", 1, 5)
    assert (answer.is_private, answer.owner_ref) == (True, "rehearsal")
    assert [(file.name, file.total_bytes) for file in answer.files] == [("a", 5)]
    assert [(version.version_number, version.status) for version in answer.versions] == [(1, "Ready")]


@pytest.mark.slow
def test_a_new_version_replaces_all_files_and_old_ones_are_still_there_by_number(tmp_path: Path) -> None:
    with scripted(tmp_path, rules=replace(AT_ONCE, dataset_processing_s=50.0)) as client:
        client.create("some-data", a=b"1", b=b"2")
        body = {"versionNotes": "second", "files": [{"token": client.upload("a", b"changed")}]}
        early = client.ask(DATASETS, "CreateDatasetVersion", **HERE, body=body)
        assert refusal(early) == (403, "PERMISSION_DENIED")
        client.clock.sleep(50)
        assert client.json(DATASETS, "CreateDatasetVersion", **HERE, body=body)["status"] == "ok"
        assert client.json(DATASETS, "GetDatasetStatus", **HERE) == {"status": "READY"}
        during = client.json(DATASETS, "GetDataset", **HERE)
        client.clock.sleep(50)
        after = client.json(DATASETS, "GetDataset", **HERE)
        assert (fetched(client, fileName="a"), fetched(client, fileName="a", datasetVersionNumber=1)) == (
            b"changed",
            b"1",
        )
        assert refusal(client.ask(DATASETS, "ListDatasetFiles", **HERE, datasetVersionNumber=3)) == (404, "NOT_FOUND")
    assert (during["currentVersionNumber"], after["currentVersionNumber"]) == (1, 2)
    assert [version["status"] for version in during["versions"]] == ["Pending", "Ready"]
    assert [version["versionNotes"] for version in after["versions"]] == ["second", "Initial release"]


def test_a_version_is_added_by_number_of_the_dataset_too(client: Client) -> None:
    client.create("some-data", a=b"1")
    number = client.json(DATASETS, "GetDataset", **HERE)["id"]
    body = {"files": [{"token": client.upload("b", b"2")}], "deleteOldVersions": True}
    assert client.json(DATASETS, "CreateDatasetVersionById", id=number, body=body)["ref"] == "rehearsal/some-data"
    assert [version["versionNumber"] for version in client.json(DATASETS, "GetDataset", **HERE)["versions"]] == [2]
    assert refusal(client.ask(DATASETS, "CreateDatasetVersionById", id=1, body=body)) == (404, "NOT_FOUND")


def test_a_name_that_is_taken_and_a_bad_slug_are_errors_under_status_200(client: Client) -> None:
    client.create("some-data", a=b"1")
    taken = client.create("some-data", a=b"2")
    short = client.create("short", a=b"3")
    assert (taken["status"], "already in use" in taken["error"]) == ("error", True)
    assert (short["status"], "between 6 and 50" in short["error"]) == ("error", True)
    other = client.ask(DATASETS, "CreateDataset", ownerSlug="bob", slug="some-other", title="t", files=[])
    assert refusal(other) == (403, "PERMISSION_DENIED")


def test_a_tree_keeps_its_directories(client: Client) -> None:
    root, one, two = (client.upload(name, name.encode()) for name in ("root.txt", "one.txt", "two.txt"))
    inner = {"name": "inner", "files": [{"token": two}]}
    directories = [{"name": "outer", "files": [{"token": one}], "directories": [inner]}]
    asked = {"ownerSlug": "rehearsal", "slug": "some-data", "title": "t"}
    client.json(DATASETS, "CreateDataset", **asked, files=[{"token": root}], directories=directories)
    top = client.json(DATASETS, "ListTreeDatasetFiles", **HERE)
    outer = client.json(DATASETS, "ListTreeDatasetFiles", **HERE, path="outer")
    assert [entry["name"] for entry in top["directories"]] == ["outer"]
    assert [entry["name"] for entry in top["files"]] == ["root.txt"]
    assert outer["directories"] == [{"name": "inner", "relativeUrl": "outer/inner"}]
    assert outer["files"] == [{"name": "one.txt", "totalBytes": 7, "relativeUrl": "outer/one.txt"}]
    names = [file["name"] for file in client.json(DATASETS, "ListDatasetFiles", **HERE)["datasetFiles"]]
    assert names == ["outer/inner/two.txt", "outer/one.txt", "root.txt"]
    with zipfile.ZipFile(io.BytesIO(fetched(client))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "outer/inner/two.txt": b"two.txt",
            "outer/one.txt": b"one.txt",
            "root.txt": b"root.txt",
        }


@pytest.mark.slow
def test_files_are_listed_in_pages(client: Client) -> None:
    client.create("some-data", **{f"file-{number:02d}": b"x" for number in range(45)})
    pages, token = [], ""
    while True:
        page = client.json(DATASETS, "ListDatasetFiles", **HERE, **({"pageToken": token} if token else {}))
        seen(dataset_types.ApiListDatasetFilesResponse, page)
        pages.append([file["name"] for file in page["datasetFiles"]])
        if not (token := page.get("nextPageToken", "")):
            break
    assert [len(page) for page in pages] == [20, 20, 5]
    assert [name for page in pages for name in page] == [f"file-{number:02d}" for number in range(45)]


def test_what_is_said_of_a_dataset_can_be_read_and_changed(client: Client) -> None:
    client.create("some-data", a=b"1")
    before = client.json(DATASETS, "GetDatasetMetadata", **HERE)
    seen(dataset_types.ApiGetDatasetMetadataResponse, before)
    assert before["info"]["licenses"] == [{"name": "CC0-1.0"}]
    settings = {"title": "Another title", "subtitle": "s" * 20, "isPrivate": False, "keywords": ["tpu"]}
    assert client.json(DATASETS, "UpdateDatasetMetadata", **HERE, settings=settings) == {}
    info = client.json(DATASETS, "GetDatasetMetadata", **HERE)["info"]
    assert (info["title"], info["subtitle"], info["keywords"]) == ("Another title", "s" * 20, ["tpu"])
    assert "isPrivate" not in info
    assert info["licenses"] == [{"name": "CC0-1.0"}]
    bad = client.json(DATASETS, "UpdateDatasetMetadata", **HERE, settings={"title": "x"})
    assert bad == {"errors": ["The dataset title must be between 6 and 50 characters"]}


def test_datasets_are_listed_found_and_deleted(client: Client) -> None:
    client.create("some-data", a=b"12345")
    client.create("other-data", a=b"1")
    mine = client.json(DATASETS, "ListDatasets", group="DATASET_SELECTION_GROUP_MY")["datasets"]
    assert [(dataset["ref"], dataset["totalBytes"]) for dataset in mine] == [
        ("rehearsal/other-data", 1),
        ("rehearsal/some-data", 5),
    ]
    group = {"group": "DATASET_SELECTION_GROUP_MY"}
    found = client.json(DATASETS, "ListDatasets", **group, search="some")["datasets"]
    assert [dataset["ref"] for dataset in found] == ["rehearsal/some-data"]
    assert client.json(DATASETS, "ListDatasets", search="some") == {}, "others see no private dataset"
    assert client.json(DATASETS, "DeleteDataset", **HERE) == {}
    for method in ("DeleteDataset", "GetDataset", "GetDatasetStatus", "GetDatasetMetadata", "DownloadDataset"):
        assert refusal(client.ask(DATASETS, method, **HERE)) == (404, "NOT_FOUND")


def test_a_file_that_is_not_in_a_dataset_is_not_found(client: Client) -> None:
    client.create("some-data", a=b"1")
    assert refusal(client.ask(DATASETS, "DownloadDataset", **HERE, fileName="b")) == (404, "NOT_FOUND")
