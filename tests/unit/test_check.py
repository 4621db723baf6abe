"""What relay check tells from the file alone: times, devices, sizes, disk, data, packages, internet."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.pipeline import loader
from orchestrator.pipeline.chips import OUTPUT_BYTES_MAX
from orchestrator.pipeline.examples import example
from orchestrator.preflight.check import files, limits, packages
from orchestrator.preflight.check.findings import Check, CheckSubject, Finding, Severity
from orchestrator.preflight.check.size import checkpoint_bytes, weights
from orchestrator.views.check import check_view
from orchestrator.views.printing import printable

NOW = datetime(2030, 1, 7, tzinfo=UTC)
GEMMA = "{kind: gemma2-2b, mesh_fsdp: 2, mesh_tp: 4}"
TRAIN = "{name: sft, kind: sft, steps: 9, options: {mode: lora, data: [gsm8k]}}"
COUNT = "{name: one, kind: counting, steps: 9}"


def subject(folder: Path, stage: str = COUNT, **keys: str) -> CheckSubject:
    """A pipeline of one stage with these further keys, written in YAML."""
    text = "\n".join(["name: gsm", *(f"{key}: {value}" for key, value in keys.items()), f"stages: [{stage}]"])
    path = folder / "gsm.yaml"
    path.write_text(text, encoding="utf-8")
    return CheckSubject(path, loader.load(path), folder / "home", folder, {}, NOW)


def found(check: Check, about: CheckSubject, state: Severity) -> list[Finding]:
    return [finding for finding in check(about) if finding.state is state]


@pytest.mark.parametrize(
    ("check", "keys", "state", "said"),
    [
        (
            limits.session,
            {"session": "{margin_s: 20000}"},
            Severity.WARNING,
            "session.margin_s keeps back 5 h 33 min of 9 h",
        ),
        (limits.session, {"session": "{save_interval_s: 40000}"}, Severity.WARNING, "a session saves only at its end"),
        (
            limits.session,
            {"session": "{min_session_s: 30000}", "account": "{hours_per_week: 8}"},
            Severity.PROBLEM,
            "no session would",
        ),
        (
            limits.session,
            {"stage": COUNT[:-1] + ", options: {step_s: 40000}}"},
            Severity.PROBLEM,
            "one step of one takes 11 h 6 min",
        ),
        (limits.session, {}, Severity.OK, "a session has 8 h 59 min of 9 h to work in"),
        (
            limits.mesh,
            {"stage": TRAIN, "model": "{mesh_fsdp: 16}"},
            Severity.PROBLEM,
            "is 16 and a TpuV5E8 session has 8 devices",
        ),
        (limits.mesh, {"stage": TRAIN, "model": "{mesh_fsdp: 4}"}, Severity.WARNING, "the others would be idle"),
        (limits.mesh, {"stage": TRAIN, "model": GEMMA}, Severity.OK, "is 8 and a TpuV5E8 session has 8 devices"),
        (limits.mesh, {"stage": TRAIN, "model": GEMMA, "accelerator": "cpu"}, Severity.PROBLEM, "has 1 device"),
        (packages.internet, {"stage": TRAIN, "internet": "false"}, Severity.PROBLEM, "gsm8k would be fetched"),
        (packages.internet, {"stage": TRAIN, "internet": "false"}, Severity.WARNING, "no session can install its pins"),
        (packages.internet, {"stage": TRAIN}, Severity.NOTE, "sessions fetch gsm8k from the Hugging Face hub"),
        (
            packages.internet,
            {"stage": TRAIN, "model": "{source: google/gemma-2-2b-it}"},
            Severity.WARNING,
            "has no token",
        ),
        (
            packages.versions,
            {"stage": TRAIN, "environment": "['jax==0.9.0']"},
            Severity.WARNING,
            "other versions than those",
        ),
        (
            packages.folder,
            {"stage": TRAIN, "model": "{source: ./weights}"},
            Severity.WARNING,
            "weights is no folder on this machine, and a session on Kaggle has none",
        ),
        (
            packages.folder,
            {"stage": TRAIN, "model": "{source: /nonexist/x}"},
            Severity.WARNING,
            "/nonexist/x is no folder on this machine",
        ),
        (
            packages.folder,
            {"stage": TRAIN, "model": "{source: .}"},
            Severity.WARNING,
            " is a folder, and a session on Kaggle has none",
        ),
        (
            packages.versions,
            {"stage": TRAIN, "environment": "tunix-0.1.5"},
            Severity.OK,
            "what it lacks of tunix-0.1.5",
        ),
        (packages.versions, {"stage": TRAIN}, Severity.OK, "what it lacks of tunix-0.1.7"),
    ],
)
def test_each_thing_that_does_not_fit_is_told_with_its_remedy(
    tmp_path: Path, check: Check, keys: dict[str, str], state: Severity, said: str
) -> None:
    told = found(check, subject(tmp_path, **keys), state)
    assert any(said in finding.sentence for finding in told), list(check(subject(tmp_path, **keys)))
    assert state in (Severity.OK, Severity.NOTE) or all(finding.remedy for finding in told)


def test_a_mistake_inside_a_list_is_not_told_a_second_time_as_the_lists(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("name: gsm\nseeed: 1\nstages: [{name: one, kind: counting, steps: 0}]\n", encoding="utf-8")
    read, mistakes = loader.examine(path)
    assert read is None
    assert [mistake.removeprefix(f"{path}: ") for mistake in mistakes] == [
        "seeed: 'seeed' is not a key that relay knows: did you mean 'seed'?",
        "stages[0].steps: input should be greater than or equal to 1, found 0",
    ]


def test_without_unicode_a_tick_and_a_cross_are_told_apart() -> None:
    shown = io.StringIO()
    document = {"path": "a.yaml", "pipeline": "a", "offline": False, "problems": 1, "warnings": 0}
    findings = [{"key": key, "state": key, "sentence": "said", "remedy": "", "link": ""} for key in ("ok", "problem")]
    stream = printable(shown, {"LC_ALL": "C"})
    Console(file=stream, width=60).print(check_view({**document, "findings": findings}))
    assert [line.split()[0] for line in shown.getvalue().splitlines()[:2]] == ["+", "x"]


def test_a_mounted_copy_needs_no_internet(tmp_path: Path) -> None:
    about = subject(tmp_path, TRAIN, internet="false", inputs="{datasets: [bob/gsm8k-copy]}")
    assert found(packages.internet, about, Severity.PROBLEM) == []


ROW = json.dumps({"question": "1 + 1 = ?", "answer": "so\n#### 2"})
OTHER_ROW = json.dumps({"problem": "1 + 1 = ?"})


@pytest.mark.parametrize(
    ("files", "row", "datasets", "state", "said", "fetched"),
    [
        ("gsm8k_train.jsonl gsm8k_test.jsonl", ROW, "", Severity.OK, "gsm8k is read from your own gsm8k_train.jsonl and", None),
        ("mine_train.jsonl mine_test.jsonl", ROW, "", Severity.OK, "gsm8k is read from your own mine_train.jsonl and", None),
        ("mine_train.jsonl mine_test.jsonl", OTHER_ROW, "", None, "", Severity.PROBLEM),
        ("gsm8k_train.parquet gsm8k_test.parquet", "", "", Severity.OK, "gsm8k is read from your own", None),
        ("mine_train.parquet mine_test.parquet", "", "", None, "", Severity.NOTE),
        ("gsm8k_train.jsonl", ROW, "", Severity.PROBLEM, "gsm8k_train.jsonl of inputs.files names a split of gsm8k", None),
        ("gsm8k_train.jsonl gsm8k_test.jsonl", OTHER_ROW, "", Severity.PROBLEM, "is another set (it has no columns", None),
        ("gsm8k.jsonl", ROW, "", Severity.PROBLEM, "gsm8k.jsonl of inputs.files is called after gsm8k and cannot be used", None),
        ("gsm8k.jsonl.gz", "", "", Severity.PROBLEM, "gsm8k.jsonl.gz is .gz, which relay does not read", None),
        ("mine_train.jsonl", ROW, "", Severity.PROBLEM, "mine_train.jsonl of inputs.files has rows of gsm8k", None),
        ("mine_train.jsonl", ROW, "bob/gsm8k-copy", Severity.WARNING, "unless a dataset has gsm8k, a session will refuse", None),
        ("", "", "bob/gsm8k-copy", Severity.NOTE, "gsm8k is expected in bob/gsm8k-copy because of the name: only", None),
        ("", "", "bob/my-math", None, "", Severity.NOTE),
        ("", "", "gsm8k/poems", None, "", Severity.NOTE),
        ("gsm8k-notes.txt", "", "", None, "", Severity.PROBLEM),
        ("notes.jsonl", "{}", "", None, "", Severity.PROBLEM),
    ],
)  # fmt: skip
def test_what_the_pipeline_brings_is_recognised_as_a_session_does_and_only_the_rest_is_fetched(
    tmp_path: Path, files: str, row: str, datasets: str, state: Severity | None, said: str, fetched: Severity | None
) -> None:
    for name in files.split():
        (tmp_path / name).write_text(f"{row}\n", encoding="utf-8")
    about = subject(
        tmp_path, TRAIN, inputs=f"{{files: [{', '.join(files.split())}], datasets: [{datasets}]}}", internet="false"
    )
    told = list(packages.sets(about))
    assert [finding.state for finding in told] == ([] if state is None else [state])
    assert all(said in finding.sentence for finding in told)
    assert all(finding.remedy for finding in told if state is Severity.PROBLEM)
    asked = [f for f in packages.internet(about) if "gsm8k would be fetched from the Hugging Face hub" in f.sentence]
    assert [finding.state for finding in asked] == ([] if fetched is None else [fetched])


def test_full_training_of_the_larger_model_leaves_a_checkpoint_that_kaggle_does_not_keep(tmp_path: Path) -> None:
    full = subject(tmp_path, TRAIN.replace("lora", "full"), model=GEMMA)
    size = checkpoint_bytes(full.pipeline)
    assert size is not None
    assert 29 <= size / 2**30 < 30  # as docs/memory.md has it
    assert "mode: lora" in found(limits.checkpoint, full, Severity.PROBLEM)[0].remedy
    assert found(limits.checkpoint, subject(tmp_path, TRAIN, model=GEMMA), Severity.PROBLEM) == []


def test_weights_are_counted_as_the_model_cards_do() -> None:
    assert weights("gemma2-2b") / 1e9 == pytest.approx(2.61, abs=0.01)
    assert weights("gemma3-1b") / 1e9 == pytest.approx(1.00, abs=0.01)


def test_the_published_recipes_checkpoints_fit_into_what_kaggle_keeps() -> None:
    for name in ("gemma2_2b.yaml", "gemma3_1b.yaml"):
        size = checkpoint_bytes(loader.load(example(name)))
        assert size is not None
        assert 2**27 < size < OUTPUT_BYTES_MAX / 3


def test_of_a_stage_of_the_users_own_no_size_is_made_up(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def train(context):\n    pass\n", encoding="utf-8")
    about = subject(tmp_path, "{name: one, kind: 'own:train', steps: 9}")
    assert "cannot be computed" in found(limits.checkpoint, about, Severity.NOTE)[0].sentence
    assert "own.py" in found(files.modules, about, Severity.OK)[0].sentence


def test_a_disk_too_small_for_what_is_kept_is_told(tmp_path: Path) -> None:
    petabyte = COUNT[:-1] + f", options: {{payload_bytes: {10**15}}}}}"
    about = subject(tmp_path, petabyte)
    assert any(finding.key == "disk" for finding in found(limits.checkpoint, about, Severity.PROBLEM))


@pytest.mark.parametrize(
    ("lines", "state", "said"),
    [
        ([{"prompt": f"{n} + 1?", "answer": str(n + 1)} for n in range(50)], Severity.OK, "problems to train on"),
        ([{"prompt": "1 + 1?", "answer": "2"}, "{"], Severity.PROBLEM, "mine.jsonl, line 2: this is not JSON"),
        ([{"answer": "2"}], Severity.PROBLEM, "mine.jsonl, line 1: prompt is missing or empty"),
    ],
)
def test_a_data_file_is_read_line_by_line(tmp_path: Path, lines: list[Any], state: Severity, said: str) -> None:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (tmp_path / "mine.jsonl").write_text(text, encoding="utf-8")
    about = subject(tmp_path, TRAIN.replace("gsm8k", "mine.jsonl"), inputs="{files: [mine.jsonl]}")
    assert said in found(files.data, about, state)[0].sentence


def test_a_file_that_no_stage_reads_as_problems_has_only_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b\n", encoding="utf-8")
    about = subject(tmp_path, inputs="{files: [table.csv]}")
    assert "table.csv is there, 4 bytes" in found(files.data, about, Severity.OK)[0].sentence


def test_the_longest_name_of_a_run_is_one_that_kaggle_takes(tmp_path: Path) -> None:
    about = subject(tmp_path)
    longest = about.pipeline.model_copy(update={"name": "a" * 30})
    assert found(files.names, CheckSubject(about.path, longest, about.home, about.user_home, {}, NOW), Severity.OK)
