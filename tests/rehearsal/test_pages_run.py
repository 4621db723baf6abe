"""What the pages and the helps tell a reader to type works: every command in them runs, as a process, on a desk like a reader's."""

import contextlib
import json
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from tests.rehearsal.laptop import PATIENCE_S, local_kaggle, stretched

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN, PLACE = "gsm-3f9a", "grpo:400"
"""What the pages call a run, and an older checkpoint of it; each scene has its own."""

ELSEWHERE = {
    r"make (rehearse|test|nightly|quick|check|fix|diagram|test-compat)": "make test is what runs this; make rehearse: test_training_chain",
    r"pip install": "tests/rehearsal/test_wheel.py installs the built wheel",
    r"export KAGGLE_API_TOKEN=": "the desk has a token of its own",
    r"relay plan \S+ --memory": "tests/training/test_memory.py",
    r"relay service (install|uninstall|status)": "tests/contract/test_service.py: this machine's own services are let alone",
    r"relay notify --test": "tests/contract/test_notify.py",
    r"relay environment (lock|publish)": "tests/contract/test_environment_command.py: half a gigabyte from the network",
    r"relay (rehearse|up)( examples/(tiny|gemma2_2b|own_jax_stage)\.yaml)?( --short)?$": "test_training_chain, test_recipes",
    r"relay rehearse \S+ --short$": "test_recipes",
    r"relay check gsm.yaml$": "tests/contract/test_check_command.py: this Kaggle has no Gemma",
    r"relay probe": "tests/contract/test_probe_command.py, with a pipeline that this Kaggle has everything of",
    r"relay compare": "tests/contract/test_compare_command.py: each home of the desk has one run",
    r"relay export": "tests/training/test_export_command.py: the desk's runs train nothing",
    r"relay publish": "tests/contract/test_publish_command.py: the desk's runs train nothing",
    r"relay ask": "tests/training/test_ask_command.py: the desk's runs train nothing",
    r"relay (tensorboard|metrics .*--to)": "tests/contract/test_metrics_command.py: neither is installed here",
    r"relay writeup my-gemma$": "tests/contract/test_writeup_command.py: the desk's runs have other names",
    r"relay (fork|sweep)|relay start (\S+ --from|gsm-longer.yaml)": "tests/contract/test_origins.py, with runs that fit",
    r"relay (edit|retry) .*--pipeline": "tests/simulation/test_changed_pipelines.py, with changed files",
    r"make oracle": "tests/oracle is what it is for",
    r"relay verify-resume( examples/tiny.yaml| mine.yaml.*)?$": "tests/training/test_verify_resume.py",
}
ENDLESS = re.compile(r"relay (daemon|dashboard)(?!.*--once)|--watch|--serve|relay logs .*-f\b")
"""They go on until they are told to stop: Ctrl-C ends them, and that is no error."""

ASKING = re.compile(r"relay cancel\b(?!.*--yes)")
"""They ask on a terminal; `script` of util-linux gives them one, where somebody types y."""

FEWER = {r"--simulate \d\d+": "--simulate 5", r"--cuts \d+": "--cuts 1"}
"""What says how much of the same is done is made small."""

FRESH = re.compile(r"relay (start|up|init|check|plan|rehearse)\b")
OPEN = re.compile(r"relay (pause|cancel)\b")
PAUSED = re.compile(r"relay (resume|retry)\b")
LOST = re.compile(r"relay adopt \S")

PIPELINE = """
name: {name}
accelerator: TpuV5E8
session: {{limit_s: 4, margin_s: 1.5, save_interval_s: 0.5}}
stages:
  - {{name: sft, kind: counting, steps: 20, options: {{step_s: 0.01}}}}
  - {{name: grpo, kind: counting, steps: 400, options: {{step_s: 0.005}}}}
  - {{name: more, kind: counting, steps: {more}, options: {{step_s: 0.01}}}}
"""


