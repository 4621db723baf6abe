"""The local Kaggle's kernels keep Kaggle's rules."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.rehearsal.local_kaggle.kernel_records import Status
from orchestrator.rehearsal.local_kaggle.rules import TIME_LIMIT_MESSAGE, KaggleRefusal, MachineKind, PerKind, Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Launch, Played
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from orchestrator.rehearsal.local_kaggle.world import World
from tests.unit.worlds import HOUR, OWNER, SmallWorld

WRITES = Played(
    ends_after_s=100.0,
    lines=[(1.0, "begin"), (99.0, "end")],
    files=[(10.0, "early.txt", b"1"), (90.0, "late.txt", b"22")],
)


def test_a_session_is_queued_then_runs_then_completes_at_the_moments_the_rules_give() -> None:
    small = SmallWorld(WRITES)
    pushed_at = small.clock.now()
    assert small.push().version == 1
    assert small.session().status is Status.QUEUED
    assert small.after(600).session().status is Status.RUNNING
    assert small.after(50_000).session().status is Status.COMPLETE
    session = small.session()
    assert session.started == pushed_at + timedelta(seconds=600)
    assert session.ended == pushed_at + timedelta(seconds=700)
    assert [line.text for line in session.lines] == ["begin", "end"]
    assert {name: file.read() for name, file in session.files.items()} == {"early.txt": b"1", "late.txt": b"22"}


def test_a_log_grows_while_the_session_runs_and_output_appears_when_it_is_over() -> None:
    small = SmallWorld(WRITES)
    small.push()
    session = small.after(600 + 50).session()
    assert [line.text for line in session.lines] == ["begin"]
    assert session.files == {}


def test_an_exit_code_other_than_zero_is_an_error_and_keeps_what_was_written() -> None:
    small = SmallWorld(replace(WRITES, exit_code=3))
    small.push()
    session = small.after(HOUR).session()
    assert session.status is Status.ERROR
    assert set(session.files) == {"early.txt", "late.txt"}


@pytest.mark.parametrize(("timeout_s", "limit_s"), [(None, 9 * HOUR), (50, 50.0), (100 * 3600, 9 * HOUR)])
def test_a_session_is_stopped_at_the_lower_of_both_limits_with_kaggles_words(
    timeout_s: int | None, limit_s: float
) -> None:
    small = SmallWorld(replace(WRITES, ends_after_s=99 * HOUR))
    small.push(timeout_s=timeout_s)
    small.after(600 + limit_s - 1)
    assert small.session().status is Status.RUNNING
    session = small.after(1).session()
    assert session.status is Status.CANCEL_ACKNOWLEDGED
    assert session.message == TIME_LIMIT_MESSAGE
    assert session.started is not None
    assert session.ended == session.started + timedelta(seconds=limit_s)
    assert "early.txt" in session.files
    assert ("late.txt" in session.files) == (limit_s > 90)


def test_a_session_ends_at_its_limit_however_late_anybody_looks() -> None:
    small = SmallWorld(replace(WRITES, ends_after_s=20 * HOUR))
    small.push()
    session = small.after(100 * HOUR).session()
    assert session.status is Status.CANCEL_ACKNOWLEDGED
    assert session.ran_s(session.starts_at, small.clock.now()) == 9 * HOUR


def test_a_second_tpu_push_is_refused_while_the_first_is_only_queued_and_its_source_is_taken_all_the_same() -> None:
    small = SmallWorld()
    small.push(text="first")
    refused = small.push(text="second")
    assert refused.error == "Maximum batch TPU session count of 1 reached."
    assert refused.version is None
    with small.world.at_now():
        assert small.world.kernels.find(OWNER, "first-kernel").newest.save.text == "second"
    small.after(600)
    assert [source for source, _, _ in small.launched] == ["first"]


def test_a_refused_first_push_leaves_a_kernel_that_never_ran() -> None:
    small = SmallWorld()
    small.push("first-kernel")
    assert small.push("second-kernel").error
    with small.world.at_now():
        assert small.world.kernels.exists(OWNER, "second-kernel")
        assert small.world.kernels.session(OWNER, "second-kernel") is None


@pytest.mark.parametrize(("shape", "slots"), [("TpuV5E8", 1), ("NvidiaTeslaT4", 2), ("", 5)])
def test_each_kind_has_its_own_slots_and_an_ended_session_gives_its_slot_back(shape: str, slots: int) -> None:
    small = SmallWorld()
    for number in range(slots):
        assert not small.push(f"kernel-{number}", machine_shape=shape).error
    assert f"session count of {slots} reached" in small.push("one-more", machine_shape=shape).error
    small.after(HOUR)
    assert not small.push("one-more", machine_shape=shape).error


def test_quota_counts_seconds_of_running_and_reserves_the_rest_of_live_sessions() -> None:
    small = SmallWorld(Played(ends_after_s=2 * HOUR))
    small.push()
    with small.world.at_now() as now:
        queued = small.world.kernels.quota(MachineKind.TPU, now)
    assert (queued.used_s, queued.reserved_s, queued.has_ever_run) == (0.0, 9 * HOUR, False)
    small.after(600 + HOUR)
    with small.world.at_now() as now:
        running = small.world.kernels.quota(MachineKind.TPU, now)
    assert (running.used_s, running.reserved_s, running.has_ever_run) == (HOUR, 8 * HOUR, True)
    small.after(5 * HOUR)
    with small.world.at_now() as now:
        ended = small.world.kernels.quota(MachineKind.TPU, now)
        assert small.world.kernels.quota(MachineKind.GPU, now).used_s == 0.0
    assert (ended.used_s, ended.reserved_s, ended.total_s) == (2 * HOUR, 0.0, 20 * HOUR)


def test_a_push_without_quota_is_refused_until_the_week_is_over() -> None:
    small = SmallWorld(Played(ends_after_s=9 * HOUR), Rules(quota_s=PerKind(9 * HOUR, 0, 0)))
    small.push("first-kernel")
    small.after(10 * HOUR)
    assert "quota" in small.push("second-kernel").error
    _, refresh = small.world.rules.week(small.clock.now())
    small.after((refresh - small.clock.now()).total_seconds())
    assert not small.push("third-kernel").error


def test_a_session_that_spans_the_refresh_counts_only_its_hours_of_the_new_week() -> None:
    small = SmallWorld(Played(ends_after_s=4 * HOUR), Rules(queue_s=PerKind.all(0)))
    _, refresh = small.world.rules.week(small.clock.now())
    small.after((refresh - small.clock.now()).total_seconds() - HOUR)
    small.push()
    small.after(10 * HOUR)
    with small.world.at_now() as now:
        assert small.world.kernels.quota(MachineKind.TPU, now).used_s == 3 * HOUR


def test_the_cpu_has_no_quota() -> None:
    small = SmallWorld(Played(ends_after_s=12 * HOUR))
    for number in range(20):
        assert not small.push(f"kernel-{number}", machine_shape="").error
        small.after(13 * HOUR)


def test_a_push_with_a_source_that_does_not_exist_succeeds_and_runs_without_it() -> None:
    small = SmallWorld()
    small.create("there-is", a=b"1")
    small.after(HOUR)
    sources = (f"{OWNER}/there-is", f"{OWNER}/there-is-not")
    saved = small.push(dataset_sources=sources, kernel_sources=("bob/none",), model_sources=("g/m/f/v/1",))
    assert (saved.version, saved.error) == (1, "")
    assert saved.invalid_datasets == (f"{OWNER}/there-is-not",)
    assert saved.invalid_kernels == ("bob/none",)
    assert saved.invalid_models == ("g/m/f/v/1",)
    small.after(HOUR)
    assert list(small.launched[0][1]) == [f"{OWNER}/there-is"]


def test_a_session_mounts_the_version_that_is_ready_when_it_starts_not_the_one_that_was_there_at_the_push() -> None:
    small = SmallWorld(rules=Rules(queue_s=PerKind.all(600), dataset_processing_s=300))
    small.create("some-data", step=b"1")
    small.after(HOUR)
    small.push("in-time", dataset_sources=(f"{OWNER}/some-data",))
    small.add_version("some-data", step=b"2")
    small.after(HOUR)
    small.add_version("some-data", step=b"3")
    small.push("just-so", dataset_sources=(f"{OWNER}/some-data",), machine_shape="")
    mounted = [mounts[f"{OWNER}/some-data"]["step"] for _, mounts, _ in small.after(HOUR).launched]
    assert mounted == [b"2", b"3"]


def test_a_kernel_pushed_before_its_dataset_is_ready_silently_gets_the_version_before_or_nothing() -> None:
    small = SmallWorld(rules=Rules(queue_s=PerKind.all(10), dataset_processing_s=300))
    small.create("some-data", step=b"1")
    assert not small.push("runs-without", dataset_sources=(f"{OWNER}/some-data",)).invalid_datasets
    small.after(HOUR)
    small.add_version("some-data", step=b"2")
    small.push("runs-with-old", dataset_sources=(f"{OWNER}/some-data",))
    small.after(HOUR)
    without, with_old = (mounts for _, mounts, _ in small.launched)
    assert without == {}
    assert with_old[f"{OWNER}/some-data"]["step"] == b"1"


@pytest.mark.parametrize(("pins", "mounted"), [(True, b"1"), (False, b"2")])
def test_whether_a_version_in_a_source_is_obeyed_is_a_rule(pins: bool, mounted: bytes) -> None:
    small = SmallWorld(rules=Rules(pins_versions=pins))
    small.create("some-data", step=b"1")
    small.after(HOUR)
    small.add_version("some-data", step=b"2")
    small.after(HOUR)
    small.push(dataset_sources=(f"{OWNER}/some-data/1",))
    assert small.after(HOUR).launched[0][1][f"{OWNER}/some-data"]["step"] == mounted


def test_a_kernel_source_mounts_the_newest_output_even_of_a_session_that_failed() -> None:
    def play(source: str, mounts: object, limit_s: float) -> Played:
        return Played(ends_after_s=10, exit_code=source == "bad", files=[(5, "out.txt", source.encode())])

    small = SmallWorld(play)
    for text in ("good", "bad"):
        small.push("producer-one", text=text)
        small.after(HOUR)
    small.push("consumer-one", kernel_sources=(f"{OWNER}/producer-one",))
    assert small.after(HOUR).launched[2][1] == {f"{OWNER}/producer-one": {"out.txt": b"bad"}}


def test_what_ended_before_a_session_started_is_mounted_however_seldom_anybody_looks() -> None:
    rules = Rules(queue_s=PerKind(tpu=10, gpu=500, cpu=10))
    small = SmallWorld(Played(ends_after_s=100, files=[(1, "out.txt", b"x")]), rules)
    small.push("producer-one")
    small.push("consumer-one", machine_shape="NvidiaTeslaT4", kernel_sources=(f"{OWNER}/producer-one",))
    small.after(10 * HOUR)
    assert small.launched[1][1] == {f"{OWNER}/producer-one": {"out.txt": b"x"}}


def test_a_model_is_mounted_where_it_was_offered() -> None:
    small = SmallWorld()
    small.create("any-data", a=b"weights")
    with small.world.at_now() as now:
        version = small.world.datasets.find(OWNER, "any-data").versions[0]
        assert version.status(now) != "READY"
    small.world.offer_model("google/gemma/flax/1b/1", version.files)
    assert not small.push(model_sources=("google/gemma/flax/1b/1",)).invalid_models
    assert small.after(HOUR).launched[0][1] == {"google/gemma/flax/1b/1": {"a": b"weights"}}


def test_what_is_offered_everywhere_is_mounted_without_being_asked_for() -> None:
    small = SmallWorld()
    file = Content.of_bytes(b"rows", small.clock.now())
    small.world.offer_everywhere("stand-in-sets", {"gsm8k/train.parquet": file})
    small.push()
    assert small.after(HOUR).launched[0][1] == {"stand-in-sets": {"gsm8k/train.parquet": b"rows"}}


class Refusing:
    """A sandbox on a machine that is full."""

    def start(self, launch: Launch) -> "SmallWorld":
        raise OSError("No space left on device")

    def close(self) -> None:
        """Nothing runs."""


def test_a_session_that_cannot_be_started_fails_alone() -> None:
    small = SmallWorld()
    small.world = World(small.clock, Refusing(), owner=OWNER)  # type: ignore[arg-type]
    small.push()
    session = small.after(HOUR).session()
    assert session.status is Status.ERROR
    assert "No space left" in session.message
    assert not small.push("second-kernel").error


class Places:
    """A sandbox that only notes where things are mounted."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def start(self, launch: Launch) -> "SmallWorld":
        self.seen.extend(mount.place for mount in launch.mounts)
        raise OSError("enough seen")

    def close(self) -> None:
        """Nothing runs."""


