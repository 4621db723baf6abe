"""relay check against the local Kaggle: what it finds when all is well, and when each thing that can go wrong does."""

import json
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.base.clock import VirtualClock
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.port import Platform
from orchestrator.preflight.check.command import check, exit_status
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS, CallAction, CallFault, FaultPlan
from orchestrator.rehearsal.local_kaggle.rules import PerKind, Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Played, ScriptedSandbox
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from orchestrator.views.check import check_view
from state.revisions import newest_revision
from tests.contract.local import AT_ONCE, Client
from tests.contract.test_commands import COUNTING
from tests.contract.test_commands import relay as relay_here
from tests.contract.worlds import START

MODEL = "google/gemma-2/flax/gemma2-2b-it/1"

TRAINING = f"""
name: gsm
model: {{kind: gemma2-2b, source: {MODEL}, mesh_fsdp: 2, mesh_tp: 4}}
inputs: {{datasets: [rehearsal/maths-problems]}}
stages:
  - {{name: sft, kind: sft, steps: 10, options: {{mode: lora, data: [gsm8k]}}}}
"""

CHECKOUT = {"PYTHONPATH": str(Path(__file__).parents[2])}

IDLES = Played(ends_after_s=1e6)


def relay(*arguments: str, home: Path, environ: Mapping[str, str] = CHECKOUT) -> subprocess.CompletedProcess[str]:
    """This checkout's program."""
    return relay_here(*arguments, home=home, environ={**CHECKOUT, **environ})


def elsewhere(pipeline: Pipeline) -> Platform:
    raise AssertionError(f"{pipeline.name} runs on Kaggle")


class Place:
    """A pipeline, a home folder that does not exist, and a Kaggle."""

    def __init__(self, folder: Path, kaggle: LocalKaggle, clock: VirtualClock) -> None:
        self.folder = folder
        self.kaggle = kaggle
        self.clock = clock
        self.home = folder / "home"
        self.path = folder / "gsm.yaml"
        self.path.write_text(TRAINING, encoding="utf-8")
        self.environ: Mapping[str, str] = kaggle.environment()

    def equip(self, accepted: bool = True) -> None:
        """Let Kaggle have what the pipeline mounts."""
        now = self.clock.now()
        self.kaggle.world.offer_model(MODEL, {"weights": Content.of_bytes(b"w" * 99, now)}, accepted=accepted)
        Client(self.kaggle, self.clock).create("maths-problems", train=b"rows")

    def check(self, *, offline: bool = False) -> dict[str, Any]:
        return check(
            self.path, self.home, self.folder, self.environ, self.clock.now(), offline=offline, platform_of=elsewhere
        )


@contextmanager
def place_with(tmp_path: Path, rules: Rules = AT_ONCE, faults: FaultPlan = NO_FAULTS) -> Iterator[Place]:
    clock = VirtualClock(START)
    sandbox = ScriptedSandbox(lambda *_: IDLES)
    with LocalKaggle(tmp_path / "kaggle", clock, rules, faults, sandbox) as kaggle:
        yield Place(tmp_path, kaggle, clock)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with place_with(tmp_path) as found:
        found.equip()
        yield found


def of(found: Mapping[str, Any], key: str, *states: str) -> list[dict[str, Any]]:
    """The findings of a subject that are in one of these states."""
    return [each for each in found["findings"] if each["key"] == key and each["state"] in states]


def the(found: Mapping[str, Any], key: str, state: str) -> dict[str, Any]:
    """The only finding of a subject that is in this state."""
    among = of(found, key, state)
    assert len(among) == 1, [each for each in found["findings"] if each["key"] == key]
    return among[0]


