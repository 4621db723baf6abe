"""The local Kaggle answers on the wire as Kaggle does: kernels, their logs and outputs, and who may ask."""

import base64
import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from kagglesdk.datasets.types import dataset_api_service as dataset_types
from kagglesdk.kernels.types import kernels_api_service as kernel_types
from kagglesdk.kernels.types.kernels_enums import KernelWorkerStatus

from orchestrator.rehearsal.local_kaggle.rules import TIME_LIMIT_MESSAGE, PerKind, Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Played
from tests.contract.local import AT_ONCE, DATASETS, KERNELS, PATIENCE_S, Client, scripted

PLAYED = Played(
    ends_after_s=100.0,
    lines=[(1.5, "begin"), (90.0, "end")],
    files=[(50.0, "relay/state.bin", bytes(range(256)) * 40), (60.0, "a b/ü.txt", b"")],
)


def seen(answer: type, value: dict[str, Any]) -> Any:
    """The answer as kagglesdk reads it, after proof that it overlooks nothing and that no default value was sent."""
    read = answer.from_dict(value)  # type: ignore[attr-defined]
    assert set(read.to_dict()) == set(value)
    return read


def refusal(answer: requests.Response) -> tuple[int, str]:
    """Status and word of an error in Kaggle's nested shape."""
    error = answer.json()["error"]
    assert error["code"] == answer.status_code
    assert error["message"]
    return answer.status_code, error["status"]


# --- kernels ----------------------------------------------------------------


@pytest.mark.slow
def test_a_push_answers_what_kaggles_client_reads(tmp_path: Path) -> None:
    with scripted(tmp_path) as client:
        value = client.push(datasetDataSources=["rehearsal/nothing"], competitionDataSources=["titanic"])
        answer = seen(kernel_types.ApiSaveKernelResponse, value)
    assert (answer.ref, answer.version_number, answer.error) == ("/code/rehearsal/some-kernel", 1, "")
    assert answer.url == "https://www.kaggle.com/code/rehearsal/some-kernel"
    assert answer.invalid_dataset_sources == ["rehearsal/nothing"]
    assert answer.invalid_competition_sources == ["titanic"]
    assert answer.kernel_id > 0


@pytest.mark.slow
def test_a_queued_session_is_an_empty_object_and_the_others_have_their_names(tmp_path: Path) -> None:
    rules = replace(AT_ONCE, queue_s=PerKind.all(10.0))
    with scripted(tmp_path, PLAYED, rules) as client:
        client.push()
        values = [client.status()]
        for _ in range(2):
            client.clock.sleep(50)
            values.append(client.status())
        client.clock.sleep(60)
        values.append(client.status(versionLabel="v1"))
    assert values == [{}, {"status": "RUNNING"}, {"status": "RUNNING"}, {"status": "COMPLETE"}]
    read = seen(kernel_types.ApiGetKernelSessionStatusResponse, values[0])
    assert read.status is KernelWorkerStatus.QUEUED


@pytest.mark.slow
def test_a_session_over_its_limit_is_acknowledged_with_kaggles_message(tmp_path: Path) -> None:
    with scripted(tmp_path, PLAYED) as client:
        client.push(sessionTimeoutSeconds=30)
        client.clock.sleep(31)
        assert client.status() == {"status": "CANCEL_ACKNOWLEDGED", "failureMessage": TIME_LIMIT_MESSAGE}


@pytest.mark.slow
def test_one_tpu_session_too_many_is_an_error_text_under_status_200(tmp_path: Path) -> None:
    with scripted(tmp_path) as client:
        client.push("first-kernel", machineShape="TpuV5E8")
        answer = seen(kernel_types.ApiSaveKernelResponse, client.push("second-kernel", enableTpu=True))
        assert answer.error == "Maximum batch TPU session count of 1 reached."
        assert answer.version_number is None or answer.version_number == 0
        assert client.status("second-kernel") == {"status": "NEW_SCRIPT"}


