"""Slurm in relay's words: states, records, refusals, options, and the section of the pipeline file."""

from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from orchestrator.app.platforms import Platforms
from orchestrator.base.clock import VirtualClock
from orchestrator.base.errors import Ambiguous, BadInput, NoSlot, Permanent, Refused, RelayError, Transient
from orchestrator.pipeline import loader
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.reference.schema import schema
from orchestrator.pipeline.rehearsed import rehearsed
from orchestrator.platforms.names import name_in
from orchestrator.platforms.port import TIME_LIMIT, KernelPush, Worker
from orchestrator.platforms.shared_folder import REVOKED
from orchestrator.platforms.shell_host import CommandAnswer, ShellHost
from orchestrator.slurm.jobs import SessionRecord, SlurmJob, jobs_in, refusal, seen_of
from orchestrator.slurm.options import ClusterOptions
from orchestrator.slurm.platform import SlurmPlatform
from orchestrator.views.fact_text import describe_fact
from stages.contract import Accelerator
from tests.unit.test_machine import SAMPLES

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
        (SessionRecord(submitted="7", age_s=299), Worker.QUEUED),
        (SessionRecord(submitted="7", age_s=300), Worker.NEW_SCRIPT),
        (SessionRecord(submitted="7", claimed=REVOKED), Worker.CANCEL_ACKNOWLEDGED),
        (SessionRecord(submitted="7", claimed="7", age_s=299), Worker.RUNNING),
        (SessionRecord(submitted="7", claimed="7", age_s=300), Worker.ERROR),
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


def test_a_session_of_several_tasks_asks_for_its_nodes_and_for_the_gpus_of_each() -> None:
    options = ClusterOptions(shared="/s", nodes=2, tasks_per_node=4, gpus=16)
    assert {"--nodes=2", "--ntasks=8", "--ntasks-per-node=4", "--gpus-per-node=8"} <= set(options.sbatch(600))
    assert not [option for option in ClusterOptions(shared="/s", gpus=2).sbatch(600) if "per-node" in option]


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


# --- sentences ---------------------------------------------------------------------


def test_what_happens_to_a_run_on_a_cluster_is_told_without_a_word_of_kaggle() -> None:
    told = [describe_fact(fact, "Slurm") for fact in SAMPLES.values()]
    assert "session 2 attempt 2 pushed to Slurm" in told or "session 1 pushed to Slurm" in told, told
    assert not [sentence for sentence in told if "Kaggle" in sentence]


def test_a_stored_pipeline_names_its_platform_and_a_rehearsal_plays_every_one_on_the_local_kaggle() -> None:
    pipeline = loader.parse(FILE, "count.yaml")
    assert (name_in(pipeline.canonical()), name_in('{"name": "gsm"}'), name_in("")) == ("Slurm", "Kaggle", "Kaggle")
    local = SlurmPlatform(ClusterOptions(shared="/s"), sleep=lambda _: None)
    assert Platforms(lambda: local, VirtualClock()).of(rehearsed(pipeline)) is local
    assert Platforms(lambda: local, VirtualClock()).of(pipeline) is not local


# --- the pipeline file ------------------------------------------------------------


def test_a_pipeline_for_a_cluster_has_its_hardware_and_survives_being_stored() -> None:
    pipeline = loader.parse(FILE, "count.yaml")
    assert (pipeline.hardware.promise.platform, pipeline.hardware.quota, pipeline.limit_s) == ("cpu", "", 600)
    assert Pipeline.from_canonical(pipeline.canonical()) == pipeline


@pytest.mark.parametrize(("platform", "limits"), [("slurm", []), ("kaggle", ["session.limit_s"])])
def test_a_jobs_time_limit_may_exceed_those_of_kaggle_in_the_file_and_in_the_schema(
    platform: str, limits: list[str]
) -> None:
    text = FILE.replace("600", "172800")
    if platform == "kaggle":
        text = text.replace("platform: slurm\n", "").replace("slurm: {shared: /scratch/relay}\n", "")
        with pytest.raises(BadInput, match="Kaggle ends a cpu session after 43200 s"):
            loader.parse(text, "count.yaml")
    else:
        assert loader.parse(text, "count.yaml").limit_s == 172800
    found = Draft202012Validator(schema()).iter_errors(yaml.safe_load(text))
    assert [".".join(map(str, mistake.absolute_path)) for mistake in found] == limits


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
        ("limit_s: 600", "limit_s: 9.0e+8", r"session.limit_s is 9e\+08, and that is longer than a year"),
        (
            "/scratch/relay}",
            "/scratch/relay, nodes: 2}",
            r"stages\[0\]: the 2 processes of a session can run stages of kind sft alone, and one is counting: write 1 for "
            "slurm.nodes, or put one into a pipeline of its own",
        ),
        ("/scratch/relay}", "/scratch/relay, options: ['--ntasks-per-node=2']}", "relay sets --ntasks-per-node itself"),
        ("/scratch/relay}", "/scratch/relay, tasks_per_node: 0}", "slurm.tasks_per_node"),
    ],
)
def test_a_mistake_about_the_cluster_is_one_sentence_with_its_key(old: str, new: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        loader.parse(FILE.replace(old, new), "count.yaml")


SEVERAL = """
name: small
accelerator: cpu
platform: slurm
slurm: {shared: /scratch/relay, nodes: 2, tasks_per_node: 2}
session: {limit_s: 600}
model: {kind: gemma2, source: /models/tiny, mesh_fsdp: 2, mesh_tp: 2}
stages: [{name: sft, kind: sft, steps: 4}]
"""


def test_the_processes_of_a_session_are_promised_to_it_and_a_pipeline_of_one_is_stored_as_before() -> None:
    pipeline = loader.parse(SEVERAL, "small.yaml")
    assert pipeline.hardware.promise == Accelerator(platform="cpu", devices=4, processes=4)
    assert Pipeline.from_canonical(pipeline.canonical()) == pipeline
    alone = loader.parse(FILE, "count.yaml")
    assert alone.hardware.promise == Accelerator(platform="cpu")
    assert "nodes" not in alone.canonical()
    assert "tasks_per_node" not in alone.canonical()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("mesh_tp: 2", "mesh_tp: 1", r"mesh_fsdp × model.mesh_tp is 2, and the 4 processes .* make the product 4"),
        (
            "kind: sft",
            "kind: grpo",
            r"stages of kind sft alone, and sft is grpo: write 1 for slurm.nodes and slurm.tasks",
        ),
        ("kind: sft", "kind: own:train", "sft is own:train"),
        ("steps: 4", "steps: 4, options: {probe_problems: 8}", "probe_problems is 8.* leave it out"),
        (
            "accelerator: cpu\nplatform: slurm\nslurm: {",
            "accelerator: NvidiaTeslaT4\nplatform: slurm\nslurm: {gpus: 6, ",
            r"slurm.gpus is 6, which .* 4, does not divide",
        ),
    ],
)
def test_what_several_processes_cannot_do_together_is_refused_with_the_remedy(
    old: str, new: str, sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        loader.parse(SEVERAL.replace(old, new), "small.yaml")
