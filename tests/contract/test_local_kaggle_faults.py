"""A fault plan makes the local Kaggle misbehave on the wire as the real one was seen to."""

import json
from pathlib import Path
from typing import Any

import pytest
import requests

from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, FaultPlan
from orchestrator.rehearsal.local_kaggle.sandbox import Played
from tests.contract.local import AT_ONCE, BLOBS, DATASETS, KERNELS, PATIENCE_S, scripted
from tests.contract.test_local_kaggle import refusal

DATA = bytes(range(256)) * 2_000
PLAYED = Played(ends_after_s=10.0, lines=[(float(n), f"line {n}") for n in range(10)], files=[(5.0, "state.bin", DATA)])


def plan(call: str, action: CallAction, **more: Any) -> FaultPlan:
    return FaultPlan(calls=(CallFault(call=call, action=action, **more),))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "word"), [(429, "RESOURCE_EXHAUSTED"), (500, "INTERNAL"), (503, "UNAVAILABLE"), (502, "UNKNOWN")]
)
def test_a_status_comes_in_kaggles_shape_and_without_any_effect(tmp_path: Path, status: int, word: str) -> None:
    faults = plan("SaveKernel", CallAction.STATUS, status=status, retry_after_s=7)
    with scripted(tmp_path, faults=faults) as client:
        answer = client.ask(KERNELS, "SaveKernel", slug="rehearsal/some-kernel", newTitle="some-kernel", text="x")
        assert refusal(answer) == (status, word)
        assert answer.headers["Retry-After"] == "7"
        assert refusal(client.ask(KERNELS, "GetKernel", userName="rehearsal", kernelSlug="some-kernel"))[0] == 403


@pytest.mark.slow
def test_too_many_requests_may_not_say_how_long_to_wait(tmp_path: Path) -> None:
    with scripted(tmp_path, faults=plan("*", CallAction.STATUS, status=429)) as client:
        assert "Retry-After" not in client.ask(KERNELS, "ListKernels").headers
        assert client.ask(KERNELS, "ListKernels").status_code == 200


@pytest.mark.slow
def test_an_empty_object_or_a_page_of_html_comes_under_status_200(tmp_path: Path) -> None:
    faults = FaultPlan(
        calls=(
            CallFault(call="GetKernelSessionStatus", action=CallAction.EMPTY, nth=1),
            CallFault(call="GetKernelSessionStatus", action=CallAction.HTML, nth=2),
        )
    )
    with scripted(tmp_path, faults=faults) as client:
        client.push()
        where = {"userName": "rehearsal", "kernelSlug": "some-kernel"}
        assert client.json(KERNELS, "GetKernelSessionStatus", **where) == {}
        html = client.ask(KERNELS, "GetKernelSessionStatus", **where)
        assert client.status() == {"status": "RUNNING"}
    assert (html.status_code, html.headers["Content-Type"].partition(";")[0]) == (200, "text/html")
    assert html.text.startswith("<!DOCTYPE html>")


@pytest.mark.slow
def test_a_lost_answer_leaves_its_effect(tmp_path: Path) -> None:
    with scripted(tmp_path, faults=plan("SaveKernel", CallAction.LOST)) as client:
        with pytest.raises(requests.ConnectionError):
            client.push()
        assert client.status() == {"status": "RUNNING"}


@pytest.mark.slow
def test_an_answer_may_end_in_its_middle(tmp_path: Path) -> None:
    with scripted(tmp_path, faults=plan("SaveKernel", CallAction.CUT, after_bytes=10)) as client:
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            client.push()
        assert client.status() == {"status": "RUNNING"}


@pytest.mark.slow
@pytest.mark.parametrize("after_bytes", [0, 1, 100_000])
def test_a_download_that_is_cut_brings_its_beginning_and_goes_on_by_range(tmp_path: Path, after_bytes: int) -> None:
    faults = plan("OutputFile", CallAction.CUT, after_bytes=after_bytes)
    with scripted(tmp_path, PLAYED, faults=faults) as client:
        client.push()
        client.clock.sleep(10)
        url = client.output()["files"][0]["url"]
        got = bytearray()
        with requests.get(url, stream=True, timeout=PATIENCE_S) as response:
            assert response.headers["Content-Length"] == str(len(DATA))
            with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
                for block in response.iter_content(1):
                    got += block
        assert got == DATA[:after_bytes]
        rest = requests.get(url, headers={"Range": f"bytes={after_bytes}-"}, timeout=PATIENCE_S)
        assert got + rest.content == DATA