def test_where_all_is_well_nothing_stands_in_the_way_and_nothing_is_created(place: Place) -> None:
    kernels, datasets = len(place.kaggle.world.kernels.all()), len(place.kaggle.world.datasets.all())
    before = sorted(path for path in place.folder.rglob("*") if not path.is_relative_to(place.folder / "kaggle"))
    found = place.check()
    assert (exit_status(found), found["problems"], found["warnings"]) == (0, 0, 0), found["findings"]
    polled_at = {finding["key"] for finding in found["findings"]}
    assert polled_at == {
        *("file", "kernel", "names", "session", "mesh", "checkpoint", "disk", "versions", "internet", "runs"),
        *("credentials", "account", "phone", "quota", "slots", "model", "dataset", "seen"),
    }
    assert "20 h of 20 h of TPU" in the(found, "quota", "ok")["sentence"]
    assert MODEL in the(found, "model", "ok")["sentence"]
    assert sorted(p for p in place.folder.rglob("*") if not p.is_relative_to(place.folder / "kaggle")) == before
    assert (len(place.kaggle.world.kernels.all()), len(place.kaggle.world.datasets.all())) == (kernels, datasets)


def test_offline_asks_nobody(place: Place) -> None:
    place.environ = {**place.environ, "RELAY_KAGGLE_URL": "http://127.0.0.1:9"}
    found = place.check(offline=True)
    assert exit_status(found) == 0, found["findings"]
    assert not of(found, "account", "ok", "warning", "problem")
    assert not of(found, "model", "ok", "warning", "problem")


def test_a_token_that_kaggle_does_not_take_is_told_with_where_it_lies_and_never_shown(place: Place) -> None:
    secret = "KGAT_0123456789abcdef0123456789abcdef"
    place.environ = {"RELAY_KAGGLE_URL": place.kaggle.url, "KAGGLE_API_TOKEN": secret}
    found = place.check()
    assert exit_status(found) == 1
    assert "KAGGLE_API_TOKEN" in the(found, "account", "problem")["sentence"]
    assert the(found, "account", "problem")["link"] == "https://www.kaggle.com/settings"
    assert "needs an account" in the(found, "kaggle", "note")["sentence"]
    assert secret not in json.dumps(found)


def test_without_credentials_what_can_be_looked_at_is(place: Place) -> None:
    place.environ = {"RELAY_KAGGLE_URL": place.kaggle.url}
    found = place.check()
    assert exit_status(found) == 1
    assert the(found, "credentials", "problem")["remedy"].startswith("create a token")
    assert of(found, "mesh", "ok")


@pytest.mark.slow
def test_a_model_whose_licence_was_not_accepted_is_told_with_the_page_to_accept_it_on(tmp_path: Path) -> None:
    with place_with(tmp_path) as place:
        place.equip(accepted=False)
        found = place.check()
    assert exit_status(found) == 1
    denied = the(found, "model", "problem")
    assert "accept the licence" in denied["remedy"]
    assert denied["link"] == "https://www.kaggle.com/models/google/gemma-2"


@pytest.mark.slow
@pytest.mark.parametrize("code", [403, 404])
def test_inputs_that_do_not_exist_are_named(tmp_path: Path, code: int) -> None:
    with place_with(tmp_path, Rules(missing_dataset_code=code)) as place:
        found = place.check()
    assert exit_status(found) == 1
    assert MODEL in the(found, "model", "problem")["sentence"]
    assert "rehearsal/maths-problems" in the(found, "dataset", "problem")["sentence"]
    assert the(found, "dataset", "problem")["link"] == "https://www.kaggle.com/datasets/rehearsal/maths-problems"


@pytest.mark.parametrize(
    ("inputs", "key", "said"),
    [
        ("{models: [google/gemma-2]}", "file", "'google/gemma-2' is no model: write owner/model/framework"),
        ("{models: [google/gemma-2/flux/gemma2-2b-it/1]}", "model", "write owner/model/framework/variation/version"),
        ("{datasets: [maths-problems]}", "file", "'maths-problems' is no dataset"),
    ],
)
def test_a_name_that_cannot_be_one_of_kaggles_is_told_with_how_to_write_it(
    place: Place, inputs: str, key: str, said: str
) -> None:
    place.path.write_text(TRAINING.replace("{datasets: [rehearsal/maths-problems]}", inputs), encoding="utf-8")
    told = the(place.check(), key, "problem")
    assert said in f"{told['sentence']}: {told['remedy']}"


