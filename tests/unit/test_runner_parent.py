"""A session starts from the very checkpoint that its order names, wherever Kaggle mounted it, or it does not train at all."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.contract import Cursor, Manifest, Order, Parent, Report
from tests.unit.counting_runs import Kaggle, counting, events, forged, kaggle, next_order, order

LAYOUTS = [
    "count-1a2b-c0001",
    "datasets/alice/count-1a2b-c0001",
    "notebooks/alice/count-1a2b-s0001/relay/checkpoints/first-00000003",
    "some/where/else/entirely",
]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Order, Order]:
    """Checkpoints of a run at steps 1 to 6 of its first stage; the orders that continue at 3 and at 6."""
    world = kaggle(tmp_path_factory.mktemp("chain") / "kaggle")
    first = order(stages=(counting("first", 6), counting("second", 4)), save_interval_s=0.0, keep_checkpoints=99)
    world.run(first)
    folder = world.working / "relay" / "checkpoints"
    return folder, continuing(first, folder / "first-00000003"), continuing(first, folder / "first-00000006")


def continuing(first: Order, folder: Path) -> Order:
    """The order of the session that starts from a checkpoint."""
    manifest = Manifest.from_json((folder / "manifest.json").read_text())
    parent = Parent(name="count-1a2b-c0001", digest=manifest.digest)
    return replace(first, session=2, start=manifest.cursor, parent=parent, save_interval_s=300.0)


@pytest.fixture
def world(tmp_path: Path) -> Kaggle:
    return kaggle(tmp_path / "kaggle")


def assert_refused(world: Kaggle, asked: Order, cause: str, *, transient: bool) -> Report:
    """The session fails for that cause, and has not trained a step."""
    status, report = world.run(asked)
    assert (status, report.outcome, report.cause, report.transient) == (1, "failed", cause, transient)
    assert report.checkpoint is None
    assert report.reached == report.started == asked.start
    assert world.folders() == []
    return report


@pytest.mark.parametrize("place", LAYOUTS)
def test_the_parent_is_found_wherever_it_is_mounted(
    place: str, chain: tuple[Path, Order, Order], world: Kaggle, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, asked, _ = chain
    world.publish(folder / "first-00000003", place)
    _, report = world.run(asked)
    assert (report.outcome, report.started.step) == ("finished", 3)
    told = events(capsys.readouterr().out)
    assert [event["step"] for event in told if event["event"] == "step" and event["stage"] == "first"] == [4, 6]
    restored = next(event for event in told if event["event"] == "restored")
    assert asked.parent is not None
    assert (restored["stage"], restored["step"], restored["note"]) == ("first", 3, asked.parent.digest)


def test_what_a_resumed_session_computes_is_what_the_first_one_would_have(
    chain: tuple[Path, Order, Order], world: Kaggle
) -> None:
    folder, asked, _ = chain
    world.publish(folder / "first-00000003", "parent")
    _, report = world.run(asked)
    whole = Manifest.from_json((folder / "second-00000004" / "manifest.json").read_text())
    assert report.checkpoint is not None
    assert (report.checkpoint.files, report.checkpoint.digests) == (whole.files, whole.digests)


@pytest.mark.parametrize("start", [Cursor(stage="first", step=6), Cursor(stage="second", step=0)])
def test_the_end_of_a_stage_is_the_begin_of_the_next(
    start: Cursor, chain: tuple[Path, Order, Order], world: Kaggle
) -> None:
    folder, _, asked = chain
    world.publish(folder / "first-00000006", "parent")
    status, report = world.run(replace(asked, start=start))
    assert (status, report.outcome) == (0, "finished")
    assert report.stages["first"].done == 6


def test_the_right_one_of_several_mounted_checkpoints_is_taken(chain: tuple[Path, Order, Order], world: Kaggle) -> None:
    folder, asked, _ = chain
    for number in (2, 3, 4):
        world.publish(folder / f"first-0000000{number}", f"c{number}")
    _, report = world.run(asked)
    assert (report.outcome, report.started.step) == ("finished", 3)


def test_a_whole_copy_is_taken_where_another_one_is_damaged(chain: tuple[Path, Order, Order], world: Kaggle) -> None:
    folder, asked, _ = chain
    damaged = world.publish(folder / "first-00000003", "a")
    os.truncate(damaged / "state.bin", 100)
    world.publish(folder / "first-00000003", "b")
    assert world.run(asked)[1].outcome == "finished"


def test_a_session_without_its_parent_does_not_start_over(chain: tuple[Path, Order, Order], world: Kaggle) -> None:
    report = assert_refused(world, chain[1], "parent-missing", transient=True)
    assert report.reason == "the checkpoint count-1a2b-c0001 is not among the inputs; no checkpoint is mounted"


def test_an_older_version_of_the_parent_is_not_taken_for_it(chain: tuple[Path, Order, Order], world: Kaggle) -> None:
    folder, asked, _ = chain
    world.publish(folder / "first-00000002", "datasets/alice/count-1a2b-c0001")
    (world.inputs / "datasets" / "loop").symlink_to(world.inputs)
    report = assert_refused(world, asked, "parent-missing", transient=True)
    assert report.reason.endswith("among the inputs; mounted instead: count-1a2b first 2 (session 1)")


def test_the_same_step_of_another_run_is_not_taken_for_it(chain: tuple[Path, Order, Order], world: Kaggle) -> None:
    folder, asked, _ = chain
    manifest = Manifest.from_json((folder / "first-00000003" / "manifest.json").read_text())
    forged(world.inputs / "other", replace(manifest, run="count-ffff"))
    assert_refused(world, asked, "parent-missing", transient=True)


def test_an_order_that_names_another_runs_checkpoint_is_refused(
    chain: tuple[Path, Order, Order], world: Kaggle
) -> None:
    folder, asked, _ = chain
    manifest = Manifest.from_json((folder / "first-00000003" / "manifest.json").read_text())
    other = forged(world.inputs / "other", replace(manifest, run="count-ffff"))
    asked = replace(asked, parent=Parent(name="other", digest=other.digest))
    report = assert_refused(world, asked, "parent-mismatch", transient=False)
    assert report.reason == "the checkpoint belongs to count-ffff, this session to count-1a2b"


@pytest.mark.parametrize(
    "start", [Cursor(stage="first", step=2), Cursor(stage="first", step=0), Cursor(stage="second", step=0)]
)
def test_a_checkpoint_that_stands_elsewhere_than_the_order_starts_is_refused(
    start: Cursor, chain: tuple[Path, Order, Order], world: Kaggle
) -> None:
    folder, asked, _ = chain
    world.publish(folder / "first-00000003", "parent")
    assert_refused(world, replace(asked, start=start), "parent-mismatch", transient=False)


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_a_bit_that_flipped_in_the_state_stops_the_session(
    data: st.DataObject, chain: tuple[Path, Order, Order]
) -> None:
    folder, asked, _ = chain
    with tempfile.TemporaryDirectory() as name:
        world = kaggle(Path(name) / "kaggle")
        flip(world.publish(folder / "first-00000003", "parent") / "state.bin", data)
        assert_refused(world, asked, "parent-corrupt", transient=False)


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_a_bit_that_flipped_in_the_manifest_stops_the_session(
    data: st.DataObject, chain: tuple[Path, Order, Order]
) -> None:
    folder, asked, _ = chain
    with tempfile.TemporaryDirectory() as name:
        world = kaggle(Path(name) / "kaggle")
        flip(world.publish(folder / "first-00000003", "parent") / "manifest.json", data)
        assert_refused(world, asked, "parent-missing", transient=True)


def flip(path: Path, data: st.DataObject) -> None:
    """Turn over one bit of a file."""
    content = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def hidden(world: Kaggle, folder: Path) -> None:
    world.publish(folder, "notebooks/alice/s1/relay/.unfinished/first-00000003")


def linked_out(world: Kaggle, folder: Path) -> None:
    (world.inputs / "parent").symlink_to(folder)


def file_linked_out(world: Kaggle, folder: Path) -> None:
    copy = world.publish(folder, "parent")
    (copy / "state.bin").unlink()
    (copy / "state.bin").symlink_to(folder / "state.bin")


def of_a_later_relay(world: Kaggle, folder: Path) -> None:
    copy = world.publish(folder, "parent")
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text.replace('"format":1', '"format":2'))


@pytest.mark.parametrize("mount", [hidden, linked_out, file_linked_out, of_a_later_relay])
def test_what_only_looks_like_the_parent_is_passed_by(
    mount: Callable[[Kaggle, Path], None], chain: tuple[Path, Order, Order], world: Kaggle
) -> None:
    mount(world, chain[0] / "first-00000003")
    assert_refused(world, chain[1], "parent-missing", transient=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "content", ["", "{}", '{"name":"web app"}', "[1]", "\0\1", '{"format":1,"document":"manifest"}']
)
def test_other_peoples_manifests_do_no_harm(content: str, chain: tuple[Path, Order, Order], world: Kaggle) -> None:
    folder, asked, _ = chain
    (world.inputs / "a" / "manifest.json").mkdir(parents=True)
    (world.inputs / "b").mkdir()
    (world.inputs / "b" / "manifest.json").write_text(content)
    (world.inputs / "loop").symlink_to(world.inputs)
    world.publish(folder / "first-00000003", "c")
    assert world.run(asked)[1].outcome == "finished"


def test_inputs_that_are_a_link_themselves_are_searched(
    chain: tuple[Path, Order, Order], world: Kaggle, tmp_path: Path
) -> None:
    folder, asked, _ = chain
    world.publish(folder / "first-00000003", "parent")
    world.inputs.rename(tmp_path / "elsewhere")
    world.inputs.symlink_to(tmp_path / "elsewhere")
    assert world.run(asked)[1].outcome == "finished"


def test_no_inputs_at_all_is_a_missing_parent(chain: tuple[Path, Order, Order], world: Kaggle) -> None:
    shutil.rmtree(world.inputs)
    assert_refused(world, chain[1], "parent-missing", transient=True)


def test_a_manifest_keeps_its_identity_if_kaggle_lays_its_json_out_anew(
    chain: tuple[Path, Order, Order], world: Kaggle
) -> None:
    folder, asked, _ = chain
    copy = world.publish(folder / "first-00000003", "parent")
    (copy / "manifest.json").write_text(json.dumps(json.loads((copy / "manifest.json").read_text()), indent=2))
    assert world.run(asked)[1].outcome == "finished"


def test_an_order_cannot_start_in_the_middle_without_a_parent(chain: tuple[Path, Order, Order], world: Kaggle) -> None:
    assert_refused(world, replace(chain[1], parent=None), "order-inconsistent", transient=False)


def test_sessions_chain_through_their_reports(world: Kaggle, tmp_path: Path, chain: tuple[Path, Order, Order]) -> None:
    folder, asked, _ = chain
    world.publish(folder / "first-00000003", "parent")
    _, second = world.run(replace(asked, stages=(*asked.stages, counting("third", 2))))
    following = kaggle(tmp_path / "third")
    following.publish(world.folders()[-1], "parent")
    third = next_order(replace(asked, stages=(*asked.stages, counting("third", 2), counting("fourth", 2))), second)
    _, report = following.run(third)
    assert (report.session, report.outcome, report.reached) == (3, "finished", Cursor(stage="fourth", step=2))
    assert report.checkpoint is not None and second.checkpoint is not None
    assert report.checkpoint.parent == second.checkpoint.digest
