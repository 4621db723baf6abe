"""The Kaggle client when Kaggle is slow, rude, wrong or gone: what it repeats, what it never repeats, and what it says."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.base.errors import (
    Ambiguous,
    BadInput,
    Corrupt,
    NameTaken,
    NoRoom,
    NoSlot,
    OutOfQuota,
    Permanent,
    RateLimited,
    Refused,
    RelayError,
    Transient,
)
from orchestrator.kaggle.client import KaggleGateway
from orchestrator.kaggle.credentials import Credentials, Method
from orchestrator.kaggle.transport import TransportLimits, retry_after_s
from orchestrator.platforms.port import FileWanted, KernelPush, Worker
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, FaultPlan
from tests.contract.scripted import Reply, Script, Scripted, answer, by_call, error, in_turn, scripted
from tests.contract.worlds import OWNER, QUICK, kernel, over_http

SLUG = "gsm-3f9a-s0001"
DATASET = "gsm-3f9a-c0001"
KEY = Credentials(method=Method.KEY, source="the test", username=OWNER, secret="0123456789abcdef")

ACCEPTED = answer({"ref": f"/code/{OWNER}/{SLUG}", "versionNumber": 1})
QUOTA = answer({"tpuQuota": {"timeUsed": "60s", "totalTimeAllowed": "72000s"}})


@dataclass
class Talk:
    """A gateway, the server that it talks to, and how long it meant to wait between attempts."""

    gateway: KaggleGateway
    server: Scripted
    waits: list[float]


@contextmanager
def talking(script: Script, *credentials: Credentials, limits: TransportLimits = QUICK) -> Iterator[Talk]:
    waits: list[float] = []
    with scripted(script) as server:
        gateway = KaggleGateway(credentials or [KEY], server.url, sleep=waits.append, limits=limits)
        yield Talk(gateway, server, waits)


def faulty(call: str, action: CallAction, **fields: Any) -> FaultPlan:
    return FaultPlan(calls=(CallFault(call=call, action=action, **fields),))


# --- reads are repeated, within bounds ----------------------------------------


@pytest.mark.slow
def test_a_read_waits_as_long_as_kaggle_asks_and_then_succeeds(tmp_path: Path) -> None:
    faults = faulty("GetAcceleratorQuotaStatistics", CallAction.STATUS, status=429, retry_after_s=17.0)
    with over_http(tmp_path, faults=faults) as place:
        before = place.clock.now()
        assert place.gateway.quota("tpu") is not None
        assert (place.clock.now() - before).total_seconds() >= 17.0


@pytest.mark.slow
def test_a_read_survives_a_bad_minute(tmp_path: Path) -> None:
    with over_http(tmp_path, faults=faulty("GetKernel", CallAction.STATUS, status=503, times=4)) as place:
        assert place.gateway.find_kernel(SLUG) is None


@pytest.mark.slow
def test_a_read_survives_a_cut_and_a_page_of_html(tmp_path: Path) -> None:
    faults = FaultPlan(
        calls=(
            CallFault(call="GetAcceleratorQuotaStatistics", action=CallAction.LOST),
            CallFault(call="GetAcceleratorQuotaStatistics", action=CallAction.HTML, nth=2),
        )
    )
    with over_http(tmp_path, faults=faults) as place:
        assert place.gateway.quota("tpu") is not None


def test_waits_grow_and_attempts_end() -> None:
    with talking(in_turn(error(503, "the backend is asleep"))) as talk:
        with pytest.raises(Transient, match="the backend is asleep"):
            talk.gateway.quota("tpu")
        assert len(talk.server.seen) == 6
        assert len(talk.waits) == 5
        assert talk.waits[-1] > 2 * talk.waits[0]


def test_kaggle_asking_for_more_patience_than_there_is_is_passed_on_at_once() -> None:
    with talking(in_turn(error(429, "slow down", Retry_After="3600"))) as talk:
        with pytest.raises(RateLimited, match="slow down") as caught:
            talk.gateway.quota("tpu")
        assert caught.value.retry_after_s == 900.0
        assert talk.waits == []


def test_a_date_to_retry_after_is_measured_against_the_servers_own_clock() -> None:
    at = "Mon, 07 Jan 2030 10:00:25 GMT"
    assert retry_after_s({"Retry-After": at, "Date": "Mon, 07 Jan 2030 10:00:00 GMT"}) == 25.0
    assert retry_after_s({"Retry-After": at, "Date": "Mon, 07 Jan 2030 11:00:00 GMT"}) == 0.0
    assert retry_after_s({"Retry-After": at}) is None
    assert retry_after_s({"Retry-After": "soon"}) is None
    assert retry_after_s({}) is None


@pytest.mark.slow
def test_a_server_that_says_nothing_is_given_up() -> None:
    limits = TransportLimits(connect_s=1.0, read_s=0.1, call_s=1.0)
    with (
        talking(in_turn(Reply(hang=True)), limits=limits) as talk,
        pytest.raises(Transient, match=r"no answer from 127\.0\.0\.1 in time"),
    ):
        talk.gateway.quota("tpu")


@pytest.mark.slow
def test_an_answer_that_trickles_for_ever_is_given_up() -> None:
    limits = TransportLimits(connect_s=1.0, read_s=1.0, call_s=0.15)
    reply = Reply(body=b"{", headers={"Content-Type": "application/json"}, drip_s=0.02)
    with talking(in_turn(reply), limits=limits) as talk, pytest.raises(Transient, match="took longer than"):
        talk.gateway.quota("tpu")


def test_an_answer_without_end_does_not_fill_the_memory() -> None:
    limits = TransportLimits(connect_s=1.0, read_s=1.0, call_s=5.0, body_bytes_max=100_000)
    reply = Reply(body=b" " * 1_000_000)
    with talking(in_turn(reply), limits=limits) as talk, pytest.raises(Transient, match="larger than 100000 bytes"):
        talk.gateway.quota("tpu")


def test_a_server_that_is_not_there_is_transient() -> None:
    with talking(in_turn(QUOTA)) as talk:
        gateway = talk.gateway
    with pytest.raises(Transient):
        gateway.quota("tpu")


# --- the reason is kept -------------------------------------------------------

REASON = "The requested page size is larger than 200"


@pytest.mark.parametrize(
    "reply",
    [
        error(400, REASON),
        answer({"code": 400, "message": REASON}, 400),
        answer({"code": 400, "message": REASON}),
        answer({"error": {"code": 400, "message": REASON}}),
        answer({"error": REASON}, 400),
        Reply(status=400, body=f"<html><style>p {{}}</style><p>{REASON}</p></html>".encode()),
        Reply(status=400, body=REASON.encode()),
    ],
)
def test_a_refusal_is_told_in_kaggles_own_words(reply: Reply) -> None:
    with talking(in_turn(reply)) as talk, pytest.raises(Refused, match=REASON):
        talk.gateway.output(SLUG, 1)


def test_refused_credentials_are_the_users_to_mend() -> None:
    with (
        talking(in_turn(error(401, "Unauthenticated"))) as talk,
        pytest.raises(BadInput, match=r"kaggle\.com/settings"),
    ):
        talk.gateway.quota("tpu")


# --- status -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "worker"),
    [
        (answer({}), Worker.QUEUED),
        (answer({"failureMessage": "waiting"}), Worker.QUEUED),
        (answer({"status": "RUNNING"}), Worker.RUNNING),
        (answer({"status": "cancelAcknowledged"}), Worker.CANCEL_ACKNOWLEDGED),
        (answer({"status": "CANCEL_REQUESTED"}), Worker.CANCEL_REQUESTED),
        (answer({"status": "NEW_SCRIPT"}), Worker.NEW_SCRIPT),
        (answer({"status": "ON_FIRE"}), Worker.UNKNOWN),
        (answer({"status": None}), Worker.UNKNOWN),
        (answer({"status": 2}), Worker.UNKNOWN),
        (answer({"unexpected": True}), Worker.UNKNOWN),
        (answer([]), Worker.UNKNOWN),
        (answer(None), Worker.UNKNOWN),
        (Reply(body=b"<html>We will be right back</html>", headers={"Content-Type": "text/html"}), Worker.UNKNOWN),
        (Reply(body=b"\xff\xfe\x00"), Worker.UNKNOWN),
        (Reply(body=b""), Worker.UNKNOWN),
        (Reply(status=302, headers={"Location": "/login"}), Worker.UNKNOWN),
        (error(404, "Notebook not found"), Worker.UNKNOWN),
        (error(403, "Permission 'kernels.get' was denied"), Worker.UNKNOWN),
    ],
)
def test_only_a_clear_answer_is_a_status(reply: Reply, worker: Worker) -> None:
    with talking(in_turn(reply)) as talk:
        assert talk.gateway.session(SLUG, 1).worker is worker
        assert len(talk.server.seen) == 1


def test_the_version_is_asked_for_by_its_label() -> None:
    with talking(in_turn(answer({"status": "RUNNING"}))) as talk:
        talk.gateway.session(SLUG, 7)
        talk.gateway.session(SLUG, None)
        first, second = (seen.json for seen in talk.server.seen)
    assert first == {"userName": OWNER, "kernelSlug": SLUG, "versionLabel": "v7"}
    assert second == {"userName": OWNER, "kernelSlug": SLUG}


# --- find before make ---------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        answer({}),
        answer({"metadata": {}}),
        Reply(body=b"<html/>"),
        answer({"blob": {}}),
        answer({"metadata": {"ref": 5}, "blob": {"source": "x"}}),
        answer({"metadata": {"ref": "a/b"}, "blob": {"source": 5}}),
    ],
)
def test_nonsense_never_means_that_there_is_no_such_kernel(reply: Reply) -> None:
    with talking(in_turn(reply)) as talk, pytest.raises(Transient):
        talk.gateway.find_kernel(SLUG)


def test_nonsense_never_means_that_there_is_no_such_dataset() -> None:
    with talking(in_turn(answer({}))) as talk, pytest.raises(Transient):
        talk.gateway.find_dataset(DATASET)


@pytest.mark.parametrize("status", [403, 404])
def test_kaggles_two_ways_to_say_that_there_is_none(status: int) -> None:
    script = by_call(GetKernel=error(status, "no"), GetDataset=error(status, "no"), GetAcceleratorQuotaStatistics=QUOTA)
    with talking(script) as talk:
        assert talk.gateway.find_kernel(SLUG) is None
        assert talk.gateway.find_dataset(DATASET) is None


def test_refused_credentials_never_look_like_a_free_name() -> None:
    script = by_call(GetKernel=error(403, "denied"), GetAcceleratorQuotaStatistics=error(401, "who are you"))
    with talking(script) as talk, pytest.raises(BadInput, match="the test"):
        talk.gateway.find_kernel(SLUG)


# --- push ---------------------------------------------------------------------


def test_a_push_is_private_runs_at_once_and_names_no_image() -> None:
    with talking(in_turn(ACCEPTED)) as talk:
        pushed = talk.gateway.push(
            KernelPush(
                slug=SLUG,
                source="print(1)\n",
                machine_shape="TpuV5E8",
                dataset_sources=("alice/ckpt",),
                kernel_sources=("alice/before",),
                model_sources=("google/gemma-3/flax/gemma-3-1b-it/1",),
                timeout_s=31_500,
            )
        )
        assert talk.server.seen[0].json == {
            "slug": f"{OWNER}/{SLUG}",
            "newTitle": SLUG,
            "text": "print(1)\n",
            "language": "python",
            "kernelType": "script",
            "isPrivate": True,
            "enableTpu": True,
            "enableGpu": False,
            "enableInternet": True,
            "machineShape": "TpuV5E8",
            "datasetDataSources": ["alice/ckpt"],
            "kernelDataSources": ["alice/before"],
            "modelDataSources": ["google/gemma-3/flax/gemma-3-1b-it/1"],
            "kernelExecutionType": "SAVE_AND_RUN_ALL",
            "sessionTimeoutSeconds": 31_500,
        }
        assert (pushed.ref, pushed.version) == (f"{OWNER}/{SLUG}", 1)


@pytest.mark.parametrize(
    ("shape", "flags"), [("", (False, False)), ("TpuV5E8", (True, False)), ("NvidiaTeslaT4", (False, True))]
)
def test_the_accelerator_flags_agree_with_the_machine(shape: str, flags: tuple[bool, bool]) -> None:
    with talking(in_turn(ACCEPTED)) as talk:
        talk.gateway.push(kernel(SLUG, machine_shape=shape, internet=False))
        sent = talk.server.seen[0].json
    assert (sent["enableTpu"], sent["enableGpu"]) == flags
    assert sent["enableInternet"] is False
    assert sent.get("machineShape", "") == shape


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (answer({"error": "Maximum batch TPU session count of 1 reached."}), NoSlot),
        (answer({"error": "Maximum batch GPU session count of 2 reached."}), NoSlot),
        (error(400, "Maximum batch CPU session count of 5 reached."), NoSlot),
        (answer({"error": "Your weekly TPU quota of 20 hours has been exceeded."}), OutOfQuota),
        (answer({"error": "You have no remaining TPU hours this week."}), OutOfQuota),
        (answer({"error": "Notebook not found"}), NameTaken),
        (error(400, "The kernel source must be less than 1 megabytes in size."), Refused),
        (error(403, "Permission 'kernels.create' was denied"), Refused),
        (error(401, "Unauthenticated"), BadInput),
        (error(429, "Too many requests", Retry_After="9"), RateLimited),
        (error(500, "Internal"), Ambiguous),
        (error(503, "Unavailable"), Ambiguous),
        (error(504, "Deadline exceeded"), Ambiguous),
        (answer({}), Ambiguous),
        (answer([]), Ambiguous),
        (answer({"ref": 7}), Ambiguous),
        (answer({"ref": f"/code/{OWNER}/{SLUG}", "versionNumber": "1"}), Ambiguous),
        (answer({"ref": f"/code/{OWNER}/{SLUG}", "error": {"why": "?"}}), Ambiguous),
        (answer({"ref": f"/code/{OWNER}/{SLUG}", "invalidDatasetSources": [5]}), Ambiguous),
        (Reply(body=b"<html/>"), Ambiguous),
        (Reply(body=b'{"ref": "/code/al', headers={"Content-Type": "application/json"}), Ambiguous),
        (Reply(body=ACCEPTED.body, cut_after=5), Ambiguous),
        (Reply(hang=True), Ambiguous),
        (answer({"ref": f"/code/{OWNER}/gsm-3f9a-s0001-2", "versionNumber": 1}), Permanent),
        (answer({"ref": f"/code/bob/{SLUG}", "versionNumber": 1}), Permanent),
    ],
)
def test_every_way_in_which_a_push_fails_has_its_remedy_and_none_is_repeated(
    reply: Reply, kind: type[RelayError]
) -> None:
    limits = TransportLimits(connect_s=1.0, read_s=0.3, call_s=2.0)
    with talking(in_turn(reply), limits=limits) as talk:
        with pytest.raises(RelayError) as caught:
            talk.gateway.push(kernel(SLUG))
        assert type(caught.value) is kind
        assert len(talk.server.calls("SaveKernel")) == 1
        assert talk.waits == []


def test_a_push_that_reached_nobody_is_known_to_have_changed_nothing() -> None:
    with talking(in_turn(ACCEPTED)) as talk:
        gateway = talk.gateway
    with pytest.raises(Transient):
        gateway.push(kernel(SLUG))


@pytest.mark.parametrize("kind", ["Dataset", "Kernel", "Model", "Competition"])
def test_a_source_that_was_not_accepted_is_named(kind: str) -> None:
    reply = answer({"ref": f"/code/{OWNER}/{SLUG}", "versionNumber": 1, f"invalid{kind}Sources": ["alice/gone"]})
    with (
        talking(in_turn(reply)) as talk,
        pytest.raises(Permanent, match=f"{kind.lower()} alice/gone.*without its input"),
    ):
        talk.gateway.push(kernel(SLUG))


@pytest.mark.parametrize("ref", [f"/code/{OWNER}/{SLUG}", f"{OWNER}/{SLUG}", f"{OWNER}/{SLUG}/3", f"Alice/{SLUG}"])
def test_a_ref_is_understood_in_every_form(ref: str) -> None:
    with talking(in_turn(answer({"ref": ref}))) as talk:
        pushed = talk.gateway.push(kernel(SLUG))
    assert pushed.ref.casefold() == f"{OWNER}/{SLUG}"
    assert pushed.version is None


@pytest.mark.slow
def test_a_lost_answer_to_a_push_is_ambiguous_and_the_kernel_is_found_by_its_token(tmp_path: Path) -> None:
    with over_http(tmp_path, faults=faulty("SaveKernel", CallAction.LOST)) as place:
        with pytest.raises(Ambiguous):
            place.gateway.push(kernel(SLUG))
        found = place.gateway.find_kernel(SLUG)
        assert found is not None
        assert "token 81c0" in found.source


@pytest.mark.parametrize(
    "slug", ["abc", "a" * 51, "Gsm-3f9a", "gsm_3f9a", "gsm--3f9a", "-gsm-3f9a", "gsm 3f9a", "gsm/3f9a"]
)
def test_a_name_that_kaggle_would_change_is_refused_before_anything_is_sent(slug: str) -> None:
    with talking(in_turn(ACCEPTED)) as talk:
        with pytest.raises(BadInput, match="choose a run name"):
            talk.gateway.push(kernel(slug))
        with pytest.raises(BadInput, match="choose a run name"):
            talk.gateway.create_dataset(slug, [])
        assert talk.server.seen == []


def test_a_source_that_is_too_large_is_told_with_its_size_and_never_sent() -> None:
    with talking(in_turn(ACCEPTED)) as talk:
        with pytest.raises(Permanent, match=r"1000000 bytes.*at most 999999"):
            talk.gateway.push(kernel(SLUG, source="é" * 500_000))
        assert talk.server.seen == []


# --- quota --------------------------------------------------------------------


def test_a_quota_of_more_than_a_day_is_read_right() -> None:
    body = {
        "quotaRefreshTime": "2030-01-12T00:00:00.123Z",
        "gpuQuota": {"timeUsed": "108000s", "timeReserved": "0.500s", "totalTimeAllowed": "108001s"},
    }
    with talking(in_turn(answer(body))) as talk:
        gpu = talk.gateway.quota("gpu")
        assert talk.gateway.quota("tpu") is None
    assert gpu is not None
    assert (gpu.used_s, gpu.reserved_s, gpu.total_s) == (108_000.0, 0.5, 108_001.0)
    assert gpu.refreshes_at == datetime(2030, 1, 12, 0, 0, 0, 123_000, tzinfo=UTC)


def test_a_limit_that_kaggle_leaves_out_is_unknown_and_not_zero() -> None:
    with talking(in_turn(answer({"tpuQuota": {"timeUsed": "60s"}}))) as talk:
        tpu = talk.gateway.quota("tpu")
    assert tpu is not None
    assert tpu.total_s is None
    assert tpu.left_s is None


@pytest.mark.parametrize("status", [403, 404])
def test_a_quota_that_one_may_not_read_is_unknown(status: int) -> None:
    with talking(in_turn(error(status, "no"))) as talk:
        assert talk.gateway.quota("tpu") is None


# --- output -------------------------------------------------------------------


def output_page(*names: str, token: str = "") -> Reply:
    files = [{"fileName": name, "url": "http://127.0.0.1/x"} for name in names]
    return answer({"files": files, **({"nextPageToken": token} if token else {})})


def test_output_is_read_in_pages_of_two_hundred() -> None:
    with talking(in_turn(output_page("a", token="t1"), output_page("b", token="t2"), output_page("c"))) as talk:
        assert [file.name for file in talk.gateway.output(SLUG, 2)] == ["a", "b", "c"]
        asked = [seen.json for seen in talk.server.seen]
    assert [(one.get("pageToken"), one["pageSize"], one["versionLabel"]) for one in asked] == [
        (None, 200, "v2"),
        ("t1", 200, "v2"),
        ("t2", 200, "v2"),
    ]


def test_a_listing_that_turns_in_circles_is_given_up() -> None:
    with talking(in_turn(output_page("a", token="t1"))) as talk, pytest.raises(Transient, match="already read"):
        talk.gateway.output(SLUG, 1)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *(
            (name, "does not stay inside")
            for name in ("../../etc/passwd", "/etc/passwd", "a/../../b", "..\\x", "C:\\x")
        ),
        *((name, "does not stay inside") for name in ("c:x", "a\x00b", "relay/")),
        *((name, "too long") for name in ("x" * 201, "x/" * 600 + "x")),
        *((name, "a device's") for name in ("relay/con", "NUL.txt", "lpt1")),
    ],
)
def test_an_output_name_that_no_file_may_have_is_told_and_not_fetched_and_the_others_are_listed(
    name: str, said: str, tmp_path: Path
) -> None:
    with talking(in_turn(output_page("a", name, "b"))) as talk:
        good, bad, also_good = talk.gateway.output(SLUG, 1)
        assert [good.name, also_good.name] == ["a", "b"]
        assert said in bad.refused
        assert len(bad.name) <= 80
        with pytest.raises(Corrupt, match=said):
            talk.gateway.download(bad, tmp_path / "x", FileWanted())
    assert list(tmp_path.iterdir()) == []


# --- datasets -----------------------------------------------------------------


def blob_script(create: Reply, **more: Script | Reply) -> Callable[[str], Script]:
    def at(url: str) -> Script:
        start = answer({"token": "blob-1", "createUrl": f"{url}/upload"})
        return by_call(StartBlobUpload=start, upload=Reply(), CreateDataset=create, **more)

    return at


@contextmanager
def creating(create: Reply, **more: Script | Reply) -> Iterator[Talk]:
    with talking(in_turn(QUOTA)) as talk:
        talk.server.script = blob_script(create, **more)(talk.server.url)
        yield talk


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "state.bin"
    path.write_bytes(b"weights" * 1000)
    return path


def test_a_dataset_is_created_private_with_its_files_and_one_licence(state: Path) -> None:
    with creating(answer({"ref": f"{OWNER}/{DATASET}", "status": "ok"})) as talk:
        talk.gateway.create_dataset(DATASET, [state])
        (start,), (create,) = talk.server.calls("StartBlobUpload"), talk.server.calls("CreateDataset")
        (put,) = talk.server.calls("upload")
    assert start.json["type"] == "DATASET"
    assert (start.json["name"], start.json["contentLength"]) == ("state.bin", 7000)
    assert put.body == state.read_bytes()
    assert put.headers.get("Authorization") is None
    assert create.json == {
        "ownerSlug": OWNER,
        "slug": DATASET,
        "title": DATASET,
        "licenseName": "other",
        "isPrivate": True,
        "files": [{"token": "blob-1"}],
    }


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (answer({"status": "error", "error": "The title is already in use"}), NameTaken),
        (answer({"status": "error", "error": "You have used all of your private storage"}), NoRoom),
        (answer({"status": "error"}), Refused),
        (error(409, "already exists"), NameTaken),
        (error(400, "Invalid token"), Refused),
        (error(500, "Internal"), Ambiguous),
        (answer({}), Ambiguous),
        (Reply(body=b"<html/>"), Ambiguous),
        (Reply(body=b"x" * 100, cut_after=10), Ambiguous),
        (answer({"ref": f"{OWNER}/{DATASET}-2", "status": "ok"}), Permanent),
    ],
)
def test_every_way_in_which_a_creation_fails_has_its_remedy_and_none_is_repeated(
    reply: Reply, kind: type[RelayError], state: Path
) -> None:
    with creating(reply) as talk:
        with pytest.raises(RelayError) as caught:
            talk.gateway.create_dataset(DATASET, [state])
        assert type(caught.value) is kind
        assert len(talk.server.calls("CreateDataset")) == 1


@pytest.mark.slow
def test_a_lost_answer_to_a_creation_is_ambiguous_and_the_dataset_is_found(tmp_path: Path, state: Path) -> None:
    with over_http(tmp_path / "k", faults=faulty("CreateDataset", CallAction.LOST)) as place:
        with pytest.raises(Ambiguous):
            place.gateway.create_dataset(DATASET, [state])
        assert place.gateway.find_dataset(DATASET) is not None


def test_a_datasets_files_are_listed_over_all_pages_of_its_version() -> None:
    pages = [
        answer({"datasetFiles": [{"name": "a", "totalBytes": 1}], "nextPageToken": "t"}),
        answer({"datasetFiles": [{"name": "b"}]}),
    ]
    script = by_call(
        GetDataset=answer({"ref": f"{OWNER}/{DATASET}", "currentVersionNumber": 3, "isPrivate": True}),
        GetDatasetStatus=answer({"status": "READY"}),
        ListDatasetFiles=in_turn(*pages),
    )
    with talking(script) as talk:
        seen = talk.gateway.find_dataset(DATASET)
        asked = talk.server.calls("ListDatasetFiles")
    assert seen is not None
    assert [(file.name, file.size_bytes) for file in seen.files] == [("a", 1), ("b", 0)]
    assert [one.json["datasetVersionNumber"] for one in asked] == [3, 3]
    assert [one.json.get("pageToken") for one in asked] == [None, "t"]


def test_a_dataset_that_may_not_be_deleted_is_not_taken_for_one_that_is_gone() -> None:
    script = by_call(
        DeleteDataset=error(403, "Permission 'datasets.delete' was denied"),
        GetDataset=answer({"ref": f"{OWNER}/{DATASET}"}),
        GetDatasetStatus=answer({"status": "READY"}),
        ListDatasetFiles=answer({}),
    )
    with talking(script) as talk, pytest.raises(Refused, match=r"datasets\.delete"):
        talk.gateway.delete_dataset(DATASET)


def test_what_goes_over_the_wire_is_json(state: Path) -> None:
    with talking(in_turn(ACCEPTED)) as talk:
        talk.gateway.push(kernel(SLUG))
        (seen,) = talk.server.seen
    assert seen.path == "/api/v1/kernels.KernelsApiService/SaveKernel"
    assert seen.headers["Content-Type"] == "application/json"
    assert json.loads(seen.body)["text"] == kernel(SLUG).source
