"""`relay verify-resume` runs real sessions as processes, cuts them in every way, and tells truly whether a bit differs."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator import cli
from orchestrator.base.errors import Permanent
from orchestrator.rehearsal.verify import chain, cuts
from orchestrator.rehearsal.verify.chain import ResumeVerdict, VerifiedChain
from orchestrator.rehearsal.verify.cuts import SessionCut
from orchestrator.rehearsal.verify.view import sentence
from stages.contract import Cursor, Order, StageSpec
from stages.session import parent_checkpoint
from tests.training import odd_rewards
from tests.unit.counting_runs import counting, order

pytestmark = pytest.mark.slow

COUNTING = """
name: counting
accelerator: cpu
stages:
  - {name: first, kind: counting, steps: 30, options: {step_s: 0.02}}
  - {name: second, kind: counting, steps: 20, options: {step_s: 0.02}}
"""
TRAINING = """
name: training
accelerator: cpu
model: {kind: gemma2, source: relay/tiny-gemma2/flax/base/1, system: ""}
stages:
  - name: sft
    kind: sft
    steps: 5
    options: {data: [magpie], batch: 8, gradient_accumulation_steps: 2, max_seq_length: 96}
  - name: grpo
    kind: grpo
    steps: 3
    options:
      data: [gsm8k]
      batch: 4
      num_generations: 2
      max_prompt_length: 64
      max_completion_length: 8
      lora_rank: 2
      rewards: {"odd_rewards:by_hash": 1.0}
"""
ALL_WAYS = ("first:4", "first:9:kill", "first:17:before-save", "first:30", "second:8:after-save")


def relay(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, ["verify-resume", *map(str, arguments)])


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    path = tmp_path / "counting.yaml"
    path.write_text(COUNTING)
    return path


def whole(*stages: StageSpec) -> Order:
    """The order of an uncut run."""
    endless = {"budget_s": chain.ENDLESS_S, "limit_s": chain.ENDLESS_S, "save_interval_s": chain.ENDLESS_S}
    start = Cursor(stage=stages[0].name, step=0)
    return order(
        run="mine-verify",
        slug="mine-uncut",
        stages=stages,
        start=start,
        trace=True,
        **endless,
        sources={"forgetful.py": SOURCE},
    )


def verify(asked: Order, places: tuple[SessionCut, ...], root: Path, *, keep: bool = False) -> ResumeVerdict:
    return chain.verify(VerifiedChain(asked), places, root, lambda text: None, keep=keep)


def test_a_run_that_is_cut_in_all_five_ways_differs_in_no_bit(pipeline: Path) -> None:
    done = relay(pipeline, *(flag for place in ALL_WAYS for flag in ("--at", place)))
    assert done.exit_code == 0, done.output
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.split()[0].isdecimal()}
    assert [cell.strip() for cell in cells(rows["1"])[1:4]] == ["first 4", "ended itself", "first 4"]
    assert "killed in the next step" in rows["2"] and "killed right after saving" in rows["5"]
    last = done.stdout.splitlines()[-1]
    assert last.startswith("0 of ") and "bits differ at 5 cuts" in last


def cells(row: str) -> list[str]:
    return [cell for cell in row.split("  ") if cell.strip()]


def test_places_are_drawn_where_none_is_named(pipeline: Path) -> None:
    done = relay(pipeline, "--cuts", 2, "--steps", 4)
    assert done.exit_code == 0, done.output
    last = done.stdout.splitlines()[-1]
    assert (
        last.startswith("0 of ") and "at 2 cuts" in last and last.endswith("no loss, no batch and no rollout differs")
    )


def test_real_training_that_is_killed_within_an_accumulated_batch_differs_in_no_bit(tmp_path: Path) -> None:
    path = tmp_path / "training.yaml"
    path.write_text(TRAINING)
    (tmp_path / "odd_rewards.py").write_text(Path(odd_rewards.__file__).read_text())
    done = relay(path, "--at", "sft:3:kill", "--at", "grpo:2:before-save")
    assert done.exit_code == 0, done.output
    last = done.stdout.splitlines()[-1]
    assert last.startswith("0 of ") and last.endswith("no loss, no batch and no rollout differs")
    assert int(last.split()[2].replace(",", "")) > 32 * 100_000, "every weight and its moments were compared"


SOURCE = Path(__file__).with_name("forgetful.py").read_text()
FORGETFUL = StageSpec(name="mine", kind="forgetful:train", steps=24)


def test_state_that_no_checkpoint_holds_is_found(tmp_path: Path) -> None:
    places = (cuts.named("mine:7", [FORGETFUL]), cuts.named("mine:15:after-save", [FORGETFUL]))
    verdict = verify(whole(FORGETFUL), places, tmp_path)

    before, first, second = verdict.sessions
    assert before.differing == 0, "until the first cut nothing is lost"
    assert first.losses == first.rollouts == first.steps > 0
    assert second.bits.other > 0
    assert not verdict.equal
    assert not sentence(verdict).startswith("0 of ")


def test_what_does_not_differ_is_not_called_different(tmp_path: Path) -> None:
    """The batches of the forgetful stage are the right ones, and what is measured at a session's start is its own affair."""
    verdict = verify(whole(FORGETFUL), (cuts.named("mine:7", [FORGETFUL]),), tmp_path)
    assert sum(session.batches for session in verdict.sessions) == 0
    # With its momentum the sum is 1, 3, 6, …: nothing is carried over a cut after the first step that halves to nothing.
    one_step = verify(whole(FORGETFUL), (cuts.named("mine:1", [FORGETFUL]),), tmp_path / "again")
    assert one_step.equal