@pytest.mark.slow
def test_without_hours_left_a_run_would_wait_which_is_a_warning(tmp_path: Path) -> None:
    with place_with(tmp_path, Rules(quota_s=PerKind(600.0, 0.0, 0.0), dataset_processing_s=0.0)) as place:
        place.equip()
        found = place.check()
    assert exit_status(found) == 0
    assert "less than the 30 min that a session is worth starting with" in the(found, "quota", "warning")["sentence"]
    assert "(in 5 d)" in the(found, "quota", "warning")["sentence"]


def test_a_session_that_takes_the_only_slot_is_named(place: Place) -> None:
    Client(place.kaggle, place.clock).push("somebody-elses", machineShape="TpuV5E8", enableTpu=True)
    Client(place.kaggle, place.clock).push("on-a-gpu", machineShape="NvidiaTeslaT4", enableGpu=True)
    found = place.check()
    assert exit_status(found) == 0
    taken = the(found, "slots", "warning")
    assert "somebody-elses is alive" in taken["sentence"]
    assert "on-a-gpu" not in taken["sentence"]
    assert taken["link"] == "https://www.kaggle.com/code/rehearsal/somebody-elses"
    assert "have reserved 9 h of them" in the(found, "quota", "ok")["sentence"]


@pytest.mark.slow
def test_an_account_that_ran_on_a_tpu_has_a_verified_phone_number_and_for_others_that_cannot_be_known(
    place: Place,
) -> None:
    assert "relay cannot see" in the(place.check(), "phone", "note")["sentence"]
    Client(place.kaggle, place.clock).push("on-a-tpu", machineShape="TpuV5E8", enableTpu=True)
    assert "TPU sessions before" in the(place.check(), "phone", "ok")["sentence"]


def test_what_has_the_runs_name_already_is_told(place: Place) -> None:
    Client(place.kaggle, place.clock).push("gsm-3f9a-s0001")
    Client(place.kaggle, place.clock).create("gsm-3f9a-c0001", blob=b"state")
    told = the(place.check(), "names", "note")["sentence"]
    assert "1 kernel and 1 dataset under this name" in told
    assert "gsm-3f9a-s0001, gsm-3f9a-c0001" in told


FAILING = {
    "GetAcceleratorQuotaStatistics": {"phone", "quota"},
    "ListKernels": {"slots", "names"},
    "ListDatasets": {"names"},
    "GetModelInstance": {"model"},
    "ListModelInstanceVersionFiles": {"model"},
    "DownloadModelInstanceVersion": {"model"},
    "GetDataset": {"dataset"},
    "IntrospectToken": {"account"},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "action"),
    [*((call, CallAction.STATUS) for call in FAILING), ("DownloadModelInstanceVersion", CallAction.HTML)],
)
def test_a_question_that_kaggle_does_not_answer_hides_no_other_answer(
    tmp_path: Path, call: str, action: CallAction
) -> None:
    status = {"status": 503} if action is CallAction.STATUS else {}
    times = 2 if call == "IntrospectToken" else 0  # for ever, or until the account has been asked for
    faults = FaultPlan(calls=(CallFault(call=call, action=action, times=times, **status),))
    with place_with(tmp_path, faults=faults) as place:
        place.equip()
        found = place.check()
    assert exit_status(found) == 0, found["findings"]
    unanswered = {each["key"] for each in found["findings"] if "could not be checked" in each["sentence"]}
    assert unanswered == FAILING[call]
    answered = {each["key"] for each in found["findings"] if each["state"] in ("ok", "note")}
    assert {"account", "phone", "quota", "slots", "names", "model", "dataset"} - FAILING[call] <= answered


@pytest.mark.slow
def test_a_quota_that_kaggle_does_not_tell_is_a_note(tmp_path: Path) -> None:
    fault = CallFault(call="GetAcceleratorQuotaStatistics", action=CallAction.EMPTY, times=0)
    with place_with(tmp_path, faults=FaultPlan(calls=(fault,))) as place:
        place.equip()
        assert "Kaggle does not say" in the(place.check(), "quota", "note")["sentence"]


