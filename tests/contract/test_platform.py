"""The promises of the port that every platform keeps: the Kaggle client, the simulator's world, Slurm, and SSH.

The runs at the end are Slurm's alone: what the engine asks of a platform that can stop a session.
"""

import getpass
import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

import orchestrator
from orchestrator.app.app import App
from orchestrator.app.doctor.command import examine
from orchestrator.app.settings import Settings
from orchestrator.base.errors import Corrupt, Permanent, Refused
from orchestrator.cli import main
from orchestrator.platforms.port import SOURCES_NOT_ACCEPTED, FileWanted, KernelPush, Platform, Worker
from orchestrator.preflight.check.command import check
from orchestrator.slurm.options import ClusterOptions
from orchestrator.slurm.platform import SlurmPlatform
from orchestrator.ssh.options import MachineOptions
from orchestrator.ssh.platform import SshPlatform
from tests import ssh_machine
from tests.contract.worlds import STATE, Place, directly, over_http
from tests.slurm_cluster import ended_jobs, missing, slurm_cluster

pytestmark = pytest.mark.slow

PROGRAM = """# token 81c0
from pathlib import Path

for second in range(0, 100, 10):
    print(f"line {second}", flush=True)
Path("relay").mkdir()
Path("relay/report.json").write_text('{"half": true}')
Path("relay/state.bin").write_bytes(bytes(range(256)) * 1024)
"""
SLUG, DATASET = "gsm-3f9a-s0001", "gsm-3f9a-c0001"
WAITED_S = 60.0
WAYS: dict[str, Callable[[Path], AbstractContextManager[Place]]] = {"kaggle": over_http, "simulator": directly}


@dataclass
class Somewhere:
    """A platform, and a way to let its time pass."""

    platform: Platform
    wait: Callable[[], None]

    def ended(self, slug: str) -> Worker:
        """The status of a session once it has ended."""
        deadline = time.monotonic() + WAITED_S
        while not (seen := self.platform.session(slug, 1)).worker.terminal:
            assert time.monotonic() < deadline, seen
            self.wait()
        return seen.worker


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which a real Slurm runs, below `slurm`; this process's environment leads its commands there."""
    if why := missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("cluster")
    with pytest.MonkeyPatch.context() as patch, slurm_cluster(folder / "slurm") as environment:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield folder


@pytest.fixture(scope="module", params=["kaggle", "simulator", "slurm", "ssh"])
def somewhere(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Somewhere]:
    """The platform, with one session that has been started."""
    if request.param == "slurm":
        folder = request.getfixturevalue("cluster")
        options = ClusterOptions(shared=str(folder / "shared"), python=sys.executable)
        yield begun(Somewhere(SlurmPlatform(options, sleep=_sleep), lambda: _sleep(0.2)))
        return
    folder = tmp_path_factory.mktemp("platform")
    if request.param == "ssh":
        if why := ssh_machine.missing():
            pytest.skip(why)
        with pytest.MonkeyPatch.context() as patch, ssh_machine.ssh_machine(folder / "ssh") as machine:
            patch.setenv("PATH", machine.path)
            offered = MachineOptions(host=ssh_machine.HOST, folder=str(folder / "vm"), python=sys.executable)
            yield begun(Somewhere(SshPlatform(offered, sleep=_sleep), lambda: _sleep(0.2)))
        return
    with WAYS[request.param](folder / "kaggle") as place:
        yield begun(Somewhere(place.gateway, lambda: place.wait(30)))


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


def begun(somewhere: Somewhere) -> Somewhere:
    somewhere.platform.push(KernelPush(slug=SLUG, source=PROGRAM, timeout_s=300))
    return somewhere


def test_what_nobody_started_is_not_found_and_its_status_is_unknown(somewhere: Somewhere) -> None:
    assert somewhere.platform.find_kernel("gsm-3f9a-s0099") is None
    assert somewhere.platform.session("gsm-3f9a-s0099", 1).worker is Worker.UNKNOWN


def test_a_started_session_is_found_under_its_name_with_its_program(somewhere: Somewhere) -> None:
    found = somewhere.platform.find_kernel(SLUG)
    assert found is not None
    assert (found.ref, found.version, found.source) == (f"{somewhere.platform.owner()}/{SLUG}", 1, PROGRAM)
    assert somewhere.platform.list_kernels("gsm-3f9a-s0001") == (SLUG,)
    assert somewhere.platform.list_kernels("nobody-") == ()
    assert SLUG in [kernel.slug for kernel in somewhere.platform.recent_kernels().kernels]


def test_a_processor_has_no_quota(somewhere: Somewhere) -> None:
    assert somewhere.platform.quota("cpu") is None


