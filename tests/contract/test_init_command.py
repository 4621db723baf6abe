"""relay init on a terminal, as a person meets it: questions with defaults, each answer held to what fits."""

import os
import pty
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator.pipeline import loader

ROOT = Path(__file__).parents[2]


def on_a_terminal(folder: Path, typed: str, *arguments: str) -> tuple[int, str]:
    """The program's exit status and all that its terminal showed, after these lines were typed."""
    ours, theirs = pty.openpty()
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    program = [sys.executable, "-m", "orchestrator", "init", *arguments]
    with subprocess.Popen(program, cwd=folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs) as running:
        os.close(theirs)
        watch = threading.Timer(60, running.kill)  # a question too many would wait for ever
        watch.start()
        os.write(ours, typed.encode())
        shown = b""
        with suppress(OSError):  # how a terminal says that nobody is left on the other side
            while block := os.read(ours, 4096):
                shown += block
        status = running.wait()
        watch.cancel()
    os.close(ours)
    return status, shown.decode()


@pytest.mark.slow
def test_on_a_terminal_each_question_shows_its_default_and_is_asked_again_until_the_answer_fits(tmp_path: Path) -> None:
    (tmp_path / "taken.yaml").write_text("dear to me", encoding="utf-8")
    answers = ["gemma9", "gemma3-1b", "T44", "tpu", "sft", "no-such.jsonl", "none", "Not A Name", "taken", "mine"]
    status, shown = on_a_terminal(tmp_path, "".join(f"{answer}\n" for answer in answers))
    assert status == 0, shown
    for default in (
        "model [gemma2-2b]",
        "accelerator [TpuV5E8]",
        "recipe [sft+grpo]",
        "[none]",
        "name of the pipeline [gemma3-1b]",
    ):
        assert default in shown
    for mistake in (
        "'gemma9' is not a model",
        "did you mean NvidiaTeslaT4?",
        "no-such.jsonl cannot be read",
        "name 'Not A Name'",
        "taken.yaml is there",
    ):
        assert mistake in shown.replace("\r\n", "\n")
    made = loader.load(tmp_path / "mine.yaml")
    assert (made.name, made.model["kind"], made.stages[-1].name) == ("mine", "gemma3-1b", "after-sft")


@pytest.mark.slow
def test_a_flag_is_an_answer_and_yes_answers_the_rest(tmp_path: Path) -> None:
    status, shown = on_a_terminal(tmp_path, "\n\n", "mine.yaml", "--recipe", "full", "--model", "tiny")
    assert status == 0, shown
    assert "model [" not in shown
    assert "recipe [" not in shown
    status, shown = on_a_terminal(tmp_path, "", "all.yaml", "--yes")
    assert status == 0, shown
    assert "[" not in shown
    assert loader.load(tmp_path / "all.yaml").name == "all"


@pytest.mark.slow
def test_who_gives_up_while_being_asked_leaves_nothing(tmp_path: Path) -> None:
    status, shown = on_a_terminal(tmp_path, "\n\x04")  # the end of what is typed, as Ctrl-D says it
    assert status == 1, shown
    assert list(tmp_path.glob("*.yaml*")) == []
