"""Every step's metrics reach TensorBoard's files and Weights & Biases, each step once, and neither can end a session."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from stages.contract import Cursor, Order
from stages.session import metrics
from tests.unit.counting_runs import ROOT, Kaggle, counting, kaggle, next_order, order, own
from tests.unit.records import shown

pytest.importorskip("tensorboardX", reason="comes with the train extra")

TWO = order(stages=(counting("first", 6), counting("second", 4)))


@pytest.fixture
def world(tmp_path: Path) -> Kaggle:
    return kaggle(tmp_path / "kaggle")


def test_every_step_is_shown_with_its_number_in_the_pipeline(world: Kaggle) -> None:
    world.run(TWO)
    first, second = (shown(world.working / "tensorboard" / stage) for stage in ("first", "second"))
    assert first["count"] == [(step, step) for step in range(1, 7)]
    assert second["count"] == [(6 + step, step) for step in range(1, 5)]
    assert set(first) == {"count", "loss"}


@pytest.mark.slow
def test_a_resumed_stage_shows_each_step_once(world: Kaggle, tmp_path: Path) -> None:
    """The first session goes on to step 5 after its checkpoint at 3, and the second one begins there."""
    first = replace(TWO, stop_at=Cursor(stage="first", step=3))
    _, report = world.run(first)
    world.run(replace(TWO, stop_at=Cursor(stage="first", step=5)))  # killed after that, for all that anybody knows
    following = kaggle(tmp_path / "following")
    following.publish(world.folders()[0], "parent")
    following.run(next_order(TWO, report))
    together = tmp_path / "together"
    for place in (world, following):
        for path in (place.working / "tensorboard" / "first").iterdir():
            together.mkdir(exist_ok=True)
            (together / path.name).write_bytes(path.read_bytes())
    assert shown(together)["count"] == [(step, step) for step in range(1, 7)]


def test_what_led_to_a_checkpoint_is_on_disk_with_it(world: Kaggle) -> None:
    """As if the process were killed: nothing is closed."""
    found = metrics.Metrics(TWO, lambda: metrics.sinks_of(TWO, world.working, world.root / "tmp", print))
    for step in (1, 2):
        found.step_done("first", step, {"count": float(step)})
    found.flush()
    assert shown(world.working / "tensorboard" / "first")["count"] == [(1, 1.0), (2, 2.0)]
    found.close()


def test_files_that_cannot_be_written_cost_no_training(world: Kaggle, capsys: pytest.CaptureFixture[str]) -> None:
    (world.working / "tensorboard").write_text("in the way")
    assert world.run(TWO)[1].outcome == "finished"
    assert capsys.readouterr().out.count("no more metrics for TensorBoard: ") == 1


class Broken:
    """A service that answers nonsense."""

    name = "somebody"

    def __init__(self, breaks: Sequence[str]) -> None:
        self.breaks, self.calls = breaks, 0

    def write(self, point: metrics.StepMetrics) -> None:
        self._do("write")

    def flush(self) -> None:
        self._do("flush")

    def close(self) -> None:
        self._do("close")

    def _do(self, name: str) -> None:
        self.calls += 1
        if name in self.breaks:
            raise KeyError("no such thing")


@pytest.mark.parametrize("breaks", ["write", "flush", "close"])
def test_whatever_goes_wrong_is_said_once(breaks: str) -> None:
    said: list[str] = []
    broken, whole = Broken([breaks]), Broken([])
    found = metrics.Metrics(TWO, lambda: [broken, whole], said.append)
    for step in range(1, 4):
        found.step_done("first", step, {})
        found.flush()
    found.close()
    assert said == ["no more metrics for somebody: KeyError: 'no such thing'"]
    assert whole.calls == 7


# --- Weights & Biases ---

FAKE_WANDB = """
import json, os, pathlib
def note(what, **more):
    with open(os.environ["FAKE_WANDB_FILE"], "a") as file:
        file.write(json.dumps([what, more]) + "\\n")
def init(**more):
    note("init", **more)
    if os.environ.get("FAKE_WANDB_BREAKS"):
        raise RuntimeError("cannot log in with " + os.environ["WANDB_API_KEY"])