@pytest.mark.slow
def test_a_quick_save_starts_nothing(tmp_path: Path) -> None:
    with scripted(tmp_path) as client:
        assert client.push(kernelExecutionType="QUICK_SAVE")["versionNumber"] == 1
        assert client.status() == {"status": "NEW_SCRIPT"}
        assert client.push(kernelExecutionType="SAVE_AND_RUN_ALL")["versionNumber"] == 2
        assert client.status() == {"status": "RUNNING"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "fields", "expected"),
    [
        ("GetKernelSessionStatus", {"kernelSlug": "nowhere"}, (403, "PERMISSION_DENIED")),
        ("ListKernelSessionOutput", {"kernelSlug": "nowhere"}, (403, "PERMISSION_DENIED")),
        ("GetKernel", {"kernelSlug": "nowhere"}, (403, "PERMISSION_DENIED")),
        ("GetKernel", {"kernelSlug": "some-kernel/1"}, (403, "PERMISSION_DENIED")),
        ("DeleteKernel", {"kernelSlug": "nowhere"}, (403, "PERMISSION_DENIED")),
        ("GetKernelSessionStatus", {"kernelSlug": "some-kernel", "versionLabel": "1"}, (404, "NOT_FOUND")),
        ("GetKernel", {"kernelSlug": "some-kernel", "versionLabel": "v2"}, (404, "NOT_FOUND")),
        ("CancelKernelSession", {"kernelSessionId": 1}, (403, "PERMISSION_DENIED")),
        ("ListKernelFiles", {"kernelSlug": "some-kernel", "pageToken": "x"}, (400, "INVALID_ARGUMENT")),
        ("GetKernel", {"kernelSlug": 7}, (400, "INVALID_ARGUMENT")),
        ("SaveKernel", {"slug": "rehearsal/some-kernel", "text": "\ud800"}, (400, "INVALID_ARGUMENT")),
        ("SaveKernel", {"slug": "rehearsal/other-kernel", "text": ""}, (400, "INVALID_ARGUMENT")),
        ("SaveKernel", {"slug": "bob/some-kernel", "text": "", "newTitle": "some-kernel"}, (403, "PERMISSION_DENIED")),
        ("SaveKernel", {"slug": "rehearsal/some-kernel", "text": "x" * 1_000_000}, (400, "INVALID_ARGUMENT")),
        ("NoSuchMethod", {}, (501, "UNIMPLEMENTED")),
    ],
)
def test_a_refusal_has_the_nested_shape_of_kaggles_errors(
    tmp_path: Path, method: str, fields: dict[str, Any], expected: tuple[int, str]
) -> None:
    with scripted(tmp_path) as client:
        client.push()
        assert refusal(client.ask(KERNELS, method, userName="rehearsal", **fields)) == expected


@pytest.mark.slow
@pytest.mark.parametrize("body", ["{", "[]", "3", "\xff"])
def test_a_body_that_is_no_json_object_is_an_invalid_argument(tmp_path: Path, body: str) -> None:
    with scripted(tmp_path) as client:
        url = f"{client.kaggle.url}/api/v1/{KERNELS}/SaveKernel"
        answer = requests.post(url, data=body.encode("latin-1"), headers=client.headers, timeout=PATIENCE_S)
        assert refusal(answer) == (400, "INVALID_ARGUMENT")


@pytest.mark.slow
def test_a_pulled_kernel_has_its_source_and_what_was_asked_for_it(tmp_path: Path) -> None:
    with scripted(tmp_path) as client:
        client.push(text="first", enableInternet=True, machineShape="TpuV5E8", categoryIds=["tpu"])
        client.clock.sleep(1000)
        client.push(text='{"cells": []}', kernelType="notebook")
        where = {"userName": "rehearsal", "kernelSlug": "some-kernel"}
        old = client.json(KERNELS, "GetKernel", **where, versionLabel="v1")
        new = seen(kernel_types.ApiGetKernelResponse, client.json(KERNELS, "GetKernel", **where))
    assert old["blob"] == {"source": "first", "language": "python", "kernelType": "script", "slug": "some-kernel"}
    metadata = seen(kernel_types.ApiKernelMetadata, old["metadata"])
    assert (metadata.ref, metadata.title, metadata.author) == ("rehearsal/some-kernel", "some-kernel", "rehearsal")
    assert (metadata.machine_shape, metadata.enable_internet, metadata.is_private) == ("TpuV5E8", True, True)
    assert (metadata.current_version_number, metadata.category_ids) == (2, ["tpu"])
    assert (new.blob.source, new.blob.kernel_type) == ('{"cells": []}', "notebook")