def commands_of(text: str) -> list[str]:
    """The lines of a page's console blocks, without comments."""
    lines = [line.partition(" #")[0].strip() for block in FENCE.findall(text) for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def examples_of_the_helps() -> list[str]:
    """The last line of each command's help."""
    lasts = [(command.help or "").strip().splitlines()[-1].strip() for command in main.commands.values()]
    return [last.removeprefix("Example: ") for last in lasts]


@dataclass
class Desk:
    """A reader's folder, a shell in it, and homes in which something has happened already."""

    folder: Path
    installed: Path
    """Folder of packages with the installed wheel, whose relay is typed; this checkout only has the benchmarks."""
    kaggle: LocalKaggle
    compiled: dict[str, str]
    older_checkpoint: str = PLACE
    _scenes: dict[str, tuple[Path, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shutil.copytree(ROOT / "examples", self.folder / "examples")
        (self.folder / "scenes").mkdir()
        for place, name in (("scenes", "gsm"), (".", "my-pipeline"), (".", "mine")):
            (self.folder / place / f"{name}.yaml").write_text(
                stretched(PIPELINE.format(name=name, more=50)), encoding="utf-8"
            )
        endless = stretched(PIPELINE.format(name="gsm", more=1_000_000))
        (self.folder / "scenes" / "endless.yaml").write_text(endless, encoding="utf-8")

    @cached_property
    def environ(self) -> dict[str, str]:
        """A shell's, in which relay is on the path and Kaggle is this machine."""
        return {
            "PATH": f"{self.installed / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "PYTHONPATH": f"{self.installed}:{ROOT}",
            "LANG": "C.UTF-8",
            **self.kaggle.environment(),
            **self.compiled,
        }

    def types(self, line: str, home: Path) -> tuple[int, str]:
        """What comes of a line; one that never ends is interrupted a second after it has said something."""
        environ = {**self.environ, "RELAY_HOME": str(home)}
        if ASKING.search(line):
            line = f"echo y | script --quiet --return --command {shlex.quote(line)} /dev/null"
        shell = subprocess.Popen(
            ["bash", "-c", f"exec {line}" if line.startswith("relay ") else line],
            env=environ,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if ENDLESS.search(line):
            select.select([shell.stdout], [], [], PATIENCE_S)
            with contextlib.suppress(subprocess.TimeoutExpired):
                shell.wait(1.0)
            shell.send_signal(signal.SIGINT)
        told, _ = shell.communicate(timeout=PATIENCE_S)
        return shell.returncode, told

    def scene(self, line: str, tmp: Path) -> tuple[Path, str]:
        """A copy of the home in which the line makes sense, and the run that is there."""
        if FRESH.match(line) or line.startswith("make"):
            return tmp / "home", ""
        name = "paused" if PAUSED.match(line) else "open" if OPEN.match(line) else "finished"
        if name not in self._scenes:
            self._scenes[name] = getattr(self, f"_{name}")()
        home, run = self._scenes[name]
        if LOST.match(line):
            return tmp / "home", run
        shutil.copytree(home, tmp / "home")
        return tmp / "home", run

    def _made(self, name: str, line: str) -> tuple[Path, str]:
        home = self.folder / "scenes" / name
        status, told = self.types(line, home)
        run = re.search(r"\b[a-z-]+-[0-9a-f]{4}\b", told)
        assert status == 0 and run, told
        return home, run[0]

    def _run(self, home: Path) -> dict[str, Any]:
        (found,) = json.loads(self.types("relay status --json", home)[1])["runs"]
        return dict(found)

    def _finished(self) -> tuple[Path, str]:
        return self._made("finished", "relay up scenes/gsm.yaml")

    def _open(self) -> tuple[Path, str]:
        return self._made("open", "relay start scenes/gsm.yaml")

    def _paused(self) -> tuple[Path, str]:
        """Two sessions with a checkpoint each, and a person who wants to look at them."""
        home, run = self._made("paused", "relay start scenes/endless.yaml")
        daemon = subprocess.Popen(
            [str(self.installed / "bin" / "relay"), "daemon"],
            env={**self.environ, "RELAY_HOME": str(home)},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert daemon.stdout is not None
        try:
            _until(daemon.stdout, "session 2 runs")
            assert self.types(f"relay pause {run}", home)[0] == 0
            _until(daemon.stdout, "paused by you")
            while (last := self._run(home)["sessions"][-1])["phase"] not in ("published", "no_checkpoint", "lost"):
                _until(daemon.stdout, f"session {last['number']} ")  # a third one may have begun before the pause
        finally:
            daemon.terminate()
            daemon.communicate(timeout=PATIENCE_S)
        found = self._run(home)
        self.older_checkpoint = "{stage}:{step}".format(**found["checkpoints"][0])
        return home, run


def _until(lines: Iterator[str], wanted: str) -> None:
    told = []
    for line in lines:
        told.append(line)
        if wanted in line:
            return
    raise AssertionError(f"never said: {wanted}\n{''.join(told)}")


@pytest.fixture(scope="module")
def desk(
    installed: Path, tmp_path_factory: pytest.TempPathFactory, compiled_programs: dict[str, str]
) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    with local_kaggle(folder / "kaggle") as kaggle:
        yield Desk(folder, installed, kaggle, compiled_programs)


@pytest.mark.slow
def test_the_desk_types_the_installed_wheels_relay(desk: Desk) -> None:
    status, told = desk.types(
        "python -c 'import orchestrator, stages; print(orchestrator.__file__, stages.__file__)'", desk.folder
    )
    assert status == 0
    assert all(Path(path).is_relative_to(desk.installed) for path in told.split())
    assert desk.types("which relay", desk.folder) == (0, f"{desk.installed / 'bin' / 'relay'}\n")


def runs(lines: list[str], desk: Desk, tmp_path: Path) -> list[str]:
    """Type each line on a home of its own; what went wrong."""
    wrong = []
    for number, line in enumerate(lines):
        if any(re.match(pattern, line) for pattern in ELSEWHERE):
            continue
        room = tmp_path / str(number)
        room.mkdir()
        home, run = desk.scene(line, room)
        here = line.replace(RUN, run).replace(PLACE, desk.older_checkpoint)
        for many, few in FEWER.items():
            here = re.sub(many, few, here)
        status, told = desk.types(here, home)
        if status != 0 or "Traceback" in told:
            wrong.append(f"{line}: exit status {status}\n{told}")
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page.read_text())], ids=lambda page: page.name)
def test_what_a_page_tells_a_reader_to_type_works(page: Path, desk: Desk, tmp_path: Path) -> None:
    wrong = runs(commands_of(page.read_text(encoding="utf-8")), desk, tmp_path)
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.slow
def test_the_example_at_the_end_of_each_help_works(desk: Desk, tmp_path: Path) -> None:
    wrong = runs(examples_of_the_helps(), desk, tmp_path)
    assert not wrong, "\n\n".join(wrong)