def test_an_upload_that_is_cut_after_its_last_byte_has_arrived_and_only_its_answer_is_missing(tmp_path: Path) -> None:
    with scripted(tmp_path, faults=plan("BlobUpload", CallAction.CUT, after_bytes=1_000, status=503)) as client:
        started = client.json(BLOBS, "StartBlobUpload", type="DATASET", name="state.bin", contentLength=100)
        assert refusal(requests.put(started["createUrl"], data=DATA[:100], timeout=PATIENCE_S)) == (503, "UNAVAILABLE")
        told = requests.put(started["createUrl"], headers={"Content-Range": "bytes */100"}, timeout=PATIENCE_S)
        assert told.status_code == 200


@pytest.mark.slow
def test_a_small_upload_that_is_cut_is_answered_although_its_body_has_ended(tmp_path: Path) -> None:
    with scripted(tmp_path, faults=plan("BlobUpload", CallAction.CUT, after_bytes=10, status=503)) as client:
        started = client.json(BLOBS, "StartBlobUpload", type="DATASET", name="state.bin", contentLength=100)
        assert refusal(requests.put(started["createUrl"], data=DATA[:100], timeout=PATIENCE_S)) == (503, "UNAVAILABLE")
        told = requests.put(started["createUrl"], headers={"Content-Range": "bytes */100"}, timeout=PATIENCE_S)
        assert (told.status_code, told.headers["Range"]) == (308, "bytes=0-9")


@pytest.mark.slow
@pytest.mark.parametrize("status", [503, 0])
def test_an_upload_that_is_cut_keeps_its_beginning(tmp_path: Path, status: int) -> None:
    faults = plan("BlobUpload", CallAction.CUT, after_bytes=100_000, status=status)
    with scripted(tmp_path, faults=faults) as client:
        started = client.json(BLOBS, "StartBlobUpload", type="DATASET", name="state.bin", contentLength=len(DATA))
        url = started["createUrl"]
        if status:
            assert refusal(requests.put(url, data=DATA, timeout=PATIENCE_S)) == (503, "UNAVAILABLE")
        else:
            with pytest.raises(requests.ConnectionError):
                requests.put(url, data=DATA, timeout=PATIENCE_S)
        told = requests.put(url, headers={"Content-Range": f"bytes */{len(DATA)}"}, timeout=PATIENCE_S)
        assert (told.status_code, told.headers["Range"]) == (308, "bytes=0-99999")
        headers = {"Content-Range": f"bytes 100000-{len(DATA) - 1}/{len(DATA)}"}
        assert requests.put(url, data=DATA[100_000:], headers=headers, timeout=PATIENCE_S).status_code == 200
        files = [{"token": started["token"]}]
        client.json(DATASETS, "CreateDataset", ownerSlug="rehearsal", slug="some-data", title="t", files=files)
        where = {"ownerSlug": "rehearsal", "datasetSlug": "some-data", "fileName": "state.bin"}
        found = client.ask(DATASETS, "DownloadDataset", **where)
        assert requests.get(found.headers["Location"], timeout=PATIENCE_S).content == DATA


@pytest.mark.slow
def test_a_log_stream_that_is_cut_begins_anew_at_the_first_line(tmp_path: Path) -> None:
    faults = plan("LogStream", CallAction.CUT, after_bytes=100)
    with scripted(tmp_path, PLAYED, AT_ONCE, faults) as client:
        client.push()
        client.clock.sleep(5)
        got = b""
        with client.stream() as response, pytest.raises(requests.exceptions.ChunkedEncodingError):
            for block in response.iter_content(1):
                got += block
        assert len(got) == 100
        client.clock.sleep(10)
        with client.stream() as again:
            assert [entry["data"] for entry in json.loads(again.text)] == [f"line {n}\n" for n in range(10)]


@pytest.mark.slow
def test_an_answer_that_hangs_comes_late_and_whole(tmp_path: Path) -> None:
    with scripted(tmp_path, faults=plan("SaveKernel", CallAction.HANG, seconds=0.05)) as client:
        assert client.push()["versionNumber"] == 1


@pytest.mark.slow
def test_a_call_that_hangs_holds_up_nobody_else_and_not_the_end(tmp_path: Path) -> None:
    with scripted(tmp_path, faults=plan("ListKernels", CallAction.HANG, seconds=3600)) as client:
        with pytest.raises(requests.ReadTimeout):
            requests.post(f"{client.kaggle.url}/api/v1/{KERNELS}/ListKernels", json={}, timeout=0.2)
        assert client.push()["versionNumber"] == 1


@pytest.mark.slow
def test_a_link_may_be_refused_although_it_is_fresh(tmp_path: Path) -> None:
    with scripted(tmp_path, PLAYED, faults=plan("OutputFile", CallAction.STATUS, status=403)) as client:
        client.push()
        client.clock.sleep(10)
        url = client.output()["files"][0]["url"]
        assert requests.get(url, timeout=PATIENCE_S).status_code == 403
        assert requests.get(url, timeout=PATIENCE_S).content == DATA