@pytest.mark.slow
def test_kernels_are_listed_newest_first_in_pages(tmp_path: Path) -> None:
    with scripted(tmp_path) as client:
        for number in range(5):
            client.push(f"kernel-{number}", kernelExecutionType="QUICK_SAVE", isPrivate=number != 3)
        first = client.json(KERNELS, "ListKernels", group="PROFILE", pageSize=3)
        rest = client.json(KERNELS, "ListKernels", group="PROFILE", pageSize=3, pageToken=first["nextPageToken"])
        second_page = client.json(KERNELS, "ListKernels", group="PROFILE", pageSize=3, page=2)
        found = client.json(KERNELS, "ListKernels", search="KERNEL-")  # of everyone, so no private one
        others = client.json(KERNELS, "ListKernels", user="bob")
    assert [kernel["slug"] for kernel in first["kernels"]] == ["kernel-4", "kernel-3", "kernel-2"]
    assert [kernel["slug"] for kernel in rest["kernels"]] == ["kernel-1", "kernel-0"]
    assert second_page == rest
    assert "nextPageToken" not in rest
    assert [kernel["slug"] for kernel in found["kernels"]] == ["kernel-3"]
    assert others == {}


@pytest.mark.slow
def test_a_deleted_kernel_is_gone_and_its_slot_is_free(tmp_path: Path) -> None:
    with scripted(tmp_path) as client:
        client.push("first-kernel", enableTpu=True)
        assert client.json(KERNELS, "DeleteKernel", userName="rehearsal", kernelSlug="first-kernel") == {}
        assert "error" not in client.push("second-kernel", enableTpu=True)


@pytest.mark.slow
def test_quota_is_told_as_durations_that_are_never_left_out(tmp_path: Path) -> None:
    with scripted(tmp_path, PLAYED) as client:
        client.push(machineShape="TpuV5E8")
        client.clock.sleep(1000)
        value = client.json(KERNELS, "GetAcceleratorQuotaStatistics")
        answer = kernel_types.ApiGetAcceleratorQuotaStatisticsResponse.from_dict(value)
    assert value["tpuQuota"]["timeUsed"] == "100s"
    assert value["gpuQuota"]["timeUsed"] == "0s"
    assert value["quotaRefreshTime"] == "2030-01-12T00:00:00.000Z"
    assert (answer.tpu_quota.total_time_allowed.total_seconds(), answer.tpu_quota.has_ever_run) == (72_000, True)
    assert (answer.gpu_quota.time_reserved.total_seconds(), answer.gpu_quota.has_ever_run) == (0, False)


# --- output -----------------------------------------------------------------


@pytest.mark.slow
def test_output_is_listed_in_pages_of_twenty_and_of_two_hundred_at_most(tmp_path: Path) -> None:
    files = [(1.0, f"part-{number:04d}.bin", b"x") for number in range(450)]
    with scripted(tmp_path, Played(ends_after_s=2.0, files=files)) as client:
        client.push()
        client.clock.sleep(10)
        assert len(client.output()["files"]) == 20
        names, sizes, token = [], [], ""
        while True:
            page = client.output(pageSize=5000, **({"pageToken": token} if token else {}))
            names += [file["fileName"] for file in page["files"]]
            sizes.append(len(page["files"]))
            if not (token := page.get("nextPageToken", "")):
                break
        listed = client.json(KERNELS, "ListKernelFiles", userName="rehearsal", kernelSlug="some-kernel", pageSize=200)
    assert sizes == [200, 200, 50]
    assert names == [name for _, name, _ in files]
    assert listed["files"][0] == {"name": "part-0000.bin", "size": 1, "creationDate": "2030-01-07T00:00:01.000Z"}