def _places(seed: int) -> list[str]:
    small, places = SmallWorld(), Places()
    small.world = World(small.clock, places, Rules(seed=seed), owner=OWNER)  # type: ignore[arg-type]
    small.create("some-data", a=b"1")
    small.after(HOUR)
    for number in range(12):
        small.push(f"kernel-{number}", dataset_sources=(f"{OWNER}/some-data",))
        small.after(HOUR)
    return places.seen


def test_mounts_appear_in_either_layout_and_the_seed_decides() -> None:
    assert set(_places(1)) == {"some-data", f"datasets/{OWNER}/some-data"}
    assert _places(1) == _places(1)
    assert _places(1) != _places(2)


def test_output_beyond_the_limit_is_an_error() -> None:
    small = SmallWorld(Played(ends_after_s=10, files=[(5, "big.bin", b"x" * 11)]), Rules(output_bytes_max=10))
    small.push()
    session = small.after(HOUR).session()
    assert session.status is Status.ERROR
    assert "output" in session.message


def test_every_save_is_a_new_version_and_a_quick_save_runs_nothing() -> None:
    small = SmallWorld()
    assert small.push(runs=False).version == 1
    assert small.push().version == 2
    small.after(HOUR)
    assert len(small.launched) == 1
    with small.world.at_now():
        assert small.world.kernels.session(OWNER, "first-kernel", "v1") is None


