"""`relay plan` and the forecast of a run, as a user sees them: from the file, from what was measured, and what is said where neither helps."""

import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from orchestrator.cli import main
from orchestrator.pipeline import loader
from orchestrator.pipeline.loader import parse
from orchestrator.pipeline.sections import Expect
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder
from orchestrator.rehearsal.simulation.plans import random_plan
from orchestrator.rehearsal.simulation.timing_variation import TimingVariation
from orchestrator.views.document import status_document
from orchestrator.views.overview import status_view
from orchestrator.views.pages import render
from orchestrator.views.run_page import read_run_page
from state.facts.run import RunStarted
from state.model.snapshot import QuotaRow
from state.model.statuses import Phase
from state.store import Store
from tests.simulation.pipelines import PIPELINE, pipeline

ROOT = Path(__file__).parents[2]
RECIPE = str(ROOT / "examples/gemma2_2b.yaml")
LEARNT = "{low: 28, high: 224, source: a published plan}"
EXPECT = f"""
expect:
  step_s: {{sft: 4, evaluate: 252, curate: 250, grpo: {LEARNT}, continued: {LEARNT}}}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


def plan(home: Path, *arguments: str, columns: int = 80) -> Result:
    environ = {"HOME": "/nowhere", "COLUMNS": str(columns)}
    return CliRunner(env=environ).invoke(main, ["--home", str(home), "plan", *arguments])


def planned(home: Path, *arguments: str) -> dict[str, Any]:
    ran = plan(home, *arguments, "--json")
    assert ran.exit_code == 0, ran.output
    found: dict[str, Any] = json.loads(ran.output)
    return found


def chain_in(folder: Path) -> Chain:
    """A run of the usual pipeline with steps of about 12 s, in memory."""
    return Chain(SimulatedKaggle(pipeline(), step_s=12.0, variation=TimingVariation(1, uneven=0.1)), folder)


def polled_at(chain: Chain, folder: Path) -> dict[str, Any]:
    """The run's document, out of a database that holds what the chain knows now."""
    path = folder / "copy"
    path.mkdir(exist_ok=True)
    (path / "relay.db").unlink(missing_ok=True)
    store = Store.at(path)
    (began_at, started), *later = chain.store.facts(chain.run)
    assert isinstance(started, RunStarted)
    store.begin_run(started, began_at, later=later, metrics=chain.store.metrics(chain.run))
    for quota in chain.store.quotas():
        store.write_quota(quota)
    (run,) = status_document(store, path, chain.kaggle.clock.now())["runs"]
    store.close()
    return dict(run)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The recipe, with times that a user expects: one step of evaluation of 252 s, one of GRPO of 28 to 224 s."""
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(f"{Path(RECIPE).read_text('utf-8')}{EXPECT}", encoding="utf-8")
    return str(path)


@pytest.mark.slow
def test_the_plan_of_a_recipe_says_sessions_hours_weeks_and_the_date(tmp_path: Path, recipe: str) -> None:
    found = planned(tmp_path / "home", recipe, "--start", "2026-12-01")["forecast"]
    assert (found["sessions"], found["weeks"], found["basis"]) == (2, 0, "assumed")
    assert 10.4 * 3600 < found["quota_s"] < 10.6 * 3600
    assert found["finish_at"].startswith("2026-12-01T11:")
    assert not (tmp_path / "home").exists(), "looking ahead makes nothing"


@pytest.mark.slow
def test_eighty_columns_answer_how_many_sessions_hours_and_weeks_and_when_it_is_done(
    tmp_path: Path, recipe: str
) -> None:
    text = " ".join(plan(tmp_path / "home", recipe, "--start", "2026-12-01T08:00").output.split())
    assert "needs 2 sessions (at most 4), 10 h 3" in text
    assert "1 week of quota (at most 2)" in text
    assert "begun 2026-12-01 08:00 UTC" in text
    assert "done 2026-12-01 19:" in text
    assert "grpo grpo 48 1 min 19 s 28 s – 3 min 44 s 1 h 3 min" in text
    assert "Steps of grpo, continued, continued-again take as long as the pipeline expects (a published plan)." in text
    assert "…" not in text


@pytest.mark.slow
def test_few_hours_left_put_the_end_off_to_another_week(tmp_path: Path, recipe: str) -> None:
    found = planned(tmp_path / "home", recipe, "--start", "2026-12-01", "--quota-left", "2")["forecast"]
    assert found["weeks"] == 1
    assert found["finish_at"] > "2026-12-05T01"


@pytest.mark.slow
def test_a_start_beyond_the_refresh_has_a_whole_week_before_it(tmp_path: Path) -> None:
    found = planned(tmp_path / "home", RECIPE, "--start", "2040-01-02")["forecast"]
    assert any(sentence.startswith("20 h of 20 h of TPU are left") for sentence in found["assumptions"])


def test_a_time_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    ran = plan(tmp_path / "home", RECIPE, "--start", "soon")
    assert ran.exit_code == 2
    assert "--start soon: this is not a time: write 2027-01-09 or 2027-01-09T08:00" in ran.output
    for time in ("9999-12-31", "0001-01-01T00:00+14:00"):
        ran = plan(tmp_path / "home", RECIPE, "--start", time)
        assert ran.exit_code == 2
        assert f"--start {time}: this is not a time of this century: write 2027-01-09" in ran.output


def test_a_pipeline_whose_times_nobody_knows_is_planned_and_not_forecast(tmp_path: Path) -> None:
    path = str(ROOT / "examples/tiny.yaml")
    assert planned(tmp_path / "home", path)["forecast"] is None
    text = " ".join(plan(tmp_path / "home", path).output.split())
    assert "forecast none: no time is known of a step of sft, after-sft, grpo" in text
    assert "give it under expect.step_s, or let relay measure it in a run" in text


def changed_recipe(folder: Path, *changes: tuple[str, str], text: str = "") -> str:
    found = text or Path(RECIPE).read_text("utf-8")
    for old, new in changes:
        assert old in found
        found = found.replace(old, new)
    path = folder / "changed.yaml"
    path.write_text(found, "utf-8")
    return str(path)


@pytest.mark.parametrize(
    "expect", ["", EXPECT.replace("expect:", "expect:\n  accelerator: TpuV5E8")], ids=["", "expect"]
)
def test_a_recipe_on_another_accelerator_has_times_of_its_own(tmp_path: Path, expect: str) -> None:
    text = f"{Path(RECIPE).read_text('utf-8')}{expect}"
    path = changed_recipe(tmp_path, ("\naccelerator: TpuV5E8", "\naccelerator: NvidiaTeslaT4"), text=text)
    there, here = planned(tmp_path / "home", path)["durations"], planned(tmp_path / "home", RECIPE)["durations"]
    for name in ("step_s.sft", "step_s.grpo", "step_s.final"):
        assert there[name]["source"] == "work model"
        assert "the peak of a Tesla T4" in there[name]["detail"]
        assert there[name]["low_s"] > 2 * here[name]["low_s"]
    said = " ".join(plan(tmp_path / "home", path).output.split())
    assert (
        "computed by relay's model of the work (10 to 60 % of the peak of a Tesla T4, where nothing was measured"
        in said
    )


@pytest.mark.parametrize(
    ("change", "stage", "least", "most"),
    [
        (("batch: 8\n", "batch: 16\n"), "sft", 1.5, 2.1),
        (("max_seq_length: 1024", "max_seq_length: 2048"), "sft", 1.5, 3.0),
        (("batch: 16  ", "batch: 64  "), "grpo", 1.2, 4.0),
        (("max_completion_length: 768", "max_completion_length: 128"), "grpo", 0.3, 0.9),
        (("batch: 128 ", "batch: 256 "), "final", 1.1, 2.1),
    ],
    ids=lambda value: value[1].strip() if isinstance(value, tuple) else "",
)
def test_another_batch_or_length_changes_the_plan(
    tmp_path: Path, change: tuple[str, str], stage: str, least: float, most: float
) -> None:
    path = changed_recipe(tmp_path, change, ("overlong_buffer: 128", "overlong_buffer: 64"))
    after, before = planned(tmp_path / "home", path)["step_s"], planned(tmp_path / "home", RECIPE)["step_s"]
    assert least < after[stage] / before[stage] < most


def test_the_plan_names_the_source_and_the_bounds_of_every_figure(tmp_path: Path, recipe: str) -> None:
    found = planned(tmp_path / "home", recipe)["durations"]
    assert found["step_s.grpo"] == {
        "usual_s": pytest.approx((28 * 224) ** 0.5, abs=0.001),
        "low_s": 28,
        "high_s": 224,
        "source": "pipeline",
        "detail": "a published plan",
    }
    assert {name.partition(".")[0] for name in found} == {
        "queue_s", "handover_s", "startup_s", "save_s", "first_s", "step_s",
    }  # fmt: skip
    assert {each["source"] for each in found.values()} == {"pipeline", "assumed"}
    computed = planned(tmp_path / "home", RECIPE)["durations"]
    assert {computed[name]["source"] for name in computed if name.startswith("step_s.")} == {"work model"}
    assert computed["step_s.curate"]["detail"].endswith("; lengths of magpie are assumed")


@pytest.mark.slow
def test_the_plan_goes_by_what_an_earlier_run_measured_and_names_it(folder: Path) -> None:
    chain = chain_in(folder)
    chain.drive()
    polled_at(chain, folder)
    path = folder / "more.yaml"
    path.write_text(PIPELINE.replace("name: sim", "name: more").replace("steps: 120", "steps: 240"), encoding="utf-8")
    found = planned(folder / "copy", str(path))
    assert found["step_s"] == pytest.approx({"one": 12.0, "two": 12.0}, rel=0.05)
    assert found["forecast"]["basis"] == "measured"
    said = " ".join(found["forecast"]["assumptions"])
    assert "Steps take as long as measured in sim-0001." in said
    assert "(assumed)" not in said


@pytest.mark.slow
def test_the_plan_goes_by_the_quota_that_was_read_last_and_says_when(folder: Path) -> None:
    now = datetime.now(UTC)
    read_at, refreshes_at = now - timedelta(hours=1), now + timedelta(days=3)
    row = QuotaRow(
        owner="me", accelerator="tpu", used_s=64_800.0, reserved_s=0.0, total_s=72_000.0, refreshes_at=refreshes_at,
        read_at=read_at,
    )  # fmt: skip
    Store.at(folder).write_quota(row)
    found = planned(folder, RECIPE)["forecast"]
    read, renewed = f"{read_at:%Y-%m-%d %H:%M}", f"{refreshes_at:%Y-%m-%d %H:%M}"
    assert f"2 h of 20 h of TPU are left, as read {read} UTC; renewed {renewed} UTC." in found["assumptions"]
    assert found["weeks"] == 1


@pytest.mark.slow
def test_a_run_under_way_is_forecast_from_what_it_measured_and_one_that_is_over_is_not(folder: Path) -> None:
    chain = chain_in(folder)
    for _ in chain.ticks():
        last = chain.state.last
        if last is not None and last.number == 2 and last.phase is Phase.RUNNING:
            break
    run = polled_at(chain, folder)
    said = run["forecast"]
    assert (said["basis"], run["forecast_problem"]) == ("measured", "")
    page = (ROOT / "docs/status.md").read_text(encoding="utf-8")
    assert [key for key in said if f"`{key}`" not in page] == []
    assert said["session_ends_at"] > chain.kaggle.clock.now().isoformat()
    ended = chain.drive()
    off_s = (datetime.fromisoformat(said["finish_at"]) - ended.run.updated_at).total_seconds()
    assert abs(off_s) < 0.1 * (ended.run.updated_at - ended.run.created_at).total_seconds()
    run = polled_at(chain, folder)
    assert (run["forecast"], run["forecast_problem"]) == (None, "")


def test_a_run_of_which_nothing_is_measured_yet_says_what_is_missing(folder: Path) -> None:
    run = polled_at(chain_in(folder), folder)
    assert run["forecast"] is None
    assert run["forecast_problem"] == "no time is known of a step of one, two"


def test_a_parked_run_has_no_forecast_anywhere(folder: Path) -> None:
    expecting = pipeline().model_copy(update={"expect": Expect(step_s={"counting": 12.0})})
    chain = Chain(SimulatedKaggle(expecting), folder)
    assert polled_at(chain, folder)["forecast"] is not None
    chain.store.request(chain.run, "pause", {}, chain.kaggle.clock.now())
    chain.drive()
    run = polled_at(chain, folder)
    assert (run["state"], run["forecast"], run["forecast_problem"]) == ("parked", None, "")
    document = status_document(chain.store, folder, chain.kaggle.clock.now())
    with io.StringIO() as out:
        Console(file=out, width=200).print(status_view(document))
        assert "not before it is resumed" in out.getvalue()
        assert "about" not in out.getvalue()
    page = render.report_page(read_run_page(chain.store, chain.home, chain.run, chain.kaggle.clock.now()))
    assert "not before it is resumed" in page
    assert not re.search("about <time|[Bb]etween <time", page)


def test_a_simulated_chain_of_a_file_takes_the_times_of_its_plan(folder: Path) -> None:
    """Without faults, both say the same of the same file: seconds of steps and number of sessions."""
    path = folder / "sim.yaml"
    path.write_text(f"{PIPELINE}expect: {{step_s: {{one: 25, two: 14}}}}\n")
    told, read = planned(folder / "home", str(path)), loader.load(path)
    drawn = [random_plan(seed, read).stage_s for seed in (1, 2, 3)]
    assert drawn == [told["step_s"]] * 3 == [{"one": 25.0, "two": 14.0}] * 3
    chain = Chain(SimulatedKaggle(read, stage_s=drawn[0]), folder / "chain")
    sessions = chain.drive().sessions
    steps = sum(session.seconds["training_step"] for session in sessions)
    assert [told["forecast"]["training_s"], steps] == pytest.approx([100 * 25 + 120 * 14] * 2, rel=0.01)
    assert abs(len(sessions) - told["forecast"]["sessions"]) <= 1


def test_times_that_no_plan_knows_are_drawn(folder: Path) -> None:
    assert random_plan(1, pipeline()).stage_s == {}
    slow = PIPELINE.replace("steps: 120}", "steps: 99999}") + "expect: {step_s: {one: 25, two: 14}}\n"
    assert random_plan(1, parse(slow, "sim.yaml")).stage_s == {}