def finished(client: Client) -> dict[str, str]:
    """Push, let it end, and give back the address of each output file."""
    client.push()
    client.clock.sleep(1000)
    answer = seen(kernel_types.ApiListKernelSessionOutputResponse, client.output())
    return {file.file_name: file.url for file in answer.files}


@pytest.mark.slow
def test_a_file_is_fetched_without_credentials_from_an_address_that_ends_in_its_name(tmp_path: Path) -> None:
    with scripted(tmp_path, PLAYED) as client:
        urls = finished(client)
        state = requests.get(urls["relay/state.bin"], timeout=PATIENCE_S)
        empty = requests.get(urls["a b/ü.txt"], timeout=PATIENCE_S)
    assert state.content == bytes(range(256)) * 40
    assert state.headers["Accept-Ranges"] == "bytes"
    assert state.headers["Last-Modified"] == "Mon, 07 Jan 2030 00:00:50 GMT"
    assert urlsplit(urls["relay/state.bin"]).path.endswith("/state.bin")
    assert (empty.status_code, empty.content, empty.headers["Content-Length"]) == (200, b"", "0")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "status", "span"),
    [
        ("bytes=100-199", 206, (100, 200)),
        ("bytes=10000-", 206, (10_000, 10_240)),
        ("bytes=-5", 206, (10_235, 10_240)),
        ("bytes=10000-99999", 206, (10_000, 10_240)),
        ("bytes=0-", 206, (0, 10_240)),
        ("bytes=nonsense", 200, (0, 10_240)),
    ],
)
def test_a_range_brings_exactly_those_bytes(tmp_path: Path, asked: str, status: int, span: tuple[int, int]) -> None:
    with scripted(tmp_path, PLAYED) as client:
        url = finished(client)["relay/state.bin"]
        part = requests.get(url, headers={"Range": asked}, timeout=PATIENCE_S)
    start, end = span
    assert (part.status_code, part.content) == (status, (bytes(range(256)) * 40)[start:end])
    if status == 206:
        assert part.headers["Content-Range"] == f"bytes {start}-{end - 1}/10240"


@pytest.mark.slow
def test_a_range_beyond_the_end_is_not_satisfiable(tmp_path: Path) -> None:
    with scripted(tmp_path, PLAYED) as client:
        url = finished(client)["relay/state.bin"]
        part = requests.get(url, headers={"Range": "bytes=10240-"}, timeout=PATIENCE_S)
    assert (part.status_code, part.headers["Content-Range"], part.content) == (416, "bytes */10240", b"")


@pytest.mark.slow
def test_a_range_of_a_file_that_is_another_one_now_brings_it_whole(tmp_path: Path) -> None:
    with scripted(tmp_path, PLAYED) as client:
        url = finished(client)["relay/state.bin"]
        tag = requests.get(url, timeout=PATIENCE_S).headers["ETag"]
        same = requests.get(url, headers={"Range": "bytes=9-", "If-Range": tag}, timeout=PATIENCE_S)
        other = requests.get(url, headers={"Range": "bytes=9-", "If-Range": '"other"'}, timeout=PATIENCE_S)
    assert (same.status_code, len(same.content)) == (206, 10_231)
    assert (other.status_code, len(other.content)) == (200, 10_240)


@pytest.mark.slow
def test_an_address_expires_and_a_new_listing_gives_a_new_one(tmp_path: Path) -> None:
    with scripted(tmp_path, PLAYED, replace(AT_ONCE, url_ttl_s=60.0)) as client:
        url = finished(client)["relay/state.bin"]
        client.clock.sleep(60)
        assert refusal(requests.get(url, timeout=PATIENCE_S)) == (403, "PERMISSION_DENIED")
        fresh = {file["fileName"]: file["url"] for file in client.output()["files"]}["relay/state.bin"]
        assert requests.get(fresh, timeout=PATIENCE_S).status_code == 200