def test_an_ended_session_has_its_whole_log_each_line_once(somewhere: Somewhere) -> None:
    assert somewhere.ended(SLUG) is Worker.COMPLETE
    log = list(somewhere.platform.log(SLUG, 1))
    assert [(line.number, line.text) for line in log] == [(n, f"line {10 * n}") for n in range(10)]
    assert [line.number for line in somewhere.platform.follow_log(SLUG, 1)] == list(range(10))
    assert [line.text for line in somewhere.platform.follow_log(SLUG, 1, seen=8)] == ["line 80", "line 90"]


def test_what_a_session_left_is_listed_and_fetched_whole_or_not_at_all(somewhere: Somewhere, tmp_path: Path) -> None:
    assert somewhere.ended(SLUG) is Worker.COMPLETE
    listed = {file.name: file for file in somewhere.platform.output(SLUG, 1)}
    assert sorted(listed) == ["relay/report.json", "relay/state.bin"]
    into, wanted = (
        tmp_path / "in" / "state.bin",
        FileWanted(size_bytes=len(STATE), sha256=hashlib.sha256(STATE).hexdigest()),
    )
    got = somewhere.platform.download(listed["relay/state.bin"], into, wanted)
    assert into.read_bytes() == STATE
    assert somewhere.platform.download(listed["relay/state.bin"], into, wanted) == got, "repeating is safe"
    damaged = tmp_path / "aside" / "state.bin"
    for wrong in (FileWanted(size_bytes=7), FileWanted(sha256="0" * 64, damaged=damaged)):
        with pytest.raises(Corrupt):
            somewhere.platform.download(listed["relay/state.bin"], tmp_path / "other", wrong)
    assert not (tmp_path / "other").exists()
    assert damaged.read_bytes() == STATE


def test_a_checkpoint_is_published_once_mounted_and_deleted(somewhere: Somewhere, tmp_path: Path) -> None:
    platform, files = somewhere.platform, [tmp_path / "manifest.json", tmp_path / "state.bin"]
    files[0].write_bytes(b'{"format":1}')
    files[1].write_bytes(STATE)
    assert platform.find_dataset(DATASET) is None
    platform.send_ahead(DATASET, files[1], hashlib.sha256(STATE).hexdigest())
    assert platform.find_dataset(DATASET) is None, "what is only sent ahead is not published"
    platform.create_dataset(DATASET, files, description="of run gsm-3f9a")
    while (seen := platform.find_dataset(DATASET)) is None or seen.status != "ready":
        somewhere.wait()
    assert (seen.ref, seen.version, seen.private) == (f"{platform.owner()}/{DATASET}", 1, True)
    assert seen.description == "of run gsm-3f9a"
    assert {file.name: file.size_bytes for file in seen.files} == {"manifest.json": 12, "state.bin": len(STATE)}
    with pytest.raises(Refused):
        platform.create_dataset(DATASET, files)
    back = platform.download_dataset_file(DATASET, "state.bin", tmp_path / "back", FileWanted(size_bytes=len(STATE)))
    assert back.sha256 == hashlib.sha256(STATE).hexdigest()
    assert platform.list_datasets("gsm-3f9a-c") == (DATASET,)
    platform.push(KernelPush(slug="gsm-3f9a-s0002", source=PROGRAM, dataset_sources=(seen.ref,), timeout_s=300))
    assert somewhere.ended("gsm-3f9a-s0002") is Worker.COMPLETE
    for _again in range(2):
        platform.delete_dataset(DATASET)
    assert platform.find_dataset(DATASET) is None


def test_a_session_without_its_source_asks_for_a_person(somewhere: Somewhere) -> None:
    missing_source = f"{somewhere.platform.owner()}/no-such-data"
    with pytest.raises(Permanent, match=SOURCES_NOT_ACCEPTED):
        somewhere.platform.push(KernelPush(slug="gsm-3f9a-s0005", source=PROGRAM, dataset_sources=(missing_source,)))


def test_a_session_is_stopped_where_the_platform_can_and_refused_where_not(somewhere: Somewhere) -> None:
    slug = "gsm-3f9a-s0007"
    source = f"{PROGRAM}\nimport time\ntime.sleep(600)\n"
    somewhere.platform.push(KernelPush(slug=slug, source=source, timeout_s=900))
    if not somewhere.platform.can_stop:
        with pytest.raises(Refused):
            somewhere.platform.stop(slug, 1)
        return
    somewhere.platform.stop(slug, 1)
    assert somewhere.ended(slug) is Worker.CANCEL_ACKNOWLEDGED
    somewhere.platform.stop(slug, 1)