def test_the_exit_status_says_that_something_differs(tmp_path: Path) -> None:
    path = tmp_path / "forgetful.yaml"
    (tmp_path / "forgetful.py").write_text(SOURCE)
    path.write_text("name: mine\naccelerator: cpu\nstages: [{name: mine, kind: 'forgetful:train', steps: 20}]\n")
    done = relay(path, "--at", "mine:5", "--at", "mine:9")
    assert done.exit_code == 1, done.output
    assert "losses" in done.stdout.splitlines()[-1]


def test_kept_sessions_had_their_parents_among_their_mounts(tmp_path: Path) -> None:
    stages = (counting("first", 20, step_s=0.02),)
    verify(whole(*stages), (cuts.named("first:5", stages), cuts.named("first:11:kill", stages)), tmp_path, keep=True)
    second, third = (tmp_path / "verify" / f"mine-s{number:04d}" / "v1" / "kaggle" for number in (2, 3))
    (parent,) = parent_checkpoint.find(second / "input")
    assert (parent.manifest.session, parent.manifest.cursor) == (1, Cursor(stage="first", step=5))
    assert not (second / "working" / "relay" / "report.json").exists(), "it was killed"
    assert all(found.manifest.session == 2 for found in parent_checkpoint.find(third / "input"))
    assert (third / "working" / "relay" / "report.json").exists()


def test_a_session_that_fails_says_why(tmp_path: Path) -> None:
    wrong = StageSpec(name="first", kind="forgetful:nothing", steps=4)
    with pytest.raises(Permanent, match="session 1 of mine-verify failed"):
        verify(whole(wrong), (), tmp_path)


@pytest.mark.parametrize(
    "arguments, sentence_",
    [
        (("--at", "third:1"), "there is no stage 'third'"),
        (("--cuts", "0"), "there is no place to cut at"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_runs(
    arguments: tuple[str, ...], sentence_: str, pipeline: Path
) -> None:
    done = relay(pipeline, *arguments)
    assert done.exit_code == 2
    assert sentence_ in done.stderr


def test_a_folder_that_holds_something_is_left_alone(pipeline: Path, tmp_path: Path) -> None:
    done = relay(pipeline, "--keep", tmp_path)
    assert (done.exit_code, "is not an empty folder" in done.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == [pipeline]
