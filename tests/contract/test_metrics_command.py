"""`relay metrics`, `relay tensorboard` and the dashboard's metrics, as users and monitors call them."""

import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from orchestrator.app.app import App
from orchestrator.app.dashboard import Dashboard, Served, listening
from orchestrator.app.settings import Settings
from orchestrator.cli import main
from orchestrator.views.monitor_document import monitor_document
from orchestrator.views.open_metrics import MEDIA_TYPE, open_metrics
from state.read_only import ReadOnlyStore
from tests.unit.histories import AT, trained


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that came to its end."""
    place = tmp_path_factory.mktemp("metrics") / "home"
    trained().keep(place).close()
    return place


def relay(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *arguments])


def test_all_sessions_are_one_table_and_what_was_left_out_is_said_apart(home: Path) -> None:
    found = relay(home, "metrics", "tiny")
    lines = found.stdout.splitlines()
    assert lines[0].startswith("position,stage,step,session,attempt,at_s,at,verified,")
    positions = [int(line.split(",")[0]) for line in lines[1:]]
    assert positions == sorted(set(positions))
    assert found.stderr.startswith("relay: tiny-0001: ")


def test_event_files_are_written_where_the_command_says(home: Path) -> None:
    found = relay(home, "tensorboard", "tiny", "--no-start")
    folder = Path(found.stdout.partition(" is up to date")[0])
    assert found.exit_code == 0
    assert list(folder.rglob("events*"))
    assert "up to date: 0 steps were written" in relay(home, "tensorboard", "tiny", "--no-start").stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["metrics", "nothing"], "there is no run nothing"),
        (["metrics", "tiny", "--format", "parquet"], "Parquet is a file and no text"),
        (["metrics", "tiny", "-o", "no/such/file.csv"], "there is no no/such"),
        (["metrics", "tiny", "--to", "wandb", "-o", "a.csv"], "--to sends the metrics and writes no file"),
        (["metrics", "tiny", "--project", "p"], "add --to wandb"),
        (["tensorboard", "nothing", "--no-start"], "there is no run nothing"),
    ],
)
def test_bad_input_is_one_sentence_and_makes_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = relay(home, *arguments)
    assert (refused.exit_code, refused.stdout, len(refused.stderr.splitlines())) == (2, "", 1)
    assert sentence in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_monitor_can_read_the_dashboards_metrics(home: Path) -> None:
    with (
        Served(Dashboard(App(Settings(home, {}))), listening(0)) as served,
        urllib.request.urlopen(f"{served.url}metrics") as answer,
    ):
        assert answer.headers["content-type"] == MEDIA_TYPE
        text = answer.read().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    states = {sample.labels["relay_run_state"]: sample.value for sample in families["relay_run_state"].samples}
    assert (states["finished"], sum(states.values())) == (1.0, 1.0)
    done, target = (families[f"relay_run_steps_{name}"].samples[0].value for name in ("done", "target"))
    assert done == target > 0
    last = {sample.labels["metric"] for sample in families["relay_run_last_value"].samples}
    assert "loss" in last


def test_a_monitor_is_told_of_a_rehearsals_stand_ins(home: Path) -> None:
    document = monitor_document(ReadOnlyStore(home), AT)
    document["runs"][0]["stages"][0]["stand_ins"] = ["gsm8k", "model"]
    families = {family.name: family for family in text_string_to_metric_families(open_metrics(document))}
    told = [sample.labels["stand_in"] for sample in families["relay_run_stand_in"].samples if sample.value == 1.0]
    assert told == ["gsm8k", "model"]


def test_text_from_outside_cannot_break_a_line_of_the_metrics() -> None:
    odd = 'a"b\\c\nd'
    quota = [{"owner": odd, "accelerator": "tpu", "used_s": 3.0, "left_s": float("inf"), "total_s": None}]
    text = open_metrics({"daemon": None, "damaged": [], "runs": [], "quota": quota})
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["relay_quota_used_seconds"].samples[0].labels["owner"] == odd
    assert families["relay_quota_left_seconds"].samples[0].value == float("inf")
    assert families["relay_quota_limit_seconds"].samples == []