def log(values, step):
    note("log", values=values, step=step)
def finish():
    note("finish")
"""
FAKE_SECRETS = """
class UserSecretsClient:
    def get_secret(self, name):
        if name != "WANDB_API_KEY" or {missing}:
            raise LookupError(name)
        return "a-key-of-kaggles"
"""
PROGRAM = """
import sys, time
sys.path[:0] = [sys.argv[1], sys.argv[5]]
from pathlib import Path
from stages.session import runner
from stages.contract import Order
order = Order.from_json(sys.argv[2])
sys.exit(runner.main(order, working=Path(sys.argv[3]), inputs=Path(sys.argv[4]), started_s=time.monotonic()))
"""


def session(
    world: Kaggle, asked: Order, modules: Mapping[str, str], **environment: str
) -> tuple[str, list[list[object]]]:
    """A session in a Python that has these modules besides its own; its log, and what W&B was told."""
    place = world.root / "modules"
    place.mkdir()
    for name, text in modules.items():
        (place / f"{name}.py").write_text(text, encoding="utf-8")
    told = world.root / "told"
    arguments = [str(ROOT), asked.to_json(), str(world.working), str(world.inputs), str(place)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    done = subprocess.run(
        [sys.executable, "-IS", "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, "FAKE_WANDB_FILE": str(told), **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = told.read_text().splitlines() if told.exists() else []
    return done.stdout + done.stderr, [json.loads(line) for line in lines]


@pytest.mark.slow
def test_a_key_in_the_environment_brings_every_step_to_one_run_of_wandb(world: Kaggle) -> None:
    log, told = session(world, TWO, {"wandb": FAKE_WANDB}, WANDB_API_KEY="a-key-of-mine")
    (what, how), *steps, last = told
    assert what == "init" and isinstance(how, dict)
    assert (how["id"], how["resume"], how["project"]) == (TWO.run, "allow", "relay")
    assert [step[1]["step"] for step in steps] == list(range(1, 11))  # type: ignore[index]
    assert steps[6] == ["log", {"values": {"second/count": 1.0, "second/loss": 1.0}, "step": 7}]
    assert last == ["finish", {}]
    assert "a-key-of-mine" not in log


@pytest.mark.slow
def test_a_key_among_kaggles_secrets_does_as_well(world: Kaggle) -> None:
    modules = {"wandb": FAKE_WANDB, "kaggle_secrets": FAKE_SECRETS.format(missing=False)}
    log, told = session(world, TWO, modules, WANDB_PROJECT="mine")
    assert len(told) == 12
    assert told[0][1]["project"] == "mine"  # type: ignore[index]
    assert "a-key-of-kaggles" not in log


@pytest.mark.slow
@pytest.mark.parametrize("modules", [{}, {"kaggle_secrets": FAKE_SECRETS.format(missing=True)}])
def test_without_a_key_wandb_is_left_alone(modules: dict[str, str], world: Kaggle) -> None:
    log, told = session(world, TWO, {"wandb": FAKE_WANDB, **modules})
    assert told == []
    assert "Weights" not in log


@pytest.mark.slow
def test_a_wandb_that_refuses_costs_no_training_and_betrays_no_key(world: Kaggle) -> None:
    log, told = session(world, TWO, {"wandb": FAKE_WANDB}, WANDB_API_KEY="a-key-of-mine", FAKE_WANDB_BREAKS="1")
    assert [what for what, _ in told] == ["init"]
    assert log.count("no metrics for Weights & Biases: RuntimeError: cannot log in with <WANDB_API_KEY>") == 1
    assert "a-key-of-mine" not in log
    assert world.report().outcome == "finished"


@pytest.mark.slow
def test_a_python_without_tensorboardx_says_so_once(world: Kaggle) -> None:
    log, _ = session(world, TWO, {})
    assert log.count("no files for TensorBoard: tensorboardX is not installed here") == 1


def broken_stage(context: object) -> None:
    raise ValueError("nothing to see")


def test_a_stage_that_measures_nothing_leaves_no_files(world: Kaggle) -> None:
    world.run(order(stages=(own("first", 3, broken_stage),)))
    assert not (world.working / "tensorboard").exists()
