"""`relay probe`: what it refuses, and that a probe once done is shown and not repeated."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.base.clock import SystemClock
from orchestrator.cli import main
from orchestrator.core.assumptions import fold
from orchestrator.engine.evidence_files import EvidenceFiles
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS
from orchestrator.rehearsal.local_kaggle.processes import ProcessSandbox
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from state.store import Store
from tests.contract.local import AT_ONCE

COUNTING = "name: counts\nsession: {limit_s: 6, margin_s: 1}\nstages: [{name: a, kind: counting, steps: 3}]\n"
EVIDENCE = {"format": 1, "kind": "relay-evidence", "evidence": []}


def relay(home: Path, *arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), "probe", *arguments], env=environ)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "name the pipeline to probe: relay probe PIPELINE; or --export or --import with a file"),
        (("--accelerator", "--import", "{folder}/e.json"), "--accelerator and --again need a pipeline"),
        (("--again", "--import", "{folder}/e.json"), "--accelerator and --again need a pipeline"),
        (("--json", "--import", "{folder}/e.json", "--export", "{folder}/o.json"), "--json describes one file"),
        (("{folder}/none.yaml",), "none.yaml does not exist: name a pipeline file"),
        (
            ("{folder}/counts.yaml", "--tpu"),
            "relay probe --accelerator asks before it spends TPU quota, and cannot ask here: add --yes",
        ),
        (
            ("{folder}/counts.yaml", "--tpu", "--json"),
            "asks before it spends TPU quota, and cannot ask here: add --yes",
        ),
        (("--import", "{folder}/counts.yaml"), "counts.yaml cannot be read as evidence: it is not a JSON document"),
        (("--import", "{folder}/gone.json"), "gone.json cannot be read (No such file or directory)"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "counts.yaml").write_text(COUNTING)
    (tmp_path / "e.json").write_text(json.dumps(EVIDENCE))
    done = relay(tmp_path / "home", *(argument.format(folder=tmp_path) for argument in arguments))
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("relay: ") and done.stderr.count("\n") == 1
    assert sentence in done.stderr
    assert not (tmp_path / "home").exists()


@pytest.fixture
def environ(tmp_path: Path) -> Iterator[dict[str, str]]:
    clock = SystemClock()
    sandbox = ProcessSandbox(tmp_path / "sessions", clock)
    with LocalKaggle(tmp_path / "kaggle", clock, AT_ONCE, NO_FAULTS, sandbox) as kaggle:
        yield dict(kaggle.environment())


@pytest.mark.slow
def test_a_probe_that_is_fresh_is_shown_again_and_begins_no_session(tmp_path: Path, environ: dict[str, str]) -> None:
    path, home = tmp_path / "counts.yaml", tmp_path / "home"
    path.write_text(COUNTING)
    first = relay(home, str(path), "--json", **environ)
    assert first.exit_code == 0, first.output
    document = json.loads(first.stdout)
    (run,) = document["runs"]
    assert (run["state"], run["accelerator"], document["stops"], document["problems"]) == ("finished", "cpu", [], [])
    verdicts = {row["key"]: row["verdict"] for row in document["assumptions"]}
    assert verdicts["unknown-suffix-kept"] == verdicts["sentinel-mounted"] == verdicts["lists-complete"] == "confirmed"
    assert document["notes"]["uploaded files"].startswith(".bin unchanged, .relay unchanged")
    second = relay(home, str(path), "--json", "--export", str(tmp_path / "e.json"), **environ)
    assert json.loads(second.stdout) == document, "nothing new was seen, and nothing was kept twice"
    assert f"{run['run']} shows what it saw; --again repeats it" in second.stderr
    assert [name for name, _ in Store.at(home).run_names()] == [run["run"]]
    assert run["run"] not in (tmp_path / "e.json").read_text()
    other = relay(tmp_path / "other", "--import", str(tmp_path / "e.json"), "--json")
    assert json.loads(other.stdout)["entries"] > 10


@pytest.mark.slow
def test_an_ordinary_run_leaves_evidence_of_the_server_that_it_ran_on(tmp_path: Path, environ: dict[str, str]) -> None:
    path, home = tmp_path / "counts.yaml", tmp_path / "home"
    path.write_text(
        COUNTING.replace("steps: 3}", "steps: 2}, {name: b, kind: counting, steps: 2}") + "fork_points: [a]\n"
    )
    ran = CliRunner().invoke(main, ["--home", str(home), "up", str(path)], env=environ)
    assert ran.exit_code == 0, ran.output
    kept = fold(EvidenceFiles.of(home, environ).only_account())
    assert {"sentinel-mounted", "mount-layout", "unknown-suffix-kept", "queue-time", "api-shapes"} <= set(kept)
    assert kept["mount-layout"].detail.startswith("mounted as ") and kept["mount-layout"].verdict == "confirmed"
    assert EvidenceFiles(home).only_account() == [], "a rehearsal is no evidence about Kaggle"
    for known, there in ((environ, True), ({}, False)):
        told = CliRunner().invoke(main, ["--home", str(home), "check", "--offline", str(path)], env=known)
        assert ("held on this account" in " ".join(told.output.split())) is there, told.output
