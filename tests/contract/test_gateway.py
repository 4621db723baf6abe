"""The promises of the port to Kaggle, which every gateway keeps."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.base.errors import Corrupt, NoSlot, OutOfQuota, Permanent, Refused
from orchestrator.kaggle.gateway import Access
from orchestrator.platforms.port import FileWanted, KernelPush, KernelsPage, Worker
from orchestrator.rehearsal.local_kaggle.datasets import Describe
from orchestrator.rehearsal.local_kaggle.kernel_records import Save
from orchestrator.rehearsal.local_kaggle.rules import PerKind
from orchestrator.rehearsal.local_kaggle.sandbox import Played
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from tests.contract.worlds import OWNER, RULES, STATE, Place, directly, kernel, over_http

SLUG = "gsm-3f9a-s0001"
DATASET = "gsm-3f9a-c0001"
SHA256 = hashlib.sha256(STATE).hexdigest()

WAYS = {"http": over_http, "direct": directly}


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def place(way: str, tmp_path: Path) -> Iterator[Place]:
    with WAYS[way](tmp_path / "kaggle") as place:
        yield place


def ended(place: Place) -> Place:
    """The place after one session ran to its end."""
    place.gateway.push(kernel(SLUG))
    place.wait(10)
    place.wait(100)
    assert place.gateway.session(SLUG, 1).worker is Worker.COMPLETE
    return place


# --- account ----------------------------------------------------------------


def test_the_owner_is_the_accounts_user_name(place: Place) -> None:
    assert place.gateway.owner() == OWNER


def test_quota_is_told_in_seconds_and_a_running_session_uses_it(place: Place) -> None:
    fresh = place.gateway.quota("tpu")
    assert fresh is not None
    assert (fresh.used_s, fresh.reserved_s, fresh.total_s) == (0.0, 0.0, 20 * 3600.0)
    assert fresh.refreshes_at is not None
    assert fresh.refreshes_at > place.clock.now()
    place.gateway.push(kernel(machine_shape="TpuV5E8"))
    place.wait(10)
    place.wait(60)
    used = place.gateway.quota("tpu")
    assert used is not None
    assert used.used_s + used.reserved_s >= 60.0
    assert used.left_s is not None
    assert used.left_s <= 20 * 3600.0 - 60.0


def test_a_cpu_has_no_quota(place: Place) -> None:
    assert place.gateway.quota("cpu") is None


# --- kernels ----------------------------------------------------------------


def test_a_kernel_that_was_never_pushed_is_not_found(place: Place) -> None:
    assert place.gateway.find_kernel(SLUG) is None


def test_a_pushed_kernel_is_found_with_its_source_and_version(place: Place) -> None:
    pushed = place.gateway.push(kernel(SLUG))
    assert pushed.ref == f"{OWNER}/{SLUG}"
    found = place.gateway.find_kernel(SLUG)
    assert found is not None
    assert (found.ref, found.version) == (pushed.ref, 1)
    assert found.source == kernel(SLUG).source


def test_a_session_is_queued_then_running_then_complete(place: Place) -> None:
    place.gateway.push(kernel(SLUG))
    seen = [place.gateway.session(SLUG, 1).worker]
    place.wait(10)
    seen.append(place.gateway.session(SLUG, 1).worker)
    place.wait(100)
    seen.append(place.gateway.session(SLUG, 1).worker)
    assert seen == [Worker.QUEUED, Worker.RUNNING, Worker.COMPLETE]


@pytest.mark.slow
def test_a_session_whose_program_fails_ends_as_an_error(way: str, tmp_path: Path) -> None:
    with WAYS[way](tmp_path, played=Played(ends_after_s=5.0, exit_code=1)) as place:
        place.gateway.push(kernel(SLUG))
        place.wait(10)
        place.wait(10)
        assert place.gateway.session(SLUG, 1).worker is Worker.ERROR


def test_a_session_over_its_limit_ends_acknowledged_and_says_why(place: Place) -> None:
    place.gateway.push(kernel(SLUG, timeout_s=30))
    place.wait(10)
    place.wait(31)
    seen = place.gateway.session(SLUG, 1)
    assert seen.worker is Worker.CANCEL_ACKNOWLEDGED
    assert "exceeded the max allowed execution duration" in seen.message


def test_a_session_that_nobody_started_is_unknown_and_no_error(place: Place) -> None:
    seen = place.gateway.session("gsm-3f9a-s0099", 1)
    assert seen.worker is Worker.UNKNOWN
    assert not seen.worker.terminal


def test_a_second_tpu_session_is_refused_for_want_of_a_slot_and_does_not_run(place: Place) -> None:
    place.gateway.push(kernel(SLUG, machine_shape="TpuV5E8"))
    with pytest.raises(NoSlot, match="Maximum batch TPU session count of 1 reached"):
        place.gateway.push(kernel("gsm-3f9a-s0002", machine_shape="TpuV5E8"))
    place.wait(10)
    assert place.gateway.session("gsm-3f9a-s0002", None).worker is Worker.NEW_SCRIPT, "saved, and not run"


@pytest.mark.slow
def test_a_push_without_quota_is_told_apart_from_other_refusals(way: str, tmp_path: Path) -> None:
    rules = replace(RULES, quota_s=PerKind.all(0.0))
    with WAYS[way](tmp_path, rules=rules) as place, pytest.raises(OutOfQuota, match="quota"):
        place.gateway.push(kernel(SLUG, machine_shape="TpuV5E8"))


def test_a_source_that_kaggle_does_not_know_is_named_and_asks_for_a_person(place: Place) -> None:
    with pytest.raises(Permanent, match=f"{OWNER}/no-such-data"):
        place.gateway.push(kernel(SLUG, dataset_sources=(f"{OWNER}/no-such-data",)))


def test_a_source_of_a_megabyte_is_refused_before_anything_is_sent(place: Place) -> None:
    with pytest.raises(Permanent, match=SLUG):
        place.gateway.push(kernel(SLUG, source="#" * 1_000_000))
    assert place.gateway.find_kernel(SLUG) is None


def test_a_source_just_below_a_megabyte_is_taken(place: Place) -> None:
    source = "#" * 999_999
    place.gateway.push(kernel(SLUG, source=source))
    found = place.gateway.find_kernel(SLUG)
    assert found is not None
    assert found.source == source


@pytest.mark.slow
def test_the_list_of_kernels_has_every_page_and_only_what_begins_so(way: str, tmp_path: Path) -> None:
    with WAYS[way](tmp_path, rules=replace(RULES, slots=PerKind.all(500.0))) as place:
        wanted = tuple(f"gsm-3f9a-s{number:04d}" for number in range(1, 231))
        for slug in (*wanted, "gsm-77aa-s0001", "another-gsm-3f9a-s0001"):
            place.gateway.push(kernel(slug))
        assert place.gateway.list_kernels("gsm-3f9a-s") == wanted
        assert place.gateway.list_kernels("") == tuple(sorted((*wanted, "gsm-77aa-s0001", "another-gsm-3f9a-s0001")))
        assert place.gateway.list_kernels("nobody-") == ()


def test_other_peoples_kernels_and_datasets_are_not_listed(place: Place) -> None:
    with place.world.at_now() as now:
        place.world.kernels.save(Save(slug="bob/gsm-3f9a-s0001", text="", title="gsm-3f9a-s0001"), now, {})
        held = {"state.bin": Content.of_bytes(b"theirs", now)}
        place.world.datasets.create("bob", DATASET, Describe(title=DATASET), held, now)
    assert place.gateway.list_kernels("gsm") == place.gateway.list_datasets("gsm") == ()


# --- logs -------------------------------------------------------------------


def test_a_session_in_the_queue_has_an_empty_log(place: Place) -> None:
    place.gateway.push(kernel(SLUG))
    assert tuple(place.gateway.log(SLUG, 1)) == ()


@pytest.mark.slow
def test_a_running_sessions_log_is_shown_as_far_as_it_goes(place: Place) -> None:
    place.gateway.push(kernel(SLUG))
    place.wait(10)
    place.wait(25)
    assert [(line.number, line.text) for line in place.gateway.log(SLUG, 1)] == [
        (0, "line 0"),
        (1, "line 10"),
        (2, "line 20"),
    ]


def test_a_finished_log_is_whole_and_numbered_from_its_first_line(place: Place) -> None:
    log = tuple(ended(place).gateway.log(SLUG, 1))
    assert [line.number for line in log] == list(range(10))
    assert [line.text for line in log] == [f"line {second}" for second in range(0, 100, 10)]
    assert [line.at_s for line in log] == [float(second) for second in range(0, 100, 10)]
    assert {line.stream for line in log} == {"stdout"}


def test_following_a_log_gives_each_line_once_and_ends_with_it(place: Place) -> None:
    followed = ended(place).gateway.follow_log(SLUG, 1)
    assert [line.number for line in followed] == list(range(10))


def test_following_a_log_goes_on_after_the_lines_that_were_seen(place: Place) -> None:
    followed = ended(place).gateway.follow_log(SLUG, 1, seen=7)
    assert [line.text for line in followed] == ["line 70", "line 80", "line 90"]


# --- output -----------------------------------------------------------------


@pytest.mark.slow
def test_every_file_that_a_session_left_is_listed(way: str, tmp_path: Path) -> None:
    files = tuple((1.0, f"relay/part-{number:04d}.bin", b"x") for number in range(450))
    with WAYS[way](tmp_path, played=Played(ends_after_s=2.0, files=files)) as place:
        place.gateway.push(kernel(SLUG))
        place.wait(10)
        place.wait(10)
        assert [file.name for file in place.gateway.output(SLUG, 1)] == [name for _, name, _ in files]


def test_a_session_that_was_killed_at_its_limit_leaves_what_it_had_written(place: Place) -> None:
    place.gateway.push(kernel(SLUG, timeout_s=60))
    place.wait(10)
    place.wait(61)
    assert [file.name for file in place.gateway.output(SLUG, 1)] == ["relay/report.json"]


def test_a_downloaded_file_is_whole_and_leaves_no_part_behind(place: Place, tmp_path: Path) -> None:
    (file,) = (file for file in ended(place).gateway.output(SLUG, 1) if file.name == "relay/state.bin")
    into = tmp_path / "deep" / "state.bin"
    wanted = FileWanted(size_bytes=len(STATE), sha256=SHA256)
    got = place.gateway.download(file, into, wanted)
    assert (got.path, got.size_bytes, got.sha256) == (into, len(STATE), SHA256)
    assert into.read_bytes() == STATE
    assert [path.name for path in into.parent.iterdir()] == ["state.bin"]
    assert place.gateway.download(file, into, wanted) == got, "repeating is safe"


@pytest.mark.parametrize("wanted", [FileWanted(sha256="0" * 64), FileWanted(size_bytes=7)])
def test_a_file_that_is_not_what_was_promised_is_corrupt_and_leaves_nothing(
    place: Place, tmp_path: Path, wanted: FileWanted
) -> None:
    (file,) = (file for file in ended(place).gateway.output(SLUG, 1) if file.name == "relay/state.bin")
    into = tmp_path / "quiet" / "state.bin"
    with pytest.raises(Corrupt):
        place.gateway.download(file, into, wanted)
    assert list(into.parent.glob("*")) == []


def test_bytes_that_are_not_what_was_promised_are_moved_to_where_damaged_ones_are_wanted(
    place: Place, tmp_path: Path
) -> None:
    (file,) = (file for file in ended(place).gateway.output(SLUG, 1) if file.name == "relay/state.bin")
    into, damaged = tmp_path / "quiet" / "state.bin", tmp_path / "aside" / "c1.state.bin"
    with pytest.raises(Corrupt):
        place.gateway.download(file, into, FileWanted(size_bytes=len(STATE), sha256="0" * 64, damaged=damaged))
    assert damaged.read_bytes() == STATE
    assert list(into.parent.glob("*")) == []


# --- datasets ---------------------------------------------------------------


def checkpoint(directory: Path) -> list[Path]:
    """Two files, as a checkpoint has them."""
    directory.mkdir()
    files = {"manifest.json": b'{"format":1}', "state.bin": STATE}
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return [directory / name for name in files]


def test_a_dataset_that_was_never_created_is_not_found(place: Place) -> None:
    assert place.gateway.find_dataset(DATASET) is None


def test_the_list_of_datasets_has_every_page_and_only_what_begins_so(place: Place, tmp_path: Path) -> None:
    wanted = tuple(f"gsm-3f9a-c{number:04d}" for number in range(1, 121))
    with place.world.at_now() as now:  # made on Kaggle's side: uploading so many would only take time
        for slug in (*wanted, "gsm-77aa-c0001"):
            held = {"state.bin": Content.of_bytes(b"x", now)}
            place.world.datasets.create(OWNER, slug, Describe(title=slug), held, now)
    assert place.gateway.list_datasets("gsm-3f9a-c") == wanted
    assert len(place.gateway.list_datasets("gsm-")) == 121


def test_a_created_dataset_is_private_and_becomes_ready_with_every_file(place: Place, tmp_path: Path) -> None:
    place.gateway.create_dataset(DATASET, checkpoint(tmp_path / "c"))
    early = place.gateway.find_dataset(DATASET)
    assert early is not None
    assert early.status != "ready"
    place.wait(61)
    seen = place.gateway.find_dataset(DATASET)
    assert seen is not None
    assert (seen.ref, seen.version, seen.status, seen.private) == (f"{OWNER}/{DATASET}", 1, "ready", True)
    assert {file.name: file.size_bytes for file in seen.files} == {"manifest.json": 12, "state.bin": len(STATE)}


def test_a_datasets_file_comes_back_byte_for_byte(place: Place, tmp_path: Path) -> None:
    place.gateway.create_dataset(DATASET, checkpoint(tmp_path / "c"))
    place.wait(61)
    into = tmp_path / "back" / "state.bin"
    wanted = FileWanted(size_bytes=len(STATE), sha256=SHA256)
    assert place.gateway.download_dataset_file(DATASET, "state.bin", into, wanted).sha256 == SHA256
    assert into.read_bytes() == STATE


def test_a_name_that_is_taken_is_refused(place: Place, tmp_path: Path) -> None:
    files = checkpoint(tmp_path / "c")
    place.gateway.create_dataset(DATASET, files)
    with pytest.raises(Refused):
        place.gateway.create_dataset(DATASET, files)


def test_a_deleted_dataset_is_gone_and_deleting_it_again_is_no_error(place: Place, tmp_path: Path) -> None:
    place.gateway.create_dataset(DATASET, checkpoint(tmp_path / "c"))
    place.gateway.delete_dataset(DATASET)
    assert place.gateway.find_dataset(DATASET) is None
    place.gateway.delete_dataset(DATASET)


def test_a_published_checkpoint_can_be_given_to_the_next_kernel(place: Place, tmp_path: Path) -> None:
    place.gateway.create_dataset(DATASET, checkpoint(tmp_path / "c"))
    place.wait(61)
    push: KernelPush = kernel("gsm-3f9a-s0002", dataset_sources=(f"{OWNER}/{DATASET}",))
    assert place.gateway.push(push).ref == f"{OWNER}/gsm-3f9a-s0002"


# --- what others made -------------------------------------------------------------

MODEL = "google/gemma-2/flax/gemma2-2b-it/1"


def weights(place: Place) -> dict[str, Content]:
    return {"gemma2-2b-it/shard": Content.of_bytes(b"w" * 4096, place.clock.now())}


def test_a_model_that_the_account_may_read_is_readable_with_its_size(place: Place) -> None:
    place.world.offer_model(MODEL, weights(place))
    seen = place.gateway.see_model(MODEL)
    assert (seen.ref, seen.access, seen.size_bytes) == (MODEL, Access.READABLE, 4096)


@pytest.mark.parametrize("framework", ["pyTorch", "tensorFlow2", "transformers", "maxText"])
def test_a_model_is_found_whatever_its_framework_is_called(place: Place, framework: str) -> None:
    ref = f"google/gemma-2/{framework}/gemma2-2b-it/1"
    place.world.offer_model(ref, weights(place))
    assert place.gateway.see_model(ref).access is Access.READABLE


def test_a_model_whose_licence_was_not_accepted_is_denied_in_kaggles_words(place: Place) -> None:
    place.world.offer_model(MODEL, weights(place), accepted=False)
    seen = place.gateway.see_model(MODEL)
    assert seen.access is Access.DENIED
    assert "accept the model's license" in seen.reason


@pytest.mark.parametrize("ref", [MODEL, MODEL.replace("/1", "/2"), "google/gemma-2/pyTorch/gemma2-2b-it/1"])
def test_a_model_version_that_does_not_exist_is_absent(place: Place, ref: str) -> None:
    place.world.offer_model(MODEL.replace("/1", "/3"), weights(place))
    assert place.gateway.see_model(ref).access is Access.ABSENT


@pytest.mark.slow
def test_a_model_is_downloaded_with_all_its_files_and_folders(place: Place, tmp_path: Path) -> None:
    now = place.clock.now()
    many = {f"gemma2-2b-it/d/{number:03}": Content.of_bytes(b"%d" % number, now) for number in range(230)}
    place.world.offer_model(MODEL, {**weights(place), **many, "tokenizer.model": Content.of_bytes(b"", now)})
    for _again in range(2):
        place.gateway.download_model(MODEL, tmp_path / "m")
    found = {
        path.relative_to(tmp_path / "m").as_posix(): path.read_bytes()
        for path in (tmp_path / "m").rglob("*")
        if path.is_file()
    }
    assert found == {
        "gemma2-2b-it/shard": b"w" * 4096,
        "tokenizer.model": b"",
        **{name: content.read() for name, content in many.items()},
    }


def test_a_model_whose_licence_was_not_accepted_is_no_source_for_a_session(place: Place) -> None:
    place.world.offer_model(MODEL, weights(place), accepted=False)
    with pytest.raises(Permanent, match="gemma-2"):
        place.gateway.push(kernel(model_sources=(MODEL,)))


@pytest.mark.slow
def test_anybodys_dataset_is_readable_or_absent_or_denied(way: str, tmp_path: Path) -> None:
    for code, access in ((404, Access.ABSENT), (403, Access.DENIED)):
        with WAYS[way](tmp_path / f"kaggle-{code}", rules=replace(RULES, missing_dataset_code=code)) as place:
            now = place.clock.now()
            files = {"train.parquet": Content.of_bytes(b"rows", now)}
            place.world.datasets.create("bob", "maths-problems", Describe(title="maths-problems"), files, now)
            place.wait(RULES.dataset_processing_s)
            seen = place.gateway.see_dataset("bob/maths-problems")
            assert (seen.access, seen.size_bytes) == (Access.READABLE, 4)
            assert place.gateway.see_dataset("bob/nothing-here").access is access


def test_the_kernels_that_ran_last_come_first_with_what_they_ran_on(place: Place) -> None:
    assert place.gateway.recent_kernels() == KernelsPage()
    place.gateway.push(kernel("first-kernel"))
    place.wait(200)
    place.gateway.push(kernel("second-kernel", machine_shape="TpuV5E8"))
    place.wait(20)
    listed = place.gateway.recent_kernels().kernels
    assert [(found.slug, found.machine_shape) for found in listed] == [
        ("second-kernel", "TpuV5E8"),
        ("first-kernel", ""),
    ]


def test_the_kernels_that_ran_last_come_page_by_page_with_the_time_at_which_they_did(place: Place) -> None:
    begun_at = place.clock.now()
    for number in range(45):
        place.world.kernels.save(
            Save(slug=f"{OWNER}/kernel-{number:02d}", text="1", title=f"kernel-{number:02d}", runs=False),
            place.clock.now(),
            {},
        )
        place.wait(60)
    pages = [place.gateway.recent_kernels()]
    while pages[-1].following is not None:
        pages.append(place.gateway.recent_kernels(pages[-1].following))
    assert [len(page.kernels) for page in pages] == [20, 20, 5]
    listed = [found for page in pages for found in page.kernels]
    assert [found.slug for found in listed] == [f"kernel-{number:02d}" for number in reversed(range(45))]
    assert [found.ran_at for found in listed] == [begun_at + timedelta(minutes=m) for m in reversed(range(45))]


def test_quota_says_whether_a_session_ever_ran_there(place: Place) -> None:
    fresh = place.gateway.quota("tpu")
    assert fresh is not None
    assert not fresh.ever_run
    place.gateway.push(kernel(machine_shape="TpuV5E8"))
    place.wait(20)
    used = place.gateway.quota("tpu")
    assert used is not None
    assert used.ever_run
