"""A session that cannot go on says why, in words that tell one failure from another and that hold no secret."""

import math
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stages.contract import Accelerator, Cursor, Report, StageSpec
from stages.session import accelerator, packages
from stages.session.failure_report import TRACEBACK_CHARS_MAX
from stages.stage import Context, StageFailed
from stages.training.state_io import save_state
from tests.unit.counting_runs import ROOT, Kaggle, counting, events, kaggle, order, own


@pytest.fixture
def world(tmp_path: Path) -> Kaggle:
    return kaggle(tmp_path / "kaggle")


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(accelerator.STAND_IN, "1")


def write(directory: Path) -> dict[str, str]:
    (directory / "state").write_text("state")
    return {}


def fail_after_two_steps(context: Context, error: Callable[[], BaseException]) -> None:
    for step in (1, 2):
        context.step_done(step, {"loss": 0.5})
        context.save(step, write)
    raise error()


def value_error(context: Context) -> None:
    fail_after_two_steps(context, lambda: ValueError("shapes (3,) and (4,) do not fit"))


def cut_off(context: Context) -> None:
    fail_after_two_steps(context, lambda: ConnectionResetError("peer went away"))


def gives_up(context: Context) -> None:
    fail_after_two_steps(context, lambda: StageFailed("reward-collapse", "every answer is the same"))


def gives_up_for_now(context: Context) -> None:
    fail_after_two_steps(context, lambda: StageFailed("mirror-down", "no data today", transient=True))


def leaves(context: Context) -> None:
    fail_after_two_steps(context, lambda: SystemExit(0))


def nameless(context: Context) -> None:
    fail_after_two_steps(context, KeyError)


@pytest.mark.parametrize(
    ("train", "cause", "reason", "transient"),
    [
        (value_error, "ValueError@first", "shapes (3,) and (4,) do not fit", False),
        (cut_off, "ConnectionResetError@first", "peer went away", True),
        (gives_up, "reward-collapse", "every answer is the same", False),
        (gives_up_for_now, "mirror-down", "no data today", True),
        (leaves, "SystemExit@first", "0", False),
        (nameless, "KeyError@first", "KeyError", False),
    ],
)
def test_whatever_a_stage_dies_of_is_reported(
    train: Any, cause: str, reason: str, transient: bool, world: Kaggle, capsys: pytest.CaptureFixture[str]
) -> None:
    status, report = world.run(order(stages=(own("first", 9, train),)))
    assert (status, report.outcome) == (1, "failed")
    assert (report.cause, report.reason, report.transient) == (cause, reason, transient)
    assert "fail_after_two_steps" in report.traceback
    assert report.reached == Cursor(stage="first", step=2)
    assert report.checkpoint is not None and report.checkpoint.cursor.step == 2
    told = events(capsys.readouterr().out)[-1]
    assert (told["event"], told["note"], told["step"]) == ("failed", f"{cause}: {reason}", 2)


def test_devices_that_do_not_answer_take_no_failure_from_the_report(
    world: Kaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost() -> list[Any]:
        raise RuntimeError("INTERNAL: the accelerator was lost")

    device = SimpleNamespace(platform="cpu", client=None)
    jax = SimpleNamespace(devices=lambda: [device], config=SimpleNamespace(values={}), local_devices=lost)
    monkeypatch.setitem(sys.modules, "jax", jax)
    status, report = world.run(order(stages=(own("first", 9, cut_off),)))
    assert (status, report.outcome) == (1, "failed")
    assert (report.cause, report.transient) == ("ConnectionResetError@first", True)


def diverges(context: Context) -> None:
    """Saves each step; in the last one the metric that the options name is not a number."""
    for step in range(1, context.spec.steps + 1):
        odd = {context.spec.options["metric"]: math.nan} if step == context.spec.steps else {}
        context.step_done(step, {"loss": 0.5, "accuracy": 0.25, **odd})
        context.save(step, write)


def diverging(steps: int, metric: str = "loss") -> StageSpec:
    return replace(own("first", steps, diverges), options={"metric": metric})


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ("loss", "the loss of first is nan at step 4: lower learning_rate or clip_norm"),
        ("grad_norm", "the grad_norm of first is nan at step 4 (loss 0.5): lower learning_rate or clip_norm"),
        ("kl", "the kl of first is nan at step 4 (loss 0.5): lower learning_rate or clip_norm"),
    ],
)
def test_a_metric_that_is_not_a_number_ends_the_session_before_its_step_is_saved(
    metric: str, reason: str, world: Kaggle, capsys: pytest.CaptureFixture[str]
) -> None:
    _, report = world.run(order(stages=(diverging(4, metric),)))
    assert (report.cause, report.reason, report.transient) == ("not-a-number", reason, False)
    assert report.reached == Cursor(stage="first", step=3)
    told = [event["step"] for event in events(capsys.readouterr().out) if event["event"] == "step"]
    assert told[-1] <= 3, "a step that is not a number counts as not done"


