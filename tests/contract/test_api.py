"""relay from Python, as a notebook drives it, against the local Kaggle."""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator.base.clock import SystemClock
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS
from orchestrator.rehearsal.local_kaggle.processes import ProcessSandbox
from orchestrator.rehearsal.local_kaggle.rules import Rules
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from tests.contract.test_commands import COUNTING, relay

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "python.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

CHECKOUT = {"PYTHONPATH": str(ROOT)}

PIPELINE: dict[str, Any] = {
    "name": "count",
    "accelerator": "cpu",
    "session": {"limit_s": 4, "margin_s": 1, "save_interval_s": 1},
    "stages": [{"name": "one", "kind": "counting", "steps": 20, "options": {"step_s": 0.01}}],
}
TWO = {"name": "two", "kind": "counting", "steps": 40}
ENDLESS = PIPELINE | {"stages": [{"name": "one", "kind": "counting", "steps": 10**6, "options": {"step_s": 0.01}}]}


@pytest.fixture
def kaggle(tmp_path: Path) -> Iterator[LocalKaggle]:
    clock, root = SystemClock(), tmp_path / "kaggle"
    with LocalKaggle(root, clock, Rules.brisk(30.0), NO_FAULTS, ProcessSandbox(root, clock)) as found:
        yield found


@pytest.fixture
def notebook(tmp_path: Path, kaggle: LocalKaggle) -> orchestrator.Relay:
    return orchestrator.open(tmp_path / "home", environ=kaggle.environment())


@pytest.mark.slow
def test_a_whole_run_is_driven_from_python_and_seen_by_the_commands(
    tmp_path: Path, notebook: orchestrator.Relay
) -> None:
    path = tmp_path / "count.yaml"
    path.write_text(json.dumps(PIPELINE | {"stages": [*PIPELINE["stages"], TWO]}), encoding="utf-8")
    assert notebook.runs() == []
    assert notebook.status()["runs"] == []
    assert not notebook.home.exists(), "looking makes nothing"
    run = notebook.start(path)
    told: list[str] = []
    document = notebook.run("count", say=told.append)
    assert (document["id"], document["state"], document["steps_done"]) == (run, "finished", 60)
    assert document["sessions"][-1]["outcome"] == "finished"
    assert any(line.startswith(f"{run}  session 1 pushed") for line in told)
    assert notebook.runs() == [run]
    curve = notebook.curves(run, 10)["two", "loss"]
    assert len(curve) <= 10
    assert curve[-1].step == 40
    (seen,) = json.loads(relay("status", "--json", home=notebook.home, environ=CHECKOUT).stdout)["runs"]
    assert seen == notebook.status(run)
    assert notebook.run(run) == notebook.wait(run) == seen, "a run that is over is not carried out again"


def test_a_mapping_is_a_pipeline_and_an_error_is_the_commands_sentence(notebook: orchestrator.Relay) -> None:
    draft = orchestrator.load(PIPELINE)
    assert draft.pipeline.total_steps == 20
    assert draft.shortened().pipeline.total_steps == 1
    assert orchestrator.load(draft) is draft
    with pytest.raises(orchestrator.BadInput, match=r"^the pipeline: acelerator: .*did you mean 'accelerator'\?$"):
        notebook.start(PIPELINE | {"acelerator": "cpu"})
    with pytest.raises(orchestrator.BadInput, match="a value that a pipeline file cannot"):
        orchestrator.load(PIPELINE | {"model": {"where": Path()}})
    with pytest.raises(orchestrator.BadInput, match="does not exist: name a pipeline file"):
        notebook.start("none.yaml")
    assert not notebook.home.exists(), "nothing is made for what is refused"
    run = notebook.start(draft)
    with pytest.raises(orchestrator.BadInput, match=f"run {run} of this pipeline is active"):
        notebook.start(PIPELINE)
    assert notebook.start(PIPELINE, new=True) != run


@pytest.mark.slow
def test_a_paused_run_raises_parked_with_the_remedy_and_goes_on_when_it_is_resumed(
    notebook: orchestrator.Relay,
) -> None:
    run = notebook.start(PIPELINE)
    notebook.pause(run)
    with pytest.raises(orchestrator.Parked) as parked:
        notebook.run(run)
    assert (parked.value.run, parked.value.reason) == (run, "paused by you")
    assert parked.value.remedy == f"relay resume {run}"
    with pytest.raises(orchestrator.Parked):
        notebook.wait(run)
    notebook.resume(run)
    assert notebook.run(run)["state"] == "finished"
    with pytest.raises(orchestrator.BadInput, match="relay cancel is for a run that is"):
        notebook.cancel(run)


@pytest.mark.slow
def test_run_comes_back_when_enough_was_done_and_the_next_call_takes_the_run_up(notebook: orchestrator.Relay) -> None:
    run = notebook.start(ENDLESS)
    assert notebook.run(run, timeout_s=0.0)["state"] == "active"
    document = notebook.run(run, until=lambda now: now["steps_done"] > 0)
    assert document["state"] == "active"
    assert len(document["sessions"]) >= 1
    assert notebook.wait(run, until=lambda now: now["steps_done"] > 0)["steps_done"] >= document["steps_done"]
    notebook.cancel(run)
    assert notebook.run(run)["state"] == "cancelled"


