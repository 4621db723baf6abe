"""Slurm in relay's words: states, records, refusals, options, and the section of the pipeline file."""

from pathlib import Path

import pytest

from orchestrator.base.errors import Ambiguous, BadInput, NoSlot, Permanent, Refused, RelayError, Transient
from orchestrator.pipeline import loader
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.port import TIME_LIMIT, KernelPush, Worker
from orchestrator.platforms.shared_folder import REVOKED
from orchestrator.platforms.shell_host import CommandAnswer, ShellHost
from orchestrator.slurm.jobs import SessionRecord, SlurmJob, jobs_in, refusal, seen_of
from orchestrator.slurm.options import ClusterOptions
from orchestrator.slurm.platform import SlurmPlatform

FILE = """
name: count
accelerator: cpu
platform: slurm
slurm: {shared: /scratch/relay}
session: {limit_s: 600}
stages: [{name: one, kind: counting, steps: 2}]
"""


@pytest.mark.parametrize(
    ("state", "worker"),
    [
        ("PENDING", Worker.QUEUED),
        ("RUNNING", Worker.RUNNING),
        ("COMPLETING", Worker.RUNNING),
        ("COMPLETED", Worker.COMPLETE),
        ("TIMEOUT", Worker.CANCEL_ACKNOWLEDGED),
        ("CANCELLED", Worker.CANCEL_ACKNOWLEDGED),
        ("PREEMPTED", Worker.ERROR),
        ("NODE_FAIL", Worker.ERROR),
        ("OUT_OF_MEMORY", Worker.ERROR),
        ("FAILED", Worker.ERROR),
        ("TELEPORTED", Worker.UNKNOWN),
    ],
)
def test_a_session_has_the_status_of_the_job_that_took_it(state: str, worker: Worker) -> None:
    jobs = [SlurmJob("7", state), SlurmJob("8", "COMPLETED")]
    assert seen_of(SessionRecord(submitted="8", claimed="7"), jobs).worker is worker


def test_a_session_that_reached_its_time_limit_says_so_in_the_words_that_the_judgement_knows() -> None:
    assert TIME_LIMIT in seen_of(SessionRecord(claimed="7"), [SlurmJob("7", "TIMEOUT")]).message


@pytest.mark.parametrize(
    ("record", "worker"),
    [
        (SessionRecord(), Worker.NEW_SCRIPT),
        (SessionRecord(submitted="7"), Worker.NEW_SCRIPT),
        (SessionRecord(submitted="7", claimed=REVOKED), Worker.CANCEL_ACKNOWLEDGED),
        (SessionRecord(submitted="7", claimed="7"), Worker.ERROR),
        (SessionRecord(submitted="7", claimed="7", ended="0"), Worker.COMPLETE),
        (SessionRecord(submitted="7", claimed="7", ended="137"), Worker.ERROR),
    ],
)
def test_a_job_that_slurm_has_forgotten_is_judged_by_what_it_left(record: SessionRecord, worker: Worker) -> None:
    assert seen_of(record, []).worker is worker


def test_a_job_whose_id_was_never_told_is_found_by_its_name() -> None:
    assert seen_of(SessionRecord(), [SlurmJob("9", "CANCELLED"), SlurmJob("10", "PENDING")]).worker is Worker.QUEUED


def test_listings_of_squeue_and_sacct_are_read() -> None:
    assert jobs_in("12|RUNNING|81c0\n13|CANCELLED by 1000|\n\nnonsense\n") == (
        SlurmJob("12", "RUNNING", "81c0"),
        SlurmJob("13", "CANCELLED", ""),
    )


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Batch job submission failed: Socket timed out on send/recv operation", Ambiguous),
        ("Unable to contact slurm controller (connect failure)", Ambiguous),
        ("Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", NoSlot),
        ("invalid partition specified: shrt", Permanent),
        ("Requested node configuration is not available", Permanent),
        ("Batch job submission failed: Slurm temporarily in maintenance", Refused),
    ],
)
def test_a_refusal_of_sbatch_is_told_apart_from_an_answer_that_was_lost(words: str, kind: type[RelayError]) -> None:
    assert type(refusal("gsm-3f9a-s0001", CommandAnswer(-2, "", ""))) is Ambiguous, "sbatch was interrupted"
    assert type(refusal("gsm-3f9a-s0001", CommandAnswer(1, "", f"sbatch: error: {words}"))) is kind