# --- runs on Slurm ----------------------------------------------------------------


PIPELINE = """
name: count
accelerator: cpu
platform: slurm
slurm: {shared: SHARED, python: PYTHON, signal_s: 0}
session: {limit_s: 600}
fork_points: [brief]  # the first session ends there
stages:
  - {name: brief, kind: counting, steps: 8, options: {step_s: 0.1}}
  - {name: long, kind: counting, steps: 10000, options: {step_s: 0.1}}
"""


@dataclass
class Begun:
    """A run on the cluster, in a home folder without credentials of Kaggle."""

    file: Path
    home: Path
    run: str

    @property
    def relay(self) -> "orchestrator.Relay":
        return orchestrator.open(self.home, environ={})


@pytest.fixture(scope="module")
def counted(cluster: Path) -> Begun:
    """A run that has begun."""
    file = cluster / "count.yaml"
    file.write_text(PIPELINE.replace("SHARED", str(cluster / "shared")).replace("PYTHON", sys.executable))
    return Begun(file, cluster / "home", orchestrator.open(cluster / "home", environ={}).start(file))


def test_a_paused_run_starts_no_other_job_and_a_cancelled_one_ends_its_job_in_slurms_records(
    cluster: Path, counted: Begun
) -> None:
    relay, run = counted.relay, counted.run
    _tick(relay, lambda: _states(relay, run) == ["running"])
    relay.pause(run)
    _tick(relay, lambda: relay.status(run)["sessions"][0]["outcome"] == "yielded")
    for _again in range(5):
        assert not [line for line in relay.tick() if "planned" in line]
    assert (relay.status(run)["state"], _jobs(cluster, run)) == ("parked", ["COMPLETED"])
    relay.resume(run)
    _tick(relay, lambda: _states(relay, run)[1:] == ["running"])
    relay.cancel(run)
    _tick(relay, lambda: len(_jobs(cluster, run)) > 1)
    assert _jobs(cluster, run) == ["COMPLETED", "CANCELLED"]
    assert relay.status(run)["state"] == "cancelled"


def test_what_asks_about_a_run_or_a_pipeline_asks_its_cluster_and_nothing_of_kaggle(
    cluster: Path, counted: Begun
) -> None:
    _tick(counted.relay, lambda: counted.relay.status(counted.run)["sessions"][:1] != [] and _jobs_or_run(counted))
    owner = f"{getpass.getuser()}@relaytest"
    app = App(Settings(counted.home, {}))
    checked = check(
        counted.file, counted.home, cluster, {}, app.clock.now(), offline=False, platform_of=app.platforms.of
    )
    for found in (examine(app, None, offline=False), checked):
        told = {finding["key"]: finding["sentence"] for finding in found["findings"]}
        assert told["account"] == f"Slurm answers: the account is {owner}"
        assert "Kaggle" not in str(told)
        assert "credentials" not in told
    other = App(Settings(cluster / "other", {}))
    told_lines: list[str] = []
    assert [one["run"] for one in other.adoption(counted.file).list(told_lines.append)["runs"]] == [counted.run]
    assert f"relay adopt {counted.run} --pipeline FILE" in told_lines[0]
    adopted = other.adoption(counted.file).adopt(counted.run, counted.file, told_lines.append)
    assert adopted["sessions"] == len(_states(counted.relay, counted.run))
    assert "found on Slurm" in " ".join(told_lines)


@pytest.mark.parametrize(
    "command", [["probe"], ["environment", "publish"]], ids=["relay probe", "relay environment publish"]
)
def test_what_is_for_kaggle_alone_says_so_in_one_sentence(counted: Begun, command: list[str]) -> None:
    done = CliRunner().invoke(main, ["--home", str(counted.home), *command, str(counted.file)])
    assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
    assert "is for Kaggle, and the sessions of count run on Slurm" in done.output


def _jobs_or_run(counted: Begun) -> bool:
    """True once the first session has been submitted."""
    return counted.relay.status(counted.run)["sessions"][0]["phase"] not in ("planned", "pushing")


def _tick(relay: "orchestrator.Relay", true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAITED_S
    while not true():
        assert time.monotonic() < deadline, relay.status()
        relay.tick()
        _sleep(0.2)


def _states(relay: "orchestrator.Relay", run: str) -> list[str]:
    return [session["phase"] for session in relay.status(run)["sessions"]]


def _jobs(cluster: Path, run: str) -> list[str]:
    """The ends of a run's jobs by Slurm's own record, in their order."""
    return [job["JobState"] for job in ended_jobs(cluster / "slurm") if job["Name"].startswith(f"{run}-")]