def test_a_version_is_found_by_its_label_and_a_bare_number_is_not_a_label() -> None:
    small = SmallWorld()
    small.push(text="one")
    small.after(HOUR)
    small.push(text="two")
    with small.world.at_now():
        assert small.world.kernels.version(OWNER, "first-kernel", "v1").save.text == "one"
        assert small.world.kernels.version(OWNER, "first-kernel").save.text == "two"
        for label in ("1", "v3", "v0", "vv1"):
            with pytest.raises(KaggleRefusal) as refused:
                small.world.kernels.version(OWNER, "first-kernel", label)
            assert refused.value.code == 404


@pytest.mark.parametrize("code", [403, 404])
def test_an_unknown_kernel_is_hidden_behind_the_code_of_the_rules(code: int) -> None:
    small = SmallWorld(rules=Rules(missing_kernel_code=code))
    with small.world.at_now(), pytest.raises(KaggleRefusal) as refused:
        small.world.kernels.find(OWNER, "nowhere")
    assert refused.value.code == code


def test_nobody_saves_into_another_account() -> None:
    small = SmallWorld()
    small.world.owner = "bob"
    with pytest.raises(KaggleRefusal) as refused:
        small.push()
    assert refused.value.code == 403


def test_a_source_of_a_million_bytes_is_refused_and_one_byte_less_is_not() -> None:
    small = SmallWorld()
    with pytest.raises(KaggleRefusal, match="less than 1 megabytes") as refused:
        small.push(text="x" * 1_000_000)
    assert refused.value.code == 400
    with small.world.at_now():
        assert not small.world.kernels.exists(OWNER, "first-kernel")
    assert not small.push(text="é" * 499_999 + "x").error