@pytest.mark.slow
def test_one_output_file_is_reached_by_a_redirect(tmp_path: Path) -> None:
    with scripted(tmp_path, PLAYED) as client:
        finished(client)
        where = {"ownerSlug": "rehearsal", "kernelSlug": "some-kernel", "versionNumber": 1}
        found = client.ask(KERNELS, "DownloadKernelOutput", **where, filePath="relay/state.bin")
        assert found.status_code == 302
        assert len(requests.get(found.headers["Location"], timeout=PATIENCE_S).content) == 10_240
        missing = client.ask(KERNELS, "DownloadKernelOutput", **where, filePath="nothing")
        assert refusal(missing) == (404, "NOT_FOUND")


# --- logs -------------------------------------------------------------------


@pytest.mark.slow
def test_a_finished_log_is_a_json_array_in_the_output_and_in_the_stream(tmp_path: Path) -> None:
    with scripted(tmp_path, PLAYED) as client:
        finished(client)
        stored = json.loads(client.output()["log"])
        with client.stream(query="?versionLabel=v1") as response:
            streamed = response.json()
            kind = response.headers["Content-Type"]
    assert stored == [
        {"stream_name": "stdout", "time": 1.5, "data": "begin\n"},
        {"stream_name": "stdout", "time": 90.0, "data": "end\n"},
    ]
    assert streamed == stored
    assert kind == "application/json"


@pytest.mark.slow
def test_a_running_log_is_an_event_stream_from_its_first_line_to_end_of_log(tmp_path: Path) -> None:
    with scripted(tmp_path, PLAYED) as client:
        client.push()
        client.clock.sleep(50)
        assert "log" not in client.output(), "what is stored appears when the session is over"
        with client.stream() as response:
            assert response.headers["Content-Type"].startswith("text/event-stream")
            lines = (line.removeprefix(b"data: ") for line in response.iter_lines() if line)
            assert json.loads(next(lines))["data"] == "begin\n"
            client.clock.sleep(50)
            assert json.loads(next(lines))["data"] == "end\n"
            assert next(lines) == b"END_OF_LOG"
            assert next(lines, None) is None


@pytest.mark.slow
def test_there_is_no_log_of_a_session_that_is_queued_or_of_a_version_that_is_not_there(tmp_path: Path) -> None:
    with scripted(tmp_path, PLAYED, replace(AT_ONCE, queue_s=PerKind.all(10.0))) as client:
        client.push()
        for query in ("", "?versionLabel=v1", "?versionLabel=v2", "?versionLabel=1"):
            with client.stream(query=query) as response:
                assert refusal(response) == (404, "NOT_FOUND")
        with client.stream("nowhere") as response:
            assert refusal(response) == (403, "PERMISSION_DENIED")


# --- who may ask ------------------------------------------------------------


def authorization(kaggle: Any, kind: str) -> str:
    basic = base64.b64encode(f"{kaggle.owner}:{kaggle.key}".encode()).decode()
    return {
        "token": f"Bearer {kaggle.token}",
        "key": f"Basic {basic}",
        "another token": f"Bearer {kaggle.token}x",
        "a key as a token": f"Bearer {kaggle.key}",
        "another key": "Basic " + base64.b64encode(b"rehearsal:key").decode(),
        "nothing": "",
    }[kind]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("token", 200),
        ("key", 200),
        ("another token", 401),
        ("a key as a token", 401),
        ("another key", 401),
        ("nothing", 401),
    ],
)
def test_only_the_accounts_own_token_and_key_are_accepted(tmp_path: Path, kind: str, status: int) -> None:
    with scripted(tmp_path) as client:
        client.push()
        client.headers = {"Authorization": authorization(client.kaggle, kind)}
        answers = [client.ask(KERNELS, "ListKernels"), client.stream()]
        with answers[1]:
            assert [answer.status_code for answer in answers] == [status, status]
            if status == 401:
                assert [refusal(answer) for answer in answers] == [(401, "UNAUTHENTICATED")] * 2


def test_a_token_is_introspected_and_an_unknown_one_is_not_active(tmp_path: Path) -> None:
    with scripted(tmp_path) as client:
        client.headers = {}
        known = client.json("security.OAuthService", "IntrospectToken", token=client.kaggle.token)
        unknown = client.json("security.OAuthService", "IntrospectToken", token="stale")
    assert (known["active"], known["username"]) == (True, "rehearsal")
    assert "active" not in unknown