def test_the_newest_checkpoint_is_one_whose_next_step_was_a_number(world: Kaggle) -> None:
    _, report = world.run(order(stages=(diverging(4),)))
    assert report.checkpoint is not None and report.checkpoint.cursor == Cursor(stage="first", step=2)
    assert [folder.name for folder in world.folders()] == ["first-00000002"]


def test_a_session_whose_only_checkpoint_led_to_what_is_not_a_number_leaves_none(world: Kaggle) -> None:
    _, report = world.run(order(stages=(diverging(2),)))
    assert report.checkpoint is None
    assert world.folders() == []


def ruins_its_state(context: Context) -> None:
    for step in range(1, 5):
        context.step_done(step, {"loss": 0.5})
        if step < 4:
            weights = np.array([math.nan if step == 3 else 1.0])
            context.save(step, lambda directory, weights=weights: save_state(directory, {"weights": weights}))


def test_a_state_that_is_not_finite_becomes_no_checkpoint_though_the_loss_is_a_number(world: Kaggle) -> None:
    _, report = world.run(order(stages=(own("first", 9, ruins_its_state),)))
    assert (report.cause, report.transient) == ("not-a-number", False)
    assert report.checkpoint is not None and report.checkpoint.cursor == Cursor(stage="first", step=2)
    assert world.folders()[-1].name == "first-00000002"


def stops_early(context: Context) -> None:
    context.step_done(1, {})
    context.save(1, write)


def forgets_to_save(context: Context) -> None:
    for step in range(1, context.spec.steps + 1):
        context.step_done(step, {})


def skips_a_step(context: Context) -> None:
    context.step_done(1, {})
    context.step_done(3, {})


def saves_another_step(context: Context) -> None:
    context.step_done(1, {})
    context.save(2, write)


def writes_a_link(context: Context) -> None:
    context.step_done(1, {})
    context.save(1, lambda directory: (directory / "state").symlink_to("/etc/passwd") or {})


@pytest.mark.parametrize(
    ("train", "cause"),
    [
        (stops_early, "stage-ended-early"),
        (forgets_to_save, "stage-not-saved"),
        (skips_a_step, "step-out-of-order"),
        (saves_another_step, "save-out-of-order"),
        (writes_a_link, "CannotPack@first"),
    ],
)
def test_a_stage_that_does_not_keep_to_its_port_is_told_so(train: Any, cause: str, world: Kaggle) -> None:
    _, report = world.run(order(stages=(own("first", 4, train),)))
    assert (report.outcome, report.cause, report.transient) == ("failed", cause, False)


def saves_twice(context: Context) -> None:
    context.step_done(1, {})
    context.save(1, write)
    context.save(1, write)


