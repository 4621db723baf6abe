"""The port over a world without HTTP keeps the port's promises."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.base.errors import Ambiguous, Corrupt, NoSlot, OutOfQuota, Permanent, RateLimited, Refused, Transient
from orchestrator.kaggle.gateway import Gateway
from orchestrator.platforms.port import FileWanted, KernelPush, OutputFile, Worker
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, FaultPlan
from orchestrator.rehearsal.local_kaggle.rules import PerKind, Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Played
from tests.unit.worlds import HOUR, OWNER, Mounts, SmallWorld

ANY = FileWanted()


def tpu(slug: str = "gsm-3f9a-s0001", source: str = "print()", **more: tuple[str, ...]) -> KernelPush:
    return KernelPush(slug=slug, source=source, machine_shape="TpuV5E8", **more)  # type: ignore[arg-type]


def faulty(call: str, action: CallAction, **more: float) -> FaultPlan:
    return FaultPlan(calls=(CallFault(call=call, action=action, **more),))  # type: ignore[arg-type]


def count_on(source: str, mounts: Mounts, limit_s: float) -> Played:
    """Goes on from the number that it finds, and writes the next one."""
    found = [int(data) for files in mounts.values() for name, data in files.items() if name == "state.bin"]
    number = max(found, default=0) + 1
    return Played(ends_after_s=60, lines=[(1, f"at {number}")], files=[(50, "relay/state.bin", str(number).encode())])


def test_three_sessions_hand_their_state_on_through_datasets(tmp_path: Path) -> None:
    small = SmallWorld(count_on)
    kaggle: Gateway = DirectGateway(small.world)
    sources: tuple[str, ...] = ()
    for number in (1, 2, 3):
        slug = f"gsm-3f9a-s000{number}"
        assert kaggle.find_kernel(slug) is None
        pushed = kaggle.push(tpu(slug, dataset_sources=sources))
        assert (pushed.ref, pushed.version) == (f"{OWNER}/{slug}", 1)
        assert kaggle.session(slug, 1).worker is Worker.QUEUED
        small.after(HOUR)
        assert kaggle.session(slug, 1).worker is Worker.COMPLETE
        (file,) = kaggle.output(slug, 1)
        got = kaggle.download(file, tmp_path / str(number) / "state.bin", ANY)
        assert got.path.read_bytes() == str(number).encode()
        dataset = f"gsm-3f9a-c000{number}"
        assert kaggle.find_dataset(dataset) is None
        kaggle.create_dataset(dataset, [got.path])
        small.after(60)
        seen = kaggle.find_dataset(dataset)
        assert seen is not None
        assert (seen.status, seen.version, seen.private) == ("ready", 1, True)
        assert [(f.name, f.size_bytes) for f in seen.files] == [("state.bin", 1)]
        sources = (f"{OWNER}/{dataset}",)


def test_a_second_push_finds_no_slot_and_its_source_is_there_all_the_same() -> None:
    kaggle = DirectGateway(SmallWorld().world)
    kaggle.push(tpu("first-one"))
    with pytest.raises(NoSlot, match="session count of 1 reached"):
        kaggle.push(tpu("second-one", "my source"))
    found = kaggle.find_kernel("second-one")
    assert found is not None
    assert found.source == "my source"
    assert kaggle.session("second-one", None).worker is Worker.NEW_SCRIPT


def test_a_push_without_quota_says_so() -> None:
    small = SmallWorld(Played(ends_after_s=9 * HOUR), Rules(quota_s=PerKind.all(HOUR)))
    kaggle = DirectGateway(small.world)
    kaggle.push(tpu("first-one"))
    small.after(10 * HOUR)
    with pytest.raises(OutOfQuota):
        kaggle.push(tpu("second-one"))
    quota = kaggle.quota("tpu")
    assert quota is not None
    assert (quota.left_s, quota.used_s) == (0.0, 9 * HOUR)
    assert quota.refreshes_at is not None
    assert quota.refreshes_at > small.clock.now()
    assert kaggle.quota("cpu") is None


def test_a_push_with_a_source_that_is_not_there_is_permanent_and_runs() -> None:
    small = SmallWorld()
    kaggle = DirectGateway(small.world)
    with pytest.raises(Permanent, match="alice/nothing"):
        kaggle.push(tpu("first-one", dataset_sources=("alice/nothing",)))
    small.after(600)
    assert kaggle.session("first-one", 1).worker is Worker.RUNNING


def test_a_push_that_is_too_large_or_renamed_is_permanent() -> None:
    kaggle = DirectGateway(SmallWorld().world)
    with pytest.raises(Permanent):
        kaggle.push(tpu(source="x" * 1_000_000))
    with pytest.raises(Permanent, match="renamed"):
        kaggle.push(tpu("Not-A-Slug"))
    with pytest.raises(Refused, match="five characters"):
        kaggle.push(tpu("abc"))


def test_an_unknown_session_is_unknown_and_its_output_is_refused() -> None:
    kaggle = DirectGateway(SmallWorld().world)
    assert kaggle.session("nowhere", 1).worker is Worker.UNKNOWN
    assert tuple(kaggle.log("nowhere", 1)) == ()
    with pytest.raises(Refused):
        kaggle.output("nowhere", 1)


def test_a_lost_answer_to_a_push_is_ambiguous_and_the_kernel_is_found() -> None:
    kaggle = DirectGateway(SmallWorld(faults=faulty("SaveKernel", CallAction.LOST)).world)
    with pytest.raises(Ambiguous):
        kaggle.push(tpu("first-one"))
    assert kaggle.find_kernel("first-one") is not None


def test_a_server_error_on_a_push_is_ambiguous_and_the_kernel_is_not_there() -> None:
    kaggle = DirectGateway(SmallWorld(faults=faulty("SaveKernel", CallAction.STATUS, status=503)).world)
    with pytest.raises(Ambiguous):
        kaggle.push(tpu("first-one"))
    assert kaggle.find_kernel("first-one") is None


def test_a_lost_answer_to_a_new_dataset_is_ambiguous_and_the_dataset_is_found(tmp_path: Path) -> None:
    kaggle = DirectGateway(SmallWorld(faults=faulty("CreateDataset", CallAction.LOST)).world)
    path = tmp_path / "state.bin"
    path.write_bytes(b"1")
    with pytest.raises(Ambiguous):
        kaggle.create_dataset("gsm-3f9a-c0001", [path])
    assert kaggle.find_dataset("gsm-3f9a-c0001") is not None
    with pytest.raises(Refused, match="already in use"):
        kaggle.create_dataset("gsm-3f9a-c0001", [path])


def test_too_many_requests_say_how_long_to_wait() -> None:
    plan = faulty("GetKernelSessionStatus", CallAction.STATUS, status=429, retry_after_s=30)
    with pytest.raises(RateLimited) as limited:
        DirectGateway(SmallWorld(faults=plan).world).session("any-kernel", 1)
    assert limited.value.retry_after_s == 30


@pytest.mark.parametrize(("action", "worker"), [(CallAction.EMPTY, Worker.QUEUED), (CallAction.HTML, Worker.UNKNOWN)])
def test_a_senseless_status_is_what_the_wire_would_make_of_it(action: CallAction, worker: Worker) -> None:
    small = SmallWorld(faults=faulty("GetKernelSessionStatus", action))
    kaggle = DirectGateway(small.world)
    kaggle.push(tpu("first-one"))
    small.after(HOUR)
    assert kaggle.session("first-one", 1).worker is worker
    assert kaggle.session("first-one", 1).worker is Worker.COMPLETE


@pytest.mark.parametrize("action", [CallAction.STATUS, CallAction.EMPTY, CallAction.HTML, CallAction.CUT])
@pytest.mark.parametrize(
    ("call", "ask"),
    [
        ("GetKernel", lambda kaggle: kaggle.find_kernel("any-kernel")),
        ("GetDataset", lambda kaggle: kaggle.find_dataset("any-data")),
        ("LogStream", lambda kaggle: kaggle.log("any-kernel", 1)),
    ],
)
def test_a_read_that_fails_is_transient_and_works_again(
    call: str, ask: Callable[[Gateway], object], action: CallAction
) -> None:
    kaggle = DirectGateway(SmallWorld(faults=faulty(call, action)).world)
    with pytest.raises(Transient):
        ask(kaggle)
    ask(kaggle)


def test_an_answer_that_hangs_for_longer_than_a_call_may_take_is_given_up_though_it_had_its_effect() -> None:
    small = SmallWorld(faults=faulty("*", CallAction.HANG, seconds=1000, times=2))
    before = small.clock.now()
    kaggle = DirectGateway(small.world)
    with pytest.raises(Transient, match="no answer within 2 min 30 s"):
        kaggle.find_kernel("first-one")
    with pytest.raises(Ambiguous):
        kaggle.push(tpu("first-one"))
    assert (small.clock.now() - before).total_seconds() == 300
    assert kaggle.find_kernel("first-one") is not None


def test_the_accounts_key_is_taken_out_of_what_sessions_write() -> None:
    small = SmallWorld(Played(ends_after_s=100, lines=[(1.0, "key is s3cret")]))
    kaggle = DirectGateway(small.world, lambda text: text.replace("s3cret", "***"))
    kaggle.push(tpu("first-one"))
    small.after(HOUR)
    assert [line.text for line in kaggle.log("first-one", 1)] == ["key is ***"]


def test_an_answer_that_hangs_takes_its_time_on_the_worlds_clock() -> None:
    small = SmallWorld(faults=faulty("GetKernel", CallAction.HANG, seconds=90))
    before = small.clock.now()
    assert DirectGateway(small.world).find_kernel("any-kernel") is None
    assert (small.clock.now() - before).total_seconds() == 90


def test_the_log_is_numbered_from_its_first_line_and_followed_to_its_end() -> None:
    small = SmallWorld(Played(ends_after_s=100, lines=[(10.0 * n, f"line {n}") for n in range(10)]))
    kaggle = DirectGateway(small.world)
    kaggle.push(tpu("first-one"))
    assert tuple(kaggle.log("first-one", 1)) == ()
    small.after(600 + 25)
    assert [(line.number, line.at_s, line.text) for line in kaggle.log("first-one", 1)] == [
        (0, 0.0, "line 0"),
        (1, 10.0, "line 1"),
        (2, 20.0, "line 2"),
    ]
    assert [line.number for line in kaggle.follow_log("first-one", 1, seen=2)] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert kaggle.session("first-one", 1).worker is Worker.COMPLETE


def written(data: bytes, name: str = "state.bin") -> DirectGateway:
    small = SmallWorld(Played(ends_after_s=10, files=[(1, name, data)]))
    kaggle = DirectGateway(small.world)
    kaggle.push(tpu("first-one"))
    small.after(HOUR)
    return kaggle


def test_a_download_that_is_not_what_was_promised_is_corrupt_and_leaves_nothing(tmp_path: Path) -> None:
    kaggle = written(b"state")
    (file,) = kaggle.output("first-one", 1)
    into = tmp_path / "deep" / "state.bin"
    with pytest.raises(Corrupt):
        kaggle.download(file, into, FileWanted(size_bytes=4))
    with pytest.raises(Corrupt):
        kaggle.download(file, into, FileWanted(sha256="0" * 64))
    assert list(tmp_path.iterdir()) == []
    sha256 = hashlib.sha256(b"state").hexdigest()
    got = kaggle.download(file, into, FileWanted(size_bytes=5, sha256=sha256))
    assert (got.size_bytes, got.sha256, into.read_bytes()) == (5, sha256, b"state")


def test_a_file_that_is_there_is_kept_only_where_its_hash_is_promised(tmp_path: Path) -> None:
    kaggle = written(b"state")
    into = tmp_path / "state.bin"
    into.write_bytes(b"other")
    gone = OutputFile(name="state.bin", url="direct:first-one/v1/gone.bin")
    with pytest.raises(Transient):
        kaggle.download(gone, into, ANY)
    kaggle.download(kaggle.output("first-one", 1)[0], into, FileWanted(size_bytes=5))
    assert into.read_bytes() == b"state"


def test_an_output_name_that_climbs_is_told_and_not_fetched(tmp_path: Path) -> None:
    kaggle = written(b"x", "../climbs")
    (file,) = kaggle.output("first-one", 1)
    assert "does not stay inside" in file.refused
    with pytest.raises(Corrupt):
        kaggle.download(file, tmp_path / "deep" / "climbs", ANY)
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_is_deleted_twice_without_complaint(tmp_path: Path) -> None:
    small = SmallWorld()
    kaggle = DirectGateway(small.world)
    path = tmp_path / "state.bin"
    path.write_bytes(b"1")
    kaggle.create_dataset("some-data", [path])
    small.after(60)
    got = kaggle.download_dataset_file("some-data", "state.bin", tmp_path / "again" / "state.bin", ANY)
    assert got.path.read_bytes() == b"1"
    with pytest.raises(Refused):
        kaggle.download_dataset_file("some-data", "other.bin", tmp_path / "other.bin", ANY)
    kaggle.delete_dataset("some-data")
    kaggle.delete_dataset("some-data")
    assert kaggle.find_dataset("some-data") is None