def test_sbatch_is_asked_for_whole_minutes_and_for_what_the_file_says() -> None:
    options = ClusterOptions(shared="/s", partition="short", gpus=2, cpus=8, memory="64G", options=("--qos=long",))
    asked = options.sbatch(61)
    assert "--time=2" in asked
    assert "--no-requeue" in asked
    assert asked[-1] == "--qos=long"
    assert {"--partition=short", "--gpus=2", "--cpus-per-task=8", "--mem=64G", "--signal=B:USR1@60"} <= set(asked)


class LostAnswers(ShellHost):
    """A host whose sbatch takes the job, and whose answer never comes."""

    def __init__(self) -> None:
        super().__init__()
        self.submitted: list[str] = []

    def ask(self, *command: str, file: Path | None = None) -> CommandAnswer:
        if "sbatch" in command:
            self.submitted.append(next(part for part in command if part.startswith("--job-name=")).partition("=")[2])
            raise Transient("sbatch gave no answer")
        if command[0] == "squeue":
            return CommandAnswer(0, "".join(f"{n}|PENDING|x\n" for n, _ in enumerate(self.submitted, 1)), "")
        if command[0] == "scontrol":
            return CommandAnswer(0, "ClusterName             = tiny\n", "")
        return super().ask(*command, file=file)


def test_a_lost_answer_of_sbatch_is_unclear_and_its_job_is_found_instead_of_submitted_again(tmp_path: Path) -> None:
    host = LostAnswers()
    platform = SlurmPlatform(ClusterOptions(shared=str(tmp_path / "shared")), sleep=lambda _: None, host=host)
    assert platform.owner().endswith("@tiny")
    kernel = KernelPush(slug="gsm-3f9a-s0001", source="print(1)\n", timeout_s=60)
    with pytest.raises(Ambiguous):
        platform.push(kernel)
    assert platform.session(kernel.slug, 1).worker is Worker.QUEUED
    with pytest.raises(Refused):
        platform.push(kernel)
    assert host.submitted == [kernel.slug]


# --- the pipeline file ------------------------------------------------------------


def test_a_pipeline_for_a_cluster_has_its_hardware_and_survives_being_stored() -> None:
    pipeline = loader.parse(FILE, "count.yaml")
    assert (pipeline.hardware.promise.platform, pipeline.hardware.quota, pipeline.limit_s) == ("cpu", "", 600)
    assert Pipeline.from_canonical(pipeline.canonical()) == pipeline


def test_the_stored_text_of_a_pipeline_on_kaggle_does_not_know_of_platforms() -> None:
    text = FILE.replace("platform: slurm\n", "").replace("slurm: {shared: /scratch/relay}\n", "")
    assert "slurm" not in loader.parse(text, "count.yaml").canonical()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("platform: slurm\n", "", "slurm: this section is for a cluster: write platform: slurm"),
        ("/scratch/relay", "relay", "slurm.shared should be the absolute path"),
        ("accelerator: cpu", "accelerator: TpuV5E8", "accelerator is TpuV5E8, .* write cpu"),
        ("session: {limit_s: 600}", "", "session.limit_s is missing"),
        (
            "/scratch/relay}",
            "/scratch/relay, options: ['--requeue']}",
            r"slurm.options\[0\]: relay sets --requeue itself",
        ),
        ("/scratch/relay}", "/scratch/relay, partition: 'a b'}", "slurm.partition: 'a b' should be one word"),
        ("/scratch/relay}", "/scratch/relay, partitoin: a}", "slurm.partitoin.*did you mean 'partition'"),
        ("platform: slurm", "platform: slrm", "platform"),
    ],
)
def test_a_mistake_about_the_cluster_is_one_sentence_with_its_key(old: str, new: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        loader.parse(FILE.replace(old, new), "count.yaml")
