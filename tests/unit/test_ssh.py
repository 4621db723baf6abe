"""A machine with SSH in relay's words: the lease of a session, its status, and the section of the pipeline file."""

import pytest

from orchestrator.base.errors import BadInput, Transient
from orchestrator.pipeline import loader
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.rehearsed import rehearsed
from orchestrator.platforms.port import TIME_LIMIT, Worker
from orchestrator.platforms.shared_folder import REVOKED
from orchestrator.ssh.lease import MachineRecord, SessionLease, seen_of

FILE = """
name: count
accelerator: cpu
platform: ssh
ssh: {host: vm, folder: /mnt/relay}
session: {limit_s: 600}
stages: [{name: one, kind: counting, steps: 2}]
"""
CLAIM = "4711 4827232 boot-1 gsm-3f9a-s0001 81c0"


def record(**changes: object) -> MachineRecord:
    usual: dict[str, object] = {"claimed": True, "claim": CLAIM, "alive": False, "boot": "boot-1", "stopped": False}
    return MachineRecord(**{**usual, "ended": "", **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "worker", "words"),
    [
        ({"claimed": False, "claim": ""}, Worker.NEW_SCRIPT, ""),
        ({"claim": REVOKED}, Worker.NEW_SCRIPT, ""),
        ({"alive": True}, Worker.RUNNING, ""),
        ({"alive": True, "stopped": True}, Worker.CANCEL_REQUESTED, ""),
        ({"alive": True, "ended": "0"}, Worker.COMPLETE, ""),
        ({"ended": "0"}, Worker.COMPLETE, ""),
        ({"ended": "0", "boot": "boot-2"}, Worker.COMPLETE, ""),
        ({"ended": "137"}, Worker.ERROR, "status 137"),
        ({"ended": "limit"}, Worker.CANCEL_ACKNOWLEDGED, TIME_LIMIT),
        ({"ended": "limit", "alive": True}, Worker.CANCEL_ACKNOWLEDGED, TIME_LIMIT),
        ({"stopped": True}, Worker.CANCEL_ACKNOWLEDGED, "relay stopped it"),
        ({"boot": "boot-2"}, Worker.ERROR, "restarted, or taken away"),
        ({}, Worker.ERROR, "process 4711 is gone"),
        ({"claim": ""}, Worker.ERROR, "lost power"),
    ],
)
def test_a_session_has_the_status_that_its_traces_tell(changes: dict[str, object], worker: Worker, words: str) -> None:
    seen = seen_of(record(**changes), "gsm-3f9a-s0001")
    assert seen.worker is worker
    assert words in seen.message


def test_a_lease_is_five_words_or_none() -> None:
    assert SessionLease.parse(CLAIM) == SessionLease(4711, "4827232", "boot-1", "gsm-3f9a-s0001", "81c0")
    assert [SessionLease.parse(text) for text in ("", REVOKED, CLAIM + " more", "x" + CLAIM)] == [None] * 4


def test_half_an_answer_about_a_session_is_no_answer() -> None:
    whole = "claimed=1\nclaim=" + CLAIM + "\nalive=1\nboot=boot-1\nstopped=0\nended=\nwhole=1\n"
    assert MachineRecord.parse(whole) == record(alive=True)
    for part in (whole.removesuffix("whole=1\n"), whole.replace("boot=boot-1", "boot=")):
        with pytest.raises(Transient):
            MachineRecord.parse(part)


# --- the pipeline file ------------------------------------------------------------


@pytest.mark.parametrize(
    ("offer", "accelerator", "platform", "devices"),
    [("", "cpu", "cpu", 0), (", tpus: 4", "TpuV5E8", "tpu", 4), (", gpus: 2", "NvidiaTeslaT4", "gpu", 2)],
)
def test_a_pipeline_for_a_machine_has_its_hardware_and_survives_being_stored(
    offer: str, accelerator: str, platform: str, devices: int
) -> None:
    text = FILE.replace("/mnt/relay", f"/mnt/relay{offer}").replace("accelerator: cpu", f"accelerator: {accelerator}")
    pipeline = loader.parse(text, "count.yaml")
    promise = pipeline.hardware.promise
    assert (promise.platform, promise.devices, pipeline.hardware.quota, pipeline.slots) == (platform, devices, "", 1)
    assert Pipeline.from_canonical(pipeline.canonical()) == pipeline


def test_a_rehearsal_of_a_pipeline_for_a_machine_is_on_the_local_kaggle() -> None:
    text = FILE.replace("platform: ssh\n", "").replace("ssh: {host: vm, folder: /mnt/relay}\n", "")
    assert rehearsed(loader.parse(FILE, "count.yaml")) == loader.parse(text, "count.yaml")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("platform: ssh\n", "", "ssh: this section is for a machine with SSH: write platform: ssh"),
        ("platform: ssh\n", "platform: slurm\n", "ssh: this section is for a machine with SSH"),
        ("host: vm, ", "", "ssh.host should be the machine as ssh takes it"),
        ("host: vm", "host: -oProxyCommand=x", "ssh.host should be the machine"),
        ("/mnt/relay", "relay", "ssh.folder should be the absolute path"),
        ("/mnt/relay", "/mnt/relay, tpus: 1, gpus: 1", "ssh.gpus: a session uses TPUs or GPUs"),
        ("/mnt/relay", "/mnt/relay, tpus: 8", "accelerator is cpu, .* write TpuV5E8 or TpuV6E8"),
        ("accelerator: cpu", "accelerator: TpuV5E8", "accelerator is TpuV5E8, .* write cpu"),
        ("session: {limit_s: 600}", "", "session.limit_s is missing"),
        ("/mnt/relay", "/mnt/relay, signal_s: 600", "ssh.signal_s is 600"),
        ("/mnt/relay", "/mnt/relay, python: '-c'", "ssh.python"),
        ("/mnt/relay", "/mnt/relay, hots: vm", "ssh.hots.*did you mean 'host'"),
    ],
)
def test_a_mistake_about_the_machine_is_one_sentence_with_its_key(old: str, new: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        loader.parse(FILE.replace(old, new), "count.yaml")
