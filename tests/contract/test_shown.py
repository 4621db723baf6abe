"""What comes from outside is shown with its controls escaped, in whatever encoding a screen has, by every command."""

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from orchestrator.base.terminal import CONTROLS, EscapingStream, encodable, escape_controls
from orchestrator.engine.home import HomeLayout
from orchestrator.platforms.port import LogLine
from orchestrator.views.daemon_log import DaemonLog
from orchestrator.views.news_filter import Narration
from orchestrator.views.printing import console
from state.facts.run import RunParked
from state.model.metrics import Metric
from state.model.poll_state import PollState
from state.model.statuses import Phase
from state.store import Store
from tests.unit.test_machine import AT, path_to
from tests.unit.test_views import STARTED

OSC = "\x1b]0;owned\x07"
ODD = f"{OSC}\x1b[31mred\x9b2J\u202eback\u2066wards\x7f\b\r中文 ä 🙂 end"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
COMMANDS = {
    "status": ["status"],
    "status of a run": ["status", "r-0001"],
    "status as JSON": ["status", "--json"],
    "logs": ["logs", "r-0001"],
    "raw logs": ["logs", "r-0001", "--raw"],
    "logs as JSON": ["logs", "r-0001", "--json"],
    "checkpoints": ["checkpoints", "r-0001"],
    "an unknown run": ["logs", f"no{ODD.replace(chr(0), '')}"],
    "help": ["--help"],
    "an explanation": ["explain", "grpo"],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose every text is odd."""
    folder = tmp_path_factory.mktemp("home") / "домик-ä-中"
    store = Store.at(folder)
    store.begin_run(STARTED, AT)
    state = store.append("r-0001", path_to(Phase.RUNNING), AT)
    metric = Metric(run="r-0001", session=1, attempt=1, number=0, stage="count", step=4, name=ODD, value=0.5, at_s=1.0)
    store.append("r-0001", [], AT, watch=PollState(failures=1, failure=ODD), metrics=[metric])
    store.append("r-0001", [RunParked(reason=ODD, remedy="relay retry r-0001", excerpt=f"{ODD}\n{ODD}")], AT)
    lines = [LogLine(number=number, stream="stdout", at_s=0.0, text=ODD) for number in range(3)]
    HomeLayout(folder).append_log(state.sessions[0], lines)
    store.close()
    return folder


def relay(home: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "KAGGLE_USERNAME": "me", "KAGGLE_KEY": "0" * 32, "HOME": str(home), **environ}
    command = [sys.executable, "-m", "orchestrator", "--home", str(home), *arguments]
    return subprocess.run(command, capture_output=True, env=env, check=False, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_lets_a_control_through(home: Path, name: str) -> None:
    done = relay(home, *COMMANDS[name], PYTHONIOENCODING="utf-8")
    assert done.returncode == (2 if name == "an unknown run" else 0), done.stderr
    for told in (done.stdout.decode(), done.stderr.decode()):
        assert not RAW.search(told), told
        assert "Traceback" not in told
    if "JSON" in name:
        rows = done.stdout.decode().splitlines() if name.startswith("logs") else [done.stdout.decode()]
        texts = [json.dumps(json.loads(row), ensure_ascii=False) for row in rows]
        assert any("back" in text for text in texts)


@pytest.mark.slow
@pytest.mark.parametrize(
    "environ",
    [
        *({"PYTHONIOENCODING": name} for name in ("cp1252", "gbk", "latin-1", "ascii", "cp437")),
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["status", "status as JSON", "logs", "raw logs", "an unknown run", "an explanation"])
def test_every_command_speaks_every_encoding(home: Path, name: str, environ: dict[str, str]) -> None:
    done = relay(home, *COMMANDS[name], **environ)
    assert done.returncode == (2 if name == "an unknown run" else 0), done.stderr
    assert b"Traceback" not in done.stderr
    assert b"\x1b" not in done.stdout + done.stderr
    assert b"\x07" not in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["status of a run", "logs"])
def test_a_terminal_is_given_relays_own_sequences_and_no_others(home: Path, name: str) -> None:
    master, slave = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "orchestrator", "--home", str(home), *COMMANDS[name]]
    with subprocess.Popen(command, stdout=slave, stderr=slave, env=env) as process:
        os.close(slave)
        told = bytearray()
        with open(master, "rb", buffering=0) as screen:  # noqa: PTH123
            try:
                while block := screen.read(4096):
                    told += block
            except OSError:  # how Linux says that the other end is closed
                pass
        assert process.wait(60) == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", told.decode()).replace("\r\n", "\n")
    assert "wards" in text
    assert not RAW.search(text), text


def test_the_daemons_lines_and_its_file_hold_no_control(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for as_json in (False, True):
        path = tmp_path / f"{as_json}.log"
        journal = DaemonLog(lambda: AT, as_json=as_json, file=path)
        journal.say(Narration(event="failing", message=ODD, run="r-0001", data={"failure": ODD}))
        journal.close()
        for told in (path.read_text(encoding="utf-8"), capsys.readouterr().out):
            assert not RAW.search(told)
        if as_json:
            assert json.loads(path.read_text(encoding="utf-8"))["message"] == ODD


def test_a_table_keeps_its_columns_though_a_cell_is_odd() -> None:
    out = io.StringIO()
    table = Table("a", "b")
    table.add_row(Text(ODD, style="bold"), Text("beside"))
    console(out, {}).print(table)
    told = out.getvalue()
    assert not RAW.search(told)
    assert "\\u001b]0;owned" in told
    assert len({len(line) for line in told.splitlines()[:1]}) == 1


@pytest.mark.slow
@given(
    st.text(alphabet=st.characters(codec=None, categories=None)), st.sampled_from(["utf-8", "cp1252", "gbk", "ascii"])
)
def test_any_text_can_be_printed(text: str, encoding: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="")
    EscapingStream(stream).write(text)
    stream.flush()
    told = raw.getvalue().decode(encoding)
    assert not CONTROLS.search(told)


@pytest.mark.slow
@given(st.text())
def test_what_is_shown_of_json_is_the_same_json(text: str) -> None:
    assert json.loads(escape_controls(json.dumps(text))) == text
    assert json.loads(escape_controls(json.dumps(text, ensure_ascii=False))) == text


@pytest.mark.parametrize(
    ("text", "encoding", "told"),
    [
        ("│ 5 → 6 · ä", "ascii", "| 5 > 6 - ?"),
        ("│ ä", "cp1252", "| ä"),
        ("│ ä 中", "utf-8", "│ ä 中"),
        ("中", "gbk", "中"),
    ],
)
def test_what_an_encoding_lacks_has_a_likeness_or_a_question_mark(text: str, encoding: str, told: str) -> None:
    assert encodable(text, encoding) == told