@pytest.mark.slow
def test_two_servers_do_not_take_each_others_credentials(tmp_path: Path) -> None:
    with scripted(tmp_path / "a") as one, scripted(tmp_path / "b") as other:
        one.headers = other.headers
        assert one.ask(KERNELS, "ListKernels").status_code == 401


# --- the server -------------------------------------------------------------


@pytest.mark.slow
def test_a_request_in_the_form_for_proxies_is_answered_as_any_other(tmp_path: Path) -> None:
    with scripted(tmp_path, PLAYED) as client:
        proxies = {"http": client.kaggle.url}
        url = f"http://localhost/api/v1/{KERNELS}/ListKernels"
        client.push(isPrivate=False)
        client.clock.sleep(1000)
        listed = requests.post(url, json={}, headers=client.headers, proxies=proxies, timeout=PATIENCE_S)
        state = client.output()["files"][1]["url"]
        fetched = requests.get(state, proxies=proxies, timeout=PATIENCE_S)
    assert [kernel["slug"] for kernel in listed.json()["kernels"]] == ["some-kernel"]
    assert len(fetched.content) == 10_240


def test_the_environment_points_at_this_server_and_at_no_other(tmp_path: Path) -> None:
    with scripted(tmp_path) as client:
        kaggle = client.kaggle
        environment = kaggle.environment()
    assert environment["KAGGLE_API_ENVIRONMENT"] == "LOCALHOST"
    assert environment["RELAY_KAGGLE_URL"] == kaggle.url == environment["HTTP_PROXY"] == environment["http_proxy"]
    assert (environment["KAGGLE_USERNAME"], environment["KAGGLE_KEY"]) == (kaggle.owner, kaggle.key)
    assert environment["KAGGLE_API_TOKEN"] == kaggle.token


@pytest.mark.slow
def test_it_listens_on_the_loopback_only_and_no_longer_when_it_is_closed(tmp_path: Path) -> None:
    with scripted(tmp_path) as client:
        parts = urlsplit(client.kaggle.url)
        assert parts.hostname == "127.0.0.1"
        assert parts.port
        with socket.create_connection(("127.0.0.1", parts.port), timeout=PATIENCE_S):
            pass
        if sys.platform == "linux":  # where every address that begins with 127 is this machine's
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.2", parts.port), timeout=PATIENCE_S)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", parts.port), timeout=PATIENCE_S)


@pytest.mark.slow
def test_closing_does_not_wait_for_a_log_that_never_ends(tmp_path: Path) -> None:
    with scripted(tmp_path, PLAYED) as client:
        client.push()
        client.clock.sleep(2)
        response = client.stream()
        next(response.iter_lines())
    with response:
        assert b"END_OF_LOG" not in response.content


@pytest.mark.slow
def test_many_callers_at_once_are_all_answered(tmp_path: Path) -> None:
    with scripted(tmp_path) as client, ThreadPoolExecutor(16) as pool:
        pushed = list(pool.map(lambda n: client.push(f"kernel-{n}", kernelExecutionType="QUICK_SAVE"), range(32)))
        seen_by = list(pool.map(lambda n: client.status(f"kernel-{n % 32}"), range(128)))
    assert len({push["kernelId"] for push in pushed}) == 32
    assert seen_by == [{"status": "NEW_SCRIPT"}] * 128


@pytest.mark.slow
def test_missing_things_may_be_hidden_behind_either_code(tmp_path: Path) -> None:
    rules = Rules(missing_kernel_code=404, missing_dataset_code=403)
    with scripted(tmp_path, rules=rules) as client:
        kernel = client.ask(KERNELS, "GetKernel", userName="rehearsal", kernelSlug="nowhere")
        dataset = client.ask(DATASETS, "GetDataset", ownerSlug="rehearsal", datasetSlug="nowhere")
    assert (kernel.status_code, dataset.status_code) == (404, 403)
    assert dataset_types.ApiGetDatasetStatusResponse.from_dict({}).status.value == 0