def test_a_new_kernel_is_named_after_its_title() -> None:
    small = SmallWorld()
    assert small.push("asked-for", title="Quite Another Name").ref == f"{OWNER}/quite-another-name"


@pytest.mark.parametrize("title", ["", "abcd", "!?!?!?"])
def test_a_new_kernel_needs_a_title_that_names_it(title: str) -> None:
    with pytest.raises(KaggleRefusal, match="five characters"):
        SmallWorld().push("some-slug", title=title)


def test_a_pinned_image_runs_on_the_cpu_whatever_was_asked() -> None:
    small = SmallWorld()
    small.push(docker_image="gcr.io/kaggle-images/python")
    with small.world.at_now() as now:
        assert small.world.kernels.quota(MachineKind.TPU, now).reserved_s == 0.0


def test_deleting_a_kernel_ends_its_session_frees_the_slot_and_keeps_its_hours_spent() -> None:
    small = SmallWorld(Played(ends_after_s=9 * HOUR))
    small.push()
    small.after(600 + HOUR)
    small.world.delete_kernel(OWNER, "first-kernel")
    assert not small.push("second-kernel").error
    with small.world.at_now() as now:
        assert small.world.kernels.quota(MachineKind.TPU, now).used_s == HOUR
        with pytest.raises(KaggleRefusal):
            small.world.kernels.find(OWNER, "first-kernel")
