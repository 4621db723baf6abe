"""`relay ask`: a question typed, piped or at a prompt is answered as the run's own evaluation would, or refused in a sentence."""

import contextlib
import json
import os
import select
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest
from click.testing import CliRunner

from orchestrator.base.clock import SystemClock
from orchestrator.cli import main
from orchestrator.engine.home import HomeLayout
from orchestrator.pipeline.model import Pipeline
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS
from orchestrator.rehearsal.local_kaggle.sandbox import Played, ScriptedSandbox
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from stages.data import Example
from stages.options import Asking
from stages.training.generate import Generator
from state.store import Store
from tests.contract.local import AT_ONCE
from tests.contract.test_commands import relay
from tests.training.models import quick_compile
from tests.training.test_export_command import ROOT, RUN, Laptop, laptop

pytestmark = pytest.mark.slow  # each answer is a process that imports JAX

QUESTION, TOKENS = "What is 2 + 3?", 24
ENVIRON = {"PYTHONPATH": str(ROOT), **quick_compile()}
SHORT = ("--max-new-tokens", str(TOKENS))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    return laptop(tmp_path_factory.mktemp("laptop"), adapters=2)


@pytest.fixture(scope="module")
def wanted(desk: Laptop) -> str:
    """The greedy answer of the merged model."""
    generator = Generator(desk.model.merged, Asking(max_completion_length=TOKENS))
    return generator.greedy([Example("", QUESTION)], 1).texts[0]


def ask(desk: Laptop, *arguments: str) -> subprocess.CompletedProcess[str]:
    (desk.root / "here").mkdir(exist_ok=True)
    return relay("ask", *arguments, home=desk.home, environ=ENVIRON, cwd=desk.root / "here")


def leftovers(desk: Laptop) -> list[str]:
    return [path.name for path in desk.home.iterdir() if path.name.startswith(".relay-ask")]


def test_an_answer_is_the_one_that_the_trained_model_gives(desk: Laptop, wanted: str) -> None:
    done = ask(desk, "tiny", QUESTION, "--json", *SHORT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["model"], found["question"], found["text"]) == (f"{RUN} at sft step 2", QUESTION, wanted)
    assert found["tokens"] <= TOKENS
    assert "in float32 needs about 1.5 GiB of memory" in done.stderr
    assert leftovers(desk) == []