@pytest.mark.slow
def test_a_server_that_is_not_there_is_told_once(place: Place) -> None:
    place.environ = {**place.environ, "RELAY_KAGGLE_URL": "http://127.0.0.1:9"}
    found = place.check()
    assert exit_status(found) == 0
    (said,) = of(found, "kaggle", "warning")
    assert "127.0.0.1 cannot be reached: connection refused" in said["sentence"]
    assert found["warnings"] == 1
    assert not of(found, "quota", "warning")


# --- as a command -----------------------------------------------------------------


@pytest.mark.slow
def test_every_mistake_of_a_file_is_listed_with_exit_status_2(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(
        "name: My Name\naccelerator: TpuV5E9\nstages:\n"
        "  - {name: one, kind: cuonting, steps: 3}\n  - {name: one, kind: counting, steps: 3, options: {stp_s: 1}}\n",
        encoding="utf-8",
    )
    told = relay("check", str(path), home=tmp_path / "home")
    assert told.returncode == 2, told.stderr
    for mistake in (
        "name 'My Name' becomes part of Kaggle's names",
        "did you mean 'TpuV5E8'?",
        "did you mean 'counting'?",
        "taken by an earlier stage",
        "stages[1].options.stp_s is not an option",
        f"5 mistakes in {path}: nothing else was checked",
    ):
        assert mistake in told.stdout, told.stdout
    document = json.loads(relay("check", str(path), "--json", home=tmp_path / "home").stdout)
    assert (document["pipeline"], document["problems"], len(document["findings"])) == (None, 5, 5)
    refused = relay("start", str(path), home=tmp_path / "home")
    assert refused.returncode == 2
    assert f"(and 4 more mistakes: relay check {path} lists all)" in refused.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_a_file_that_is_not_there_is_a_mistake_too(tmp_path: Path) -> None:
    told = relay("check", "none.yaml", home=tmp_path / "home")
    assert told.returncode == 2
    assert "none.yaml does not exist: name a pipeline file" in told.stdout
    assert "1 mistake in none.yaml" in told.stdout


@pytest.mark.slow
def test_an_open_run_of_the_same_name_is_in_the_way_and_the_run_itself_is_told(tmp_path: Path) -> None:
    with place_with(tmp_path) as place:
        place.path.write_text(COUNTING, encoding="utf-8")
        home, environ = place.home, place.environ
        assert relay("check", str(place.path), home=home, environ=environ).returncode == 0
        started = relay("start", str(place.path), home=home, environ=environ)
        run = started.stdout.split()[0]
        same = relay("check", str(place.path), home=home, environ=environ)
        assert same.returncode == 1
        assert f"run {run} of this very pipeline is active" in same.stdout
        assert "1 problem to fix before count can run" in same.stdout
        place.path.write_text(COUNTING.replace("steps: 40", "steps: 41"), encoding="utf-8")
        assert f"run {run} has this name but a different pipeline" in relay(
            "check", str(place.path), home=home, environ=environ
        ).stdout.replace("\n", " ")


@pytest.mark.slow
def test_a_database_of_another_relay_is_told_and_left_as_it_is(place: Place) -> None:
    place.path.write_text(COUNTING, encoding="utf-8")
    assert relay("start", str(place.path), home=place.home, environ=place.environ).returncode == 0
    database = place.home / "relay.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    found = place.check(offline=True)
    assert of(found, "runs", "problem"), found["findings"]
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    connection.close()
    assert newest_revision() != "9999"


def test_a_sentence_and_its_remedy_fit_into_forty_columns(place: Place) -> None:
    from rich.console import Console

    console = Console(width=40, record=True, file=(place.folder / "shown").open("w"))
    console.print(check_view(place.check(offline=True)))
    console.file.close()
    assert max(map(len, console.export_text().splitlines())) <= 40