def test_a_cancel_asks_nothing_and_run_obeys_it_and_what_takes_it_back(notebook: orchestrator.Relay) -> None:
    run = notebook.start(PIPELINE)
    notebook.cancel(run)
    assert notebook.run(run)["state"] == "cancelled"
    assert notebook.run(run)["state"] == "cancelled", "a run that is over is not carried out again"
    notebook.resume(run)
    assert notebook.run(run, until=lambda now: now["state"] == "active")["requests"] == []


@pytest.mark.slow
def test_a_second_daemon_is_refused_and_wait_looks_on(notebook: orchestrator.Relay, kaggle: LocalKaggle) -> None:
    run = notebook.start(PIPELINE)
    beside = orchestrator.open(notebook.home, environ=kaggle.environment())
    refusals: list[str] = []

    def intrude(_sentence: str) -> None:
        if not refusals:
            done = relay("daemon", "--once", home=notebook.home, environ={**kaggle.environment(), **CHECKOUT})
            assert (done.returncode, "stop that one first" in done.stderr) == (2, True)
            for act in (beside.tick, lambda: beside.run(run)):
                with pytest.raises(orchestrator.BadInput, match=r"let this one wait\(run\)") as refused:
                    act()
                refusals.append(str(refused.value))
            assert beside.wait(run, timeout_s=0.0)["state"] == "active"

    assert notebook.run(run, say=intrude)["state"] == "finished"
    assert refusals


@pytest.mark.slow
def test_an_interrupt_loses_nothing_and_the_next_call_takes_the_run_up(notebook: orchestrator.Relay) -> None:
    run = notebook.start(PIPELINE)

    def interrupt(sentence: str) -> None:
        if "session 1 runs" in sentence:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        notebook.run(run, say=interrupt)
    document = notebook.run(run)
    assert (document["state"], [session["number"] for session in document["sessions"]]) == ("finished", [1])


@pytest.mark.slow
def test_a_loop_of_ticks_brings_a_run_to_its_end(notebook: orchestrator.Relay) -> None:
    run, told = notebook.start(PIPELINE), []
    clock = SystemClock()
    while notebook.status(run)["state"] == "active":
        told += notebook.tick()
        clock.sleep(0.05)
    assert notebook.status(run)["state"] == "finished"
    assert any(line.startswith(f"{run}  session 1 pushed") for line in told)


@pytest.mark.slow
def test_what_is_written_is_its_owners_alone_and_the_notebooks_umask_stays(notebook: orchestrator.Relay) -> None:
    before = os.umask(0)
    try:
        notebook.run(notebook.start(PIPELINE))
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert [
        path for path in (notebook.home, *notebook.home.rglob("*")) if stat.S_IMODE(path.stat().st_mode) & 0o077
    ] == []


@pytest.mark.slow
def test_a_rehearsal_needs_no_account(tmp_path: Path) -> None:
    with orchestrator.rehearsing(PIPELINE, tmp_path / "rehearsal") as local:
        assert local.run(local.start(PIPELINE))["state"] == "finished"
    (tmp_path / "dear.txt").touch()
    with (
        pytest.raises(orchestrator.BadInput, match="holds something that is not a rehearsal"),
        orchestrator.rehearsing(PIPELINE, tmp_path),
    ):
        pass


@pytest.mark.slow
def test_the_import_loads_nothing_that_is_slow_and_offers_what_it_says() -> None:
    program = (
        "import orchestrator, sys; slow = {'sqlalchemy', 'pydantic', 'click', 'kaggle', 'rich', 'yaml', 'orchestrator.app.api'}\n"
        "print(slow & set(sys.modules)); print(all(getattr(orchestrator, name) for name in orchestrator.__all__))\n"
        "print(set(orchestrator.__all__) <= set(dir(orchestrator)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\nTrue\nTrue\n"
    with pytest.raises(AttributeError, match="no attribute 'oepn'"):
        _ = orchestrator.oepn  # type: ignore[attr-defined]


def test_everything_offered_says_what_it_does() -> None:
    public: dict[str, Callable[..., Any]] = {
        name: found for name, found in vars(orchestrator.Relay).items() if not name.startswith("_")
    }
    lacking = [name for name, found in public.items() if not found.__doc__]
    assert lacking + [name for name in orchestrator.__all__ if not getattr(orchestrator, name).__doc__] == []
    assert [
        package for package in ("orchestrator", "state", "stages") if not (ROOT / package / "py.typed").exists()
    ] == []
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in public if name != "home" and f"relay.{name}(" not in page] == []


@pytest.mark.slow
def test_the_examples_of_the_page_run_as_they_stand(
    tmp_path: Path, kaggle: LocalKaggle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**kaggle.environment(), "RELAY_HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-pipeline.yaml").write_text(COUNTING, encoding="utf-8")
    space: dict[str, Any] = {}
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) >= 6
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), space)
    told = capsys.readouterr().out
    assert "finished 70 of 70" in told
    assert "did you mean 'accelerator'?" in told
    assert "paused by you → relay resume paused-" in told
    assert space["document"]["state"] == "finished"