@pytest.mark.parametrize("layout", ["safetensors", "tunix"])
def test_an_export_answers_as_its_run_does(desk: Laptop, wanted: str, layout: str, tmp_path: Path) -> None:
    done = desk.export("tiny", "--format", layout, "--to", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    answered = ask(desk, "--export", str(tmp_path / "out"), QUESTION, "--json", *SHORT)
    assert answered.returncode == 0, answered.stderr
    assert json.loads(answered.stdout)["text"] == wanted


def test_an_adapter_alone_cannot_be_asked(desk: Laptop, tmp_path: Path) -> None:
    assert desk.export("tiny", "--format", "peft", "--to", str(tmp_path / "out")).returncode == 0
    done = ask(desk, "--export", str(tmp_path / "out"), QUESTION)
    assert done.returncode == 2
    assert "holds the adapter alone: ask the run itself" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nobody", "?"), "there is no run nobody"),
        ((), "name the run to ask, or --export"),
        (("tiny", "?", "--export", "."), "name a run or --export, not both"),
        (("--export", ".", "?"), "it has no readable export.json"),
        (("tiny", " "), "the question is empty"),
        (("tiny", "--json"), "no QUESTION was given"),
        (
            ("tiny", "--file", "q.jsonl", "--accelerator", "foo"),
            "--accelerator foo: there is none of that name: use one of",
        ),
        (("tiny", "?", "--checkpoint", "c0007"), f"--checkpoint c0007: {RUN} has no such verified checkpoint"),
        (("tiny", "?", "--checkpoint", "sft:1"), "holds no model that relay's own stages trained"),
        (("tiny", "?", "--base", "."), "here holds no model: neither *.safetensors with"),
        (("tiny", "?", "--top-k", "5"), "--top-k and --top-p need a --temperature above 0"),
        (("tiny", "?", "--accelerator", "GPU"), "--accelerator needs --file"),
        (("tiny", "word " * 9000), "which is too long: shorten it"),
    ],
)
def test_bad_input_is_one_sentence(
    desk: Laptop, arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk.root / "here").mkdir(exist_ok=True)
    monkeypatch.chdir(desk.root / "here")
    asked = ["--home", str(desk.home), "ask", *arguments]
    done = CliRunner(env={"HOME": str(desk.home.parent), "COLUMNS": "120", **ENVIRON}).invoke(main, asked)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr.splitlines()[-1]
    assert leftovers(desk) == []


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(desk: Laptop, tmp_path: Path) -> None:
    """A file of which only the header is there, of a model of some terabytes."""
    model = desk.model.root / "tiny-it"
    (tmp_path / "huge").mkdir()
    (tmp_path / "huge" / "tokenizer.model").write_bytes((model / "tokenizer.model").read_bytes())
    data = next(model.glob("*.safetensors")).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header, end = json.loads(data[8 : 8 + size]), 0
    for name, about in header.items():
        if name == "__metadata__":
            continue
        if name == "model.embed_tokens.weight":
            about["shape"][0] = 10**11
        item = 4 if about["dtype"] == "F32" else 2
        length = item
        for each in about["shape"]:
            length *= each
        about["data_offsets"] = [end, end + length]
        end += length
    text = json.dumps(header).encode()
    with (tmp_path / "huge" / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    done = ask(desk, "tiny", QUESTION, "--base", str(tmp_path / "huge"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "GiB of memory and this machine has" in done.stderr
    assert "close other programs, or let a session answer with relay ask RUN --file QUESTIONS" in done.stderr


def test_a_piped_question_is_answered_and_a_seed_gives_the_same_again(desk: Laptop) -> None:
    command = [sys.executable, "-m", "orchestrator", "--home", str(desk.home), "ask", "tiny", "--raw"]
    command += ["--temperature", "1.5", "--seed", "4", *SHORT]
    environ = {"PATH": os.environ["PATH"], "HOME": str(desk.root), **ENVIRON}
    found = {
        subprocess.run(command, input=f"{QUESTION}\n", env=environ, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(found) == 1
    other = subprocess.run(
        [*command, "--seed", "5"], input=QUESTION, env=environ, capture_output=True, text=True, check=True
    )
    assert other.stdout not in found


AT_TERMINAL = (
    "import fcntl, runpy, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); sys.argv[0] = 'relay'; "
    "runpy.run_module('orchestrator', run_name='__main__')"
)
"""relay with its standard input as the controlling terminal, so that Ctrl-C reaches it as a signal."""


class Terminal:
    """relay at a terminal of its own."""

    def __init__(self, desk: Laptop, *arguments: str) -> None:
        environ = {"PATH": os.environ["PATH"], "HOME": str(desk.root), **ENVIRON, "TERM": "xterm"}
        self._file, its = os.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", AT_TERMINAL, "--home", str(desk.home), "ask", *arguments],
            env=environ,
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
        )
        os.close(its)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._file)

    def type(self, text: str) -> None:
        os.write(self._file, text.encode())

    def until(self, text: str, patience_s: float = 120.0) -> str:
        """Read until a text appears; return everything up to it that is new."""
        deadline, found = time.monotonic() + patience_s, ""
        while text not in found:
            ready, _, _ = select.select([self._file], [], [], 1.0)
            assert time.monotonic() < deadline, f"waited in vain for {text!r} in {found!r}"
            if ready:
                found += os.read(self._file, 1024).decode("utf-8", "replace")
        return found

    def interrupt_until(self, text: str, patience_s: float = 120.0) -> None:
        """Press Ctrl-C until a text appears: Python's readline misses one that comes while it handles another key."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            self.type("\x03")
            with contextlib.suppress(AssertionError):
                self.until(text, patience_s=2.0)
                return
        raise AssertionError(f"{text!r} did not come")

    def end(self) -> int:
        """Wait for its end; returns the exit status."""
        return self._process.wait(60)


def test_at_a_prompt_questions_follow_each_other_and_ctrl_c_stops_an_answer(desk: Laptop, wanted: str) -> None:
    with Terminal(desk, "tiny", "--max-new-tokens", "1500") as terminal:
        assert "/quit or Ctrl-D ends" in terminal.until("ask> ")
        terminal.type(f"{QUESTION}\n")
        terminal.until(wanted.split()[0])
        terminal.type("\x03")
        assert "(stopped)" in terminal.until("ask> ")
        terminal.type("never asked")
        terminal.until("never asked")
        terminal.interrupt_until("ask> ")
        terminal.type("\x1b[A")  # the history holds the first question
        terminal.until(QUESTION)
        terminal.type("\x15/help\n")
        terminal.until("/quit and /exit leave, /help shows this")
        terminal.type("/clear\n")
        terminal.until("unknown command /clear")
        terminal.type("/quit\n")
        assert terminal.end() == 0
    assert leftovers(desk) == []


def test_the_end_of_input_ends_the_prompt(desk: Laptop) -> None:
    with Terminal(desk, "tiny") as terminal:
        terminal.until("ask> ")
        terminal.type("\x04")
        assert terminal.end() == 0


def test_a_file_is_answered_by_a_run_of_its_own_that_begins_with_the_weights(tmp_path: Path) -> None:
    desk = laptop(tmp_path)
    (tmp_path / "asked.jsonl").write_text(f'{{"question": "{QUESTION}"}}\n' + '{"prompt": "Say hello", "id": 9}\n')
    arguments = ("tiny", "--file", str(tmp_path / "asked.jsonl"), "--temperature", "0.5", "--max-new-tokens", "40")
    sandbox = ScriptedSandbox(lambda *_: Played(ends_after_s=1.0))
    with LocalKaggle(tmp_path / "kaggle", SystemClock(), AT_ONCE, NO_FAULTS, sandbox, owner="alice") as kaggle:
        environ = {**kaggle.environment(), "PYTHONPATH": str(ROOT)}
        told = [relay("ask", *arguments, home=desk.home, environ=environ) for _ in range(2)]
        other = relay("ask", *arguments, "--accelerator", "NvidiaTeslaT4", home=desk.home, environ=environ)
        wrong = relay("ask", *arguments, "--accelerator", "T5", home=desk.home, environ=environ)
        (tmp_path / "asked.jsonl").write_text('{"question": "a"}\n{"question": 3}\n')
        bad = relay("ask", *arguments, home=desk.home, environ=environ)
    assert [done.returncode for done in (*told, other)] == [0, 0, 0], told[0].stderr + other.stderr
    runs = {run: name for run, name in Store.at(desk.home).run_names() if run != RUN}
    assert len(runs) == 2, "the same questions are not asked twice, and other options are another run"
    run = told[0].stdout.split()[0]
    assert told[0].stdout == (
        f"{run} is ready, and answers 2 questions of asked.jsonl with {RUN} at sft step 2 on tpu; relay daemon executes it\n"
        f"then relay artifacts {run} shows where answers-answer.jsonl is\n"
    )
    assert told[1].stdout.startswith(f"{run} exists already: it answers 2 questions")
    state = Store.at(desk.home).load(run)
    pipeline = Pipeline.from_canonical(state.run.pipeline)
    assert state.run.origin is not None
    assert (state.run.origin.run, state.run.origin.keeps, state.run.origin.digest) == (RUN, "weights", desk.digests[1])
    assert [(stage.kind, stage.steps) for stage in pipeline.stages] == [("answer", 1)]
    asked = pipeline.stages[0].options
    assert (asked["questions"], asked["temperature"], asked["max_completion_length"]) == ("asked.jsonl", 0.5, 40)
    assert pipeline.model == Pipeline.from_canonical(Store.at(desk.home).load(RUN).run.pipeline).model
    assert (HomeLayout(desk.home).run(run) / "inputs" / "asked.jsonl").is_file()
    assert (wrong.returncode, bad.returncode) == (2, 2)
    assert "--accelerator T5" in wrong.stderr
    assert f"--file {tmp_path / 'asked.jsonl'}: asked.jsonl, line 2: the question is not text" in bad.stderr
