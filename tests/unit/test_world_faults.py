"""Faults strike where the plan says, the same way every time."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.base.errors import BadInput
from orchestrator.rehearsal.local_kaggle.fault_injection import FaultInjector
from orchestrator.rehearsal.local_kaggle.faults import (
    LASTING,
    TRIGGERED,
    CallAction,
    CallFault,
    DatasetAction,
    DatasetFault,
    FaultPlan,
    PushAction,
    PushFault,
    SessionAction,
    SessionFault,
)
from orchestrator.rehearsal.local_kaggle.kernel_records import SaveAnswer, Status
from orchestrator.rehearsal.local_kaggle.rules import TIME_LIMIT_MESSAGE, PerKind, Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Played
from stages.contract import Cursor, Progress, Report
from tests.unit.worlds import HOUR, Mounts, SmallWorld


def steps(stage: str = "sft", number: int = 10, every_s: float = 10.0) -> Played:
    """A session that reports a step every ten seconds and saves a file with each."""
    events = [
        Progress(number=step, event="step", at_s=step * every_s, stage=stage, step=step, target=number).line()
        for step in range(1, number + 1)
    ]
    return Played(
        ends_after_s=number * every_s + 5,
        lines=[((step + 1) * every_s, line) for step, line in enumerate(events)],
        files=[((step + 1) * every_s, f"step-{step + 1}", b"") for step in range(number)],
    )


def struck(fault: SessionFault, played: Played | None = None, seed: int = 0) -> SmallWorld:
    small = SmallWorld(played or steps(), faults=FaultPlan(seed=seed, sessions=(fault,)))
    small.push()
    return small.after(600)


def test_a_session_killed_after_some_seconds_is_an_error_without_a_message_and_keeps_its_files() -> None:
    small = struck(SessionFault(session=1, action=SessionAction.KILL, after_s=35))
    session = small.after(HOUR).session()
    assert (session.status, session.message) == (Status.ERROR, "")
    assert session.ran_s(session.starts_at, small.clock.now()) == 35.0
    assert set(session.files) == {"step-1", "step-2", "step-3"}
    assert len(session.lines) == 3


@pytest.mark.parametrize(
    ("session", "image"),
    [
        (1, {}),
        (2, {"NPROC": "1", "XLA_FLAGS": "--a"}),
        (3, {"NPROC": "1", "XLA_FLAGS": "--a"}),
        (4, {"XLA_FLAGS": "--b"}),
    ],
)
def test_an_image_holds_from_its_session_on_until_the_next_one(session: int, image: dict[str, str]) -> None:
    plan = FaultPlan.from_yaml("""
        images:
          - {session: 2, environment: {NPROC: "1", XLA_FLAGS: --a}}
          - {session: 4, environment: {NPROC: "", XLA_FLAGS: --b}}
    """)
    injector = FaultInjector(plan)
    assert injector.image(session) == image
    assert injector.struck == (["image change"] if session in (2, 4) else [])


def test_an_image_needs_a_session_and_text(tmp_path: Path) -> None:
    for wrong in ("{session: 0, environment: {A: b}}", "{session: 1}", "{session: 1, environment: {A: 1}}"):
        with pytest.raises(BadInput, match="images"):
            FaultPlan.from_yaml(f"images: [{wrong}]")


def test_a_kill_within_the_next_step_falls_between_two_steps() -> None:
    ends = set()
    for seed in range(20):
        fault = SessionFault(session=1, action=SessionAction.KILL, stage="sft", step=4, within_s=9.9)
        small = struck(fault, seed=seed)
        session = small.after(HOUR).session()
        ran_s = session.ran_s(session.starts_at, small.clock.now())
        assert 40.0 <= ran_s < 50.0
        ends.add(ran_s)
    assert len(ends) > 10


def test_a_fault_without_a_session_befalls_the_first_that_comes_to_its_step_and_no_other() -> None:
    small = struck(SessionFault(action=SessionAction.KILL, step=4))
    assert small.after(HOUR).session().status is Status.ERROR
    small.push()
    assert small.after(HOUR).session().status is Status.COMPLETE


def test_a_fault_without_a_session_needs_a_step() -> None:
    with pytest.raises(ValueError, match="give its number"):
        SessionFault(action=SessionAction.KILL, after_s=4.0)


def test_a_trigger_waits_for_its_own_stage() -> None:
    fault = SessionFault(session=1, action=SessionAction.KILL, stage="grpo", step=4)
    assert struck(fault).after(HOUR).session().status is Status.COMPLETE
    assert struck(fault, steps("grpo")).after(HOUR).session().status is Status.ERROR


def test_a_trigger_without_a_stage_takes_any() -> None:
    fault = SessionFault(session=1, action=SessionAction.KILL, step=4)
    assert struck(fault, steps("grpo")).after(HOUR).session().status is Status.ERROR


def test_a_stalled_session_says_and_writes_nothing_more_until_the_limit_kills_it() -> None:
    small = struck(SessionFault(session=1, action=SessionAction.STALL, after_s=35))
    session = small.after(8 * HOUR).session()
    assert session.status is Status.RUNNING
    assert len(session.lines) == 3
    session = small.after(HOUR).session()
    assert (session.status, session.message) == (Status.CANCEL_ACKNOWLEDGED, TIME_LIMIT_MESSAGE)
    assert set(session.files) == {"step-1", "step-2", "step-3"}


def test_a_fault_that_comes_after_the_end_strikes_nothing() -> None:
    small = struck(SessionFault(session=1, action=SessionAction.KILL, after_s=106))
    assert small.after(HOUR).session().status is Status.COMPLETE


def test_only_the_session_of_that_number_is_struck() -> None:
    small = struck(SessionFault(session=2, action=SessionAction.KILL, after_s=1))
    assert small.after(HOUR).session().status is Status.COMPLETE
    small.push()
    assert small.after(HOUR).session().status is Status.ERROR


def test_how_often_one_looks_does_not_change_what_happens() -> None:
    fault = SessionFault(session=1, action=SessionAction.KILL, step=4, within_s=9.9)
    seldom, often = struck(fault).after(HOUR), struck(fault)
    for _ in range(720):
        often.after(5)
    assert (seldom.session().ended, len(seldom.session().lines)) == (
        often.session().ended,
        len(often.session().lines),
    )


# --- starts, ends and datasets ----------------------------------------------

WRITES = Played(ends_after_s=10, lines=[(1, "line")], files=[(2, "small.txt", b"1"), (3, "state.bin", b"state")])


@pytest.mark.parametrize(
    ("action", "files", "lines"),
    [
        (SessionAction.SPOIL_OUTPUT, {"small.txt": b"1", "state.bin": b"stat"}, 1),
        (SessionAction.LOSE_OUTPUT, {}, 0),
        (SessionAction.LOSE_LOG, {"small.txt": b"1", "state.bin": b"state"}, 0),
    ],
)
def test_what_a_session_leaves_may_be_spoilt_or_lost_and_it_is_complete_all_the_same(
    action: SessionAction, files: dict[str, bytes], lines: int
) -> None:
    small = SmallWorld(WRITES, faults=FaultPlan(sessions=(SessionFault(session=2, action=action),)))
    small.push("whole-one")
    small.after(HOUR).push("spoilt-one")
    whole_one, spoilt_one = small.after(HOUR).session("whole-one"), small.session("spoilt-one")
    assert whole_one.files["state.bin"].read() == b"state"
    assert spoilt_one.status is Status.COMPLETE
    assert {name: file.read() for name, file in spoilt_one.files.items()} == files
    assert len(spoilt_one.lines) == lines


@pytest.mark.parametrize(
    ("action", "files"),
    [
        (SessionAction.FLIP_OUTPUT, {"small.txt": b"1", "state.bin": b"rtate"}),
        (SessionAction.SWAP_OUTPUT, {"small.txt": b"state", "state.bin": b"1"}),
        (SessionAction.DROP_OUTPUT, {"small.txt": b"1"}),
    ],
)
def test_a_file_that_a_session_leaves_may_be_another_one(action: SessionAction, files: dict[str, bytes]) -> None:
    session = struck(SessionFault(session=1, action=action), WRITES).after(HOUR).session()
    assert session.status is Status.COMPLETE
    assert {name: file.read() for name, file in session.files.items()} == files


def reporting(action: SessionAction) -> dict[str, bytes]:
    at = Cursor(stage="sft", step=1)
    report = Report(run="r-0001", session=1, attempt=1, token="81c0", outcome="yielded", started=at, reached=at)
    files = [(5.0, "relay/report.json", report.to_json().encode()), (5.0, "state.bin", b"state")]
    session = struck(SessionFault(session=1, action=action), Played(ends_after_s=10, files=files)).after(HOUR).session()
    return {name: file.read() for name, file in session.files.items()}


def test_a_session_may_end_without_a_report_or_with_another_runs() -> None:
    assert reporting(SessionAction.LOSE_REPORT) == {"state.bin": b"state"}
    left = reporting(SessionAction.FOREIGN_REPORT)
    foreign = Report.from_json(left["relay/report.json"])
    assert foreign.run != "r-0001"
    assert foreign.token != "81c0"
    assert left["state.bin"] == b"state"


def test_a_session_may_be_cancelled_before_its_limit_without_a_reason() -> None:
    session = struck(SessionFault(session=1, action=SessionAction.CANCEL, after_s=35)).after(HOUR).session()
    assert (session.status, session.message) == (Status.CANCEL_ACKNOWLEDGED, "")
    assert set(session.files) == {"step-1", "step-2", "step-3"}


def test_a_session_that_was_cancelled_may_expose_neither_files_nor_log_nor_reason() -> None:
    cancelled = SessionFault(session=1, action=SessionAction.CANCEL, after_s=35)
    small = SmallWorld(
        steps(), faults=FaultPlan(sessions=(cancelled, SessionFault(session=1, action=SessionAction.LOSE_OUTPUT)))
    )
    small.push()
    session = small.after(HOUR).session()
    assert (session.status, session.message, session.files, session.lines) == (
        Status.CANCEL_ACKNOWLEDGED,
        "",
        {},
        [],
    )


def test_every_other_look_at_a_session_may_show_what_it_was_before() -> None:
    small = SmallWorld(
        rules=Rules(queue_s=PerKind.all(10)),
        faults=FaultPlan(sessions=(SessionFault(session=1, action=SessionAction.STALE_STATUS, seconds=50),)),
    )
    small.push()
    seen = []
    for wait_s in (20, 0, 50, 0, 45, 0, 50, 0):  # it runs from second 10 to second 110
        session = small.after(wait_s).session()
        seen.append(session.shown(small.clock.now())[0])
    assert seen == [
        Status.QUEUED, Status.RUNNING,  # at second 20
        Status.RUNNING, Status.RUNNING,  # at second 70
        Status.RUNNING, Status.COMPLETE,  # at second 115
        Status.COMPLETE, Status.COMPLETE,  # at second 165
    ]  # fmt: skip


def test_a_slot_may_be_free_only_some_time_after_its_session_ended() -> None:
    small = SmallWorld(
        rules=Rules(queue_s=PerKind.all(0)),
        faults=FaultPlan(sessions=(SessionFault(session=1, action=SessionAction.HOLD_SLOT, seconds=300),)),
    )
    small.push()
    assert small.after(150).session().status is Status.COMPLETE
    assert "session count" in small.push("second-kernel").error
    assert small.after(300).push("second-kernel").error == ""


def test_a_session_may_find_what_was_there_before_in_the_place_of_its_inputs() -> None:
    found: list[bytes] = []

    def play(source: str, mounts: Mounts, limit_s: float) -> Played:
        found.extend(files["state.bin"] for files in mounts.values())
        return Played(ends_after_s=10, files=[(5, "state.bin", source.encode())])

    fault = SessionFault(session=3, action=SessionAction.MOUNT_PREVIOUS)
    small = SmallWorld(play, faults=FaultPlan(sessions=(fault,)))
    for number in (1, 2):
        small.create(f"some-data-{number}", **{"state.bin": b"%d" % number})
        small.push(f"kernel-{number}", f"output {number}")
        small.after(HOUR)
    asked = {"dataset_sources": ("alice/some-data-2",), "kernel_sources": ("alice/kernel-2",)}
    small.push("kernel-3", **asked)
    small.after(HOUR).push("kernel-4", **asked)
    small.after(HOUR)
    assert found == [b"1", b"output 1", b"2", b"output 2"]


def pushed(action: PushAction) -> tuple[SmallWorld, SaveAnswer]:
    small = SmallWorld(faults=FaultPlan(pushes=(PushFault(push=2, action=action),)))
    small.create("some-data", a=b"1")
    small.after(HOUR).push("first-kernel")
    saved = small.after(HOUR).push("second-kernel", dataset_sources=("alice/some-data",))
    small.after(HOUR)
    assert small.session("second-kernel").status is Status.COMPLETE
    return small, saved


def test_the_answer_to_a_push_may_name_no_version() -> None:
    assert pushed(PushAction.NO_VERSION)[1].version is None


def test_the_answer_to_a_push_may_name_a_version_that_never_runs() -> None:
    small, saved = pushed(PushAction.PHANTOM)
    assert saved.version == 2
    with small.world.at_now():
        assert small.world.kernels.session("alice", "second-kernel", "v2") is None
        assert small.world.kernels.session("alice", "second-kernel", "v1") is not None


def test_a_push_may_call_its_inputs_invalid_and_run_without_them() -> None:
    small, saved = pushed(PushAction.REFUSE_INPUTS)
    assert saved.invalid_datasets == ("alice/some-data",)
    assert [len(mounts) for _, mounts, _ in small.launched] == [0, 0]


def test_a_plan_tells_what_has_really_happened_and_nothing_else() -> None:
    faults = FaultPlan(
        sessions=(
            SessionFault(session=1, action=SessionAction.KILL, after_s=35),
            SessionFault(session=9, action=SessionAction.KILL, after_s=35),
        ),
        pushes=(PushFault(push=1, action=PushAction.NO_VERSION),),
    )
    small = SmallWorld(steps(), faults=faults)
    small.push()
    small.after(HOUR)
    assert small.world.fault_injector.struck == ["push no_version", "session kill"]


def test_a_session_may_start_without_its_inputs() -> None:
    small = SmallWorld(faults=FaultPlan(sessions=(SessionFault(session=1, action=SessionAction.UNMOUNT),)))
    small.create("some-data", a=b"1")
    for slug in ("first-kernel", "second-kernel"):
        small.after(HOUR).push(slug, dataset_sources=("alice/some-data",))
    assert [len(mounts) for _, mounts, _ in small.after(HOUR).launched] == [0, 1]


def made(*faults: DatasetFault) -> SmallWorld:
    small = SmallWorld(rules=Rules(dataset_processing_s=50), faults=FaultPlan(datasets=faults))
    small.create("some-data", **{"small.txt": b"1", "state.bin": b"state"})
    return small


def shown(small: SmallWorld) -> tuple[str, dict[str, bytes]]:
    with small.world.at_now() as now:
        dataset = small.world.datasets.find("alice", "some-data")
        ready = dataset.ready(now)
        return dataset.status(now), {n: f.read() for n, f in ready.files.items()} if ready is not None else {}


def test_a_dataset_may_fail_for_good() -> None:
    small = made(DatasetFault(version=1, action=DatasetAction.FAIL))
    assert shown(small.after(40)) == ("INDIVIDUAL_BLOBS_COMPRESSED", {})
    assert shown(small.after(10)) == ("FAILED", {})
    assert shown(small.after(1000 * HOUR)) == ("FAILED", {})


def test_a_dataset_may_take_its_time_or_say_ready_before_its_files_are_there() -> None:
    slow = made(DatasetFault(version=1, action=DatasetAction.SLOW, seconds=1000))
    assert shown(slow.after(1049))[0] != "READY"
    assert shown(slow.after(1))[0] == "READY"
    early = made(DatasetFault(version=1, action=DatasetAction.READY_EARLY))
    assert shown(early) == ("READY", {})
    assert shown(early.after(50)) == ("READY", {"small.txt": b"1", "state.bin": b"state"})


def test_a_dataset_may_hold_another_byte_than_was_uploaded() -> None:
    _, files = shown(made(DatasetFault(version=1, action=DatasetAction.SPOIL)).after(50))
    assert files["small.txt"] == b"1"
    assert len(files["state.bin"]) == 5
    assert files["state.bin"] != b"state"


def test_only_the_version_of_that_number_is_struck() -> None:
    small = made(
        DatasetFault(version=2, action=DatasetAction.SPOIL), DatasetFault(version=2, action=DatasetAction.FAIL)
    )
    assert shown(small.after(50)) == ("READY", {"small.txt": b"1", "state.bin": b"state"})
    small.add_version("some-data", **{"state.bin": b"newer"})
    assert shown(small.after(50)) == ("READY", {"small.txt": b"1", "state.bin": b"state"})


# --- calls ------------------------------------------------------------------


def hits(fault: CallFault, names: str = "SaveKernel " * 10, seed: int = 0) -> list[int]:
    injector = FaultInjector(FaultPlan(seed=seed, calls=(fault,)))
    return [index for index, name in enumerate(names.split(), 1) if injector.call(name) is not None]


def test_a_call_fault_hits_the_nth_matching_call_and_the_ones_after_it() -> None:
    calls = "SaveKernel GetKernel GetDataset GetKernel SaveKernel GetKernel"
    assert hits(CallFault(call="GetKernel", action=CallAction.STATUS, nth=2), calls) == [4]
    assert hits(CallFault(call="Get*", action=CallAction.STATUS, nth=2, times=2), calls) == [3, 4]
    assert hits(CallFault(call="*", action=CallAction.STATUS, nth=3, times=0), calls) == [3, 4, 5, 6]


def test_a_probability_hits_some_calls_and_the_same_ones_again() -> None:
    fault = CallFault(call="*", action=CallAction.STATUS, probability=0.3, times=0)
    calls = "SaveKernel " * 400
    assert 60 < len(hits(fault, calls)) < 180
    assert hits(fault, calls) == hits(fault, calls)
    assert hits(fault, calls) != hits(fault, calls, seed=1)
    assert len(hits(CallFault(call="*", action=CallAction.STATUS, probability=0.5, times=3), calls)) == 3


# --- files ------------------------------------------------------------------

whole = st.integers(min_value=0, max_value=10_000)
seconds = st.floats(min_value=0, max_value=1e6, allow_nan=False)
nth = st.integers(min_value=1, max_value=99)
triggered = st.sampled_from(TRIGGERED)
lasting = st.sampled_from(LASTING)
others = st.sampled_from([action for action in SessionAction if action not in (*TRIGGERED, *LASTING)])
session_faults = st.one_of(
    st.builds(SessionFault, session=nth, action=triggered, after_s=seconds, within_s=seconds),
    st.builds(
        SessionFault,
        session=nth,
        action=triggered,
        stage=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
        step=whole,
    ),
    st.builds(SessionFault, session=nth, action=others),
    st.builds(SessionFault, session=nth, action=lasting, seconds=seconds),
)
push_faults = st.builds(PushFault, push=nth, action=st.sampled_from(PushAction))
dataset_faults = st.builds(DatasetFault, version=nth, action=st.sampled_from(DatasetAction), seconds=seconds)
call_faults = st.builds(
    CallFault,
    call=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12),
    action=st.sampled_from(CallAction),
    nth=whole,
    times=whole,
    probability=st.none() | st.floats(min_value=0, max_value=1),
    status=whole,
    retry_after_s=st.none() | seconds,
    after_bytes=whole,
    seconds=seconds,
)


@pytest.mark.slow
@given(
    plan=st.builds(
        FaultPlan,
        seed=whole,
        sessions=st.tuples(session_faults),
        calls=st.tuples(call_faults, call_faults),
        datasets=st.tuples(dataset_faults),
        pushes=st.tuples(push_faults),
    )
)
def test_a_plan_that_was_written_is_read_back_the_same(plan: FaultPlan) -> None:
    written = yaml.safe_dump(json.loads(json.dumps(asdict(plan))))
    assert FaultPlan.from_yaml(written) == plan


def test_an_empty_file_is_a_plan_without_faults(tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text("")
    assert FaultPlan.read(path) == FaultPlan()


def test_json_is_read_too() -> None:
    plan = FaultPlan.from_yaml('{"seed": 7, "sessions": [{"session": 2, "action": "kill", "step": 5}]}')
    assert plan == FaultPlan(seed=7, sessions=(SessionFault(session=2, action=SessionAction.KILL, step=5),))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seeds: 7", "seeds: 'seeds' is not a key that relay knows: did you mean 'seed'?"),
        ("- 1", "input should be a mapping, found [1]"),
        ("sessions: {}", "sessions: input should be a list"),
        ("seed: x", "seed: input should be a whole number, found 'x'"),
        ("sessions: [{session: 1}]", "sessions[0].action is missing: add it"),
        (
            "sessions: [{session: 1, action: explode, step: 1}]",
            "sessions[0].action: input should be 'slow', 'stall', 'kill'",
        ),
        ("sessions: [{session: 1, action: unmount, step: 1}]", "unmount takes neither after_s nor step"),
        ("datasets: [{version: 1, action: burn}]", "datasets[0].action: input should be 'fail', 'slow'"),
        ("sessions: [{session: 1, action: kill}]", "either after_s or step"),
        ("sessions: [{session: 1, action: kill, stpe: 1}]", "sessions[0].stpe: 'stpe' is not a key that relay knows"),
        (
            "calls: [{call: X, action: status, times: true}]",
            "calls[0].times: input should be a whole number, found True",
        ),
        ("sessions: [{session: 1, action: unmount, seconds: 1}]", "unmount takes no seconds"),
        ("pushes: [{push: 1, action: burn}]", "pushes[0].action: input should be 'no_version', 'phantom'"),
        (
            "sessions: [{session: -1, action: kill, step: 1}]",
            "sessions[0].session: input should be greater than or equal to 0, found -1",
        ),
        ("calls: [{call: X, action: status}, {call: X, action: status, status: many}]", "calls[1].status"),
        (
            "calls: [{call: X, action: status, probability: 30}]",
            "calls[0].probability: input should be less than or equal to 1, found 30",
        ),
        ("a: [", "not YAML"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_in_one_sentence_that_names_the_place(text: str, says: str) -> None:
    with pytest.raises(BadInput) as refused:
        FaultPlan.from_yaml(text, "faults.yaml")
    assert says in str(refused.value)
    assert str(refused.value).startswith("faults.yaml: ")
    assert "\n" not in str(refused.value)


def test_a_plan_that_cannot_be_read_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere\.yaml"):
        FaultPlan.read(tmp_path / "nowhere.yaml")
