"""`relay writeup`: the folder that it writes, whole or not at all, and what it refuses."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.base.clock import SystemClock
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS
from orchestrator.rehearsal.local_kaggle.processes import ProcessSandbox
from orchestrator.rehearsal.local_kaggle.rules import Rules
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from tests.contract.test_commands import COUNTING, relay
from tests.unit.histories import trained

pytestmark = pytest.mark.slow

SOURCE = {"PYTHONPATH": str(Path(__file__).parents[2])}
OF_EVERY_RUN = {
    "writeup.md",
    "numbers.json",
    "pipeline.mmd",
    "pipeline.svg",
    "pipeline.png",
    "cover.png",
    "pipeline.yaml",
}
PICTURES = {"curves.png", "hours.png", "sessions.png"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with SFT, GRPO and evaluations that came to its end."""
    place = tmp_path_factory.mktemp("writeup") / "home"
    trained().keep(place).close()
    return place


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run that a local Kaggle carried out."""
    place = tmp_path_factory.mktemp("counted")
    clock = SystemClock()
    (place / "count.yaml").write_text(COUNTING, encoding="utf-8")
    root = place / "kaggle"
    with LocalKaggle(root, clock, Rules.brisk(30.0), NO_FAULTS, ProcessSandbox(root, clock)) as kaggle:
        done = relay("up", str(place / "count.yaml"), home=place / "home", environ=kaggle.environment())
    assert done.returncode == 0, done.stderr
    yield place / "home"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_run_that_kaggle_carried_out_is_written_up_with_the_numbers_of_its_status(
    counted: Path, tmp_path: Path
) -> None:
    done = relay("writeup", "count", home=counted, cwd=tmp_path, environ=SOURCE)
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(relay("status", "--json", home=counted).stdout)["runs"]
    folder = tmp_path / f"{run['id']}-writeup"
    assert done.stdout.startswith(f"{folder} holds the write-up of {run['id']}: writeup.md with ")
    assert names(folder) == OF_EVERY_RUN | PICTURES
    told = json.loads((folder / "numbers.json").read_text(encoding="utf-8"))
    numbers = {number["name"]: number["value"] for number in told["numbers"]}
    assert numbers["run.steps_done"] == run["steps_total"] == 70
    assert numbers["sessions.count"] == len(run["sessions"])
    assert numbers["hours.total"] == pytest.approx(sum(session["seconds"] for session in run["sessions"]))
    assert numbers["checkpoint.digest"] == run["checkpoints"][-1]["digest"]
    text = (folder / "writeup.md").read_text(encoding="utf-8")
    assert f"{len(run['sessions'])} sessions used " in text
    assert "steps that only count" in text
    for name, digest in told["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert set(told["files"]) == names(folder) - {"numbers.json"}


def test_only_force_replaces_a_writeup_and_nothing_replaces_other_files(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"

    def write(*options: str) -> tuple[int, str]:
        done = relay("writeup", "tiny", "-o", "out", *options, home=home, cwd=tmp_path, environ=SOURCE)
        return done.returncode, done.stdout + done.stderr

    assert write()[0] == 0
    assert names(folder) == OF_EVERY_RUN | PICTURES | {"data.png", "evaluations.png"}
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "writeup.md").write_text("mine", encoding="utf-8")
    refused, said = write()
    assert (refused, said.count("\n")) == (2, 1)
    assert "exists already" in said
    assert (folder / "writeup.md").read_text(encoding="utf-8") == "mine"
    assert write("--force")[0] == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    refused, said = write("--force")
    assert refused == 2
    assert "holds notes.txt, which no write-up has" in said
    assert names(tmp_path) == {"out"}


def test_the_printed_template_makes_the_same_writeup_and_can_be_changed(home: Path, tmp_path: Path) -> None:
    printed = relay("writeup", "--print-template", home=home)
    assert printed.returncode == 0
    (tmp_path / "same.j2").write_text(printed.stdout, encoding="utf-8")
    (tmp_path / "short.j2").write_text("Only {{ run.steps | counted('step') }}.", encoding="utf-8")
    for options in ((), ("--template", "same.j2"), ("--template", "short.j2")):
        folder = options[-1] if options else "default"
        done = relay("writeup", "tiny", "-o", f"{folder}.out", *options, home=home, cwd=tmp_path, environ=SOURCE)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "same.j2.out/numbers.json").read_bytes() == (tmp_path / "default.out/numbers.json").read_bytes()
    assert (tmp_path / "short.j2.out/writeup.md").read_text(encoding="utf-8") == "Only 470 steps.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "takes a run"),
        (("nobody",), "the runs are tiny-0001"),
        (("tiny", "-o", "nowhere/out"), "is not a folder: create it first"),
        (("tiny", "-o", "long.j2"), "is not a folder: name another one"),
        (("tiny", "--template", "none.j2"), "--template none.j2 cannot be read (No such file or directory)"),
        (("tiny", "--template", "long.j2"), "makes 1,501 words, and a write-up has at most 1,500: shorten it by 1"),
        (("tiny", "--template", "odd.j2"), "--template odd.j2: 'nothing' is undefined"),
        (("tiny", "--template", "bytes.j2"), "is not text in UTF-8"),
    ],
)
def test_bad_input_is_refused_in_one_sentence_with_nothing_created(
    home: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "long.j2").write_text("word " * 1501, encoding="utf-8")
    (tmp_path / "odd.j2").write_text("{{ nothing }}", encoding="utf-8")
    (tmp_path / "bytes.j2").write_bytes(b"\xff")
    refused = relay("writeup", *arguments, home=home, cwd=tmp_path, environ=SOURCE)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr.startswith("relay: ")
    assert refused.stderr.count("\n") == 1
    assert said in refused.stderr
    assert names(tmp_path) == {"long.j2", "odd.j2", "bytes.j2"}