def test_a_second_save_of_the_same_step_is_the_same(world: Kaggle, capsys: pytest.CaptureFixture[str]) -> None:
    assert world.run(order(stages=(own("first", 1, saves_twice),)))[1].outcome == "finished"
    assert len([event for event in events(capsys.readouterr().out) if event["event"] == "saved"]) == 1


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        (
            (StageSpec(name="first", kind="dreaming", steps=1),),
            "there is no stage of kind 'dreaming': take one of counting, ",
        ),
        ((counting("first", 1, step_ms=1.0),), "stage first"),
        ((counting("first", 1), counting("first", 1)), "stages need names of their own"),
        ((counting("first", 1), counting("../out", 1)), "stages need names of their own"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused(
    stages: tuple[StageSpec, ...], reason: str, world: Kaggle
) -> None:
    status, report = world.run(order(stages=stages))
    assert (status, report.cause, report.transient) == (1, "order-inconsistent", False)
    assert reason in report.reason


def test_a_start_that_is_in_no_stage_is_refused(world: Kaggle) -> None:
    _, report = world.run(order(start=Cursor(stage="last", step=0)))
    assert (report.cause, report.reason) == ("order-inconsistent", "the order has no stage 'last'")


def deep(context: Context) -> None:
    def down(level: int) -> None:
        if level <= 0:
            raise ValueError("the very bottom " * 500)
        (down, up)[level % 2](level - 1)

    def up(level: int) -> None:
        down(level - 1)

    down(400)


def test_a_long_traceback_is_cut_in_the_middle(world: Kaggle) -> None:
    _, report = world.run(order(stages=(own("first", 1, deep),)))
    assert len(report.traceback) < TRACEBACK_CHARS_MAX + 100
    assert report.traceback.startswith("Traceback")
    assert report.traceback.rstrip().endswith("the very bottom")
    assert " characters …]" in report.traceback
    assert len(report.reason) < 1_100


def leaks(context: Context) -> None:
    raise ValueError(
        f"no access to https://alice:{os.environ['MIRROR_PASSWORD']}@mirror/x with {os.environ['HF_TOKEN']}"
    )


def test_no_secret_gets_into_a_report_or_a_log(
    world: Kaggle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    monkeypatch.setenv("MIRROR_PASSWORD", "s3cr3t")
    _, report = world.run(order(stages=(own("first", 1, leaks),)))
    assert report.reason == "no access to https://mirror/x with <HF_TOKEN>"
    everything = report.to_json() + capsys.readouterr().out
    assert "hf_0123456789" not in everything and "s3cr3t" not in everything


def test_packages_that_are_not_as_pinned_are_not_trained_with(world: Kaggle) -> None:
    _, report = world.run(order(pins=("pytest", "hypothesis==0.0.1", "no-such-package==1.0")))
    assert (report.cause, report.transient) == ("environment-install", True)
    assert report.reason == "not installed as pinned: hypothesis==0.0.1, no-such-package==1.0"


def test_what_is_installed_as_pinned_is_not_installed_again() -> None:
    installed = packages.versions(["pytest", "pluggy"])
    assert (
        packages.differing([f"pytest=={installed['pytest']}", f"pluggy[all] == {installed['pluggy']}", "PyTest"]) == ()
    )
    assert packages.differing(["pytest==1.0", "pytest>=1", "git+https://example.org/x"]) == (
        "pytest==1.0",
        "pytest>=1",
        "git+https://example.org/x",
    )


# --- the accelerator ---

TPU = Accelerator(machine_shape="TpuV5E8", platform="tpu", devices=8)
FAKE_JAX = """
class Device:
    platform = device_kind = "{platform}"
    client = None
class config:
    values = {{}}
def devices():
    {failure}
    return [Device()] * {count}
"""


def session_with_jax(
    world: Kaggle, tmp_path: Path, promised: Accelerator, jax: str | None, stand_in: str = "", kind: str = "sft"
) -> tuple[str, Report]:
    """One session in a Python that has just this JAX, or none; its log and report."""
    modules = tmp_path / "modules"
    modules.mkdir()
    if jax is not None:
        (modules / "jax.py").write_text(jax)
    asked = order(stages=(StageSpec(name="first", kind=kind, steps=1),), accelerator=promised)
    program = textwrap.dedent("""
        import sys, time
        sys.path[:0] = sys.argv[1:3]
        from pathlib import Path
        from stages.session import runner
        from stages.contract import Order
        sys.exit(runner.main(Order.from_json(sys.argv[3]), working=Path(sys.argv[4]), inputs=Path(sys.argv[5]),
                             started_s=time.monotonic()))
    """)
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            program,
            str(ROOT),
            str(modules),
            asked.to_json(),
            str(world.working),
            str(world.inputs),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, accelerator.STAND_IN: stand_in},
    )
    return done.stdout, world.report()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("jax", "reason"),
    [
        (FAKE_JAX.format(platform="cpu", count=1, failure=""), "8 tpu promised and 1 cpu found"),
        (FAKE_JAX.format(platform="tpu", count=4, failure=""), "8 tpu promised and 4 tpu found"),
        (
            FAKE_JAX.format(platform="tpu", count=8, failure="raise RuntimeError('Unable to initialize backend')"),
            "8 tpu promised, and JAX says: Unable to initialize backend",
        ),
    ],
)
def test_a_session_without_the_promised_accelerator_ends_before_it_costs_quota(
    jax: str, reason: str, world: Kaggle, tmp_path: Path
) -> None:
    _, report = session_with_jax(world, tmp_path, TPU, jax)
    assert (report.outcome, report.cause, report.transient) == ("failed", "accelerator-missing", True)
    assert report.reason == reason


@pytest.mark.slow
def test_a_session_without_jax_says_so(world: Kaggle, tmp_path: Path) -> None:
    _, report = session_with_jax(world, tmp_path, TPU, None)
    assert (report.cause, report.transient) == ("environment-incomplete", False)


@pytest.mark.slow
@pytest.mark.parametrize("promised", [TPU, Accelerator(platform="tpu")])
def test_the_promised_accelerator_lets_the_stage_begin(promised: Accelerator, world: Kaggle, tmp_path: Path) -> None:
    """It ends a moment later, since this Python has nothing else that training needs."""
    log, report = session_with_jax(world, tmp_path, promised, FAKE_JAX.format(platform="tpu", count=8, failure=""))
    assert "accelerator: 8 tpu" in log.splitlines()
    assert report.cause == "ModuleNotFoundError@first"


@pytest.mark.slow
def test_a_rehearsal_says_that_it_stands_in(world: Kaggle, tmp_path: Path) -> None:
    log, report = session_with_jax(world, tmp_path, TPU, None, stand_in="1")
    assert "this machine stands in for TpuV5E8 with 8 tpu" in log.splitlines()
    assert report.cause == "ModuleNotFoundError@first"


@pytest.mark.slow
def test_a_stage_that_needs_no_jax_does_not_ask_for_it(world: Kaggle, tmp_path: Path) -> None:
    _, report = session_with_jax(world, tmp_path, TPU, None, kind="counting")
    assert report.outcome == "finished"
