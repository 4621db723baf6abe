"""A log may be larger than the memory: it never stands between a run and its files, and is followed, stored and shown all the same."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.engine.home import LOG_BYTES_MAX, LOG_CUT, HomeLayout, log_lines
from orchestrator.kaggle.logs import LINE_CHARACTERS_MAX, Chunk, LineAssembler
from orchestrator.platforms.port import LogLine
from tests.contract.scripted import Reply, by_call, scripted
from tests.contract.test_client import SLUG

SESSION: Any = SimpleNamespace(run="r-0001", slug="r-0001-s0001")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux tells it")

MIB = 2**20
ROOM_MIB = 110
"""What a process may use that reads a log: forty for the interpreter and what it imports, the rest for blocks and lines."""

BEGIN = """
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from orchestrator.engine.home import HomeLayout, log_lines
from orchestrator.kaggle.client import KaggleGateway
from orchestrator.kaggle.credentials import Credentials, Method
from orchestrator.platforms.port import LogLine
from orchestrator.kaggle.transport import TransportLimits
def gateway():
    key = Credentials(method=Method.KEY, source="a test", username="alice", secret="0123456789abcdef0123456789abcdef")
    return KaggleGateway([key], sys.argv[1], sleep=lambda s: None, limits=TransportLimits(quiet_s=60.0, live_s=600.0))
"""
END = """
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""
"""Not `ru_maxrss`, which on Linux a process has from the one that began it."""


def child(code: str, argument: str) -> list[str]:
    """What a process says that does this; its last word is the memory that it used at its peak, in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code + END, argument], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    *said, peak_kib = done.stdout.split()
    return [*said, str(int(peak_kib) // 1024)]


def large_answer(text_mib: int) -> Reply:
    """A page of files with a log of that size between them and the next page's token."""
    entry = json.dumps({"stream_name": "stdout", "time": 1.0, "data": "x" * 900 + "\n"})
    log = json.dumps(f"[{entry}" + f",{entry}" * (text_mib * MIB // len(entry)) + "]")
    files = '{"files":[{"url":"http://127.0.0.1/a","fileName":"a.bin"},{"url":"http://127.0.0.1/b","fileName":"log"}]'
    body = f'{files},"log":{log},"nextPageToken":""}}'.encode()
    return Reply(body=body, headers={"Content-Type": "application/json"})


@pytest.mark.slow
def test_a_session_with_a_log_larger_than_any_answer_is_collected_all_the_same() -> None:
    with scripted(by_call(ListKernelSessionOutput=large_answer(96))) as server:
        code = f"print(*(file.name for file in gateway().output({SLUG!r}, 1)))"
        *names, peak_mib = child(code, server.url)
    assert names == ["a.bin", "log"]
    assert int(peak_mib) < ROOM_MIB


@pytest.mark.slow
def test_a_stored_log_larger_than_any_answer_is_read_line_by_line() -> None:
    with scripted(by_call(ListKernelSessionOutput=large_answer(96))) as server:
        count, size, peak_mib = child(
            f"lines = sizes = 0\nfor line in gateway().log({SLUG!r}, 1): lines += 1; sizes += len(line.text)\nprint(lines, sizes)",
            server.url,
        )
    assert int(size) == 900 * int(count) > 80 * MIB
    assert int(peak_mib) < ROOM_MIB


@pytest.mark.slow
def test_a_live_line_without_an_end_is_followed_in_pieces() -> None:
    events = (
        b'data: {"data":"one\\n"}\n\ndata: {"data":"'
        + b"x" * (100 * MIB)
        + b'\\n"}\n\ndata: {"data":"two\\n"}\n\ndata: END_OF_LOG\n\n'
    )
    live = Reply(body=events, headers={"Content-Type": "text/event-stream"})
    with scripted(by_call(**{SLUG: live})) as server:
        code = f"found = [(len(line.text), line.text[:3]) for line in gateway().log({SLUG!r}, 1)]\nprint(max(n for n, _ in found), found[0][1], found[-1][1])"
        longest, first, last, peak_mib = child(code, server.url)
    assert (int(longest), first, last) == (LINE_CHARACTERS_MAX, "one", "two")
    assert int(peak_mib) < ROOM_MIB


@pytest.fixture(scope="module")
def large_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("logs") / "large.log"
    with path.open("wb") as file:
        for _ in range(150):
            file.write((b"y" * 1023 + b"\n") * 1024)
    return path


@pytest.mark.slow
def test_a_line_is_added_to_a_large_log_in_little_memory(large_log: Path) -> None:
    code = """
class Small(HomeLayout):
    def log(self, session): return Path(sys.argv[1])
Small(Path(".")).append_log(None, [LogLine(number=150 * 1024 + n, stream="stdout", at_s=0.0, text="new") for n in range(2)])
"""
    (peak_mib,) = child(code, str(large_log))
    with large_log.open("rb") as file:
        file.seek(-10, 2)
        assert file.read() == b"y\nnew\nnew\n"
    assert int(peak_mib) < ROOM_MIB


@pytest.mark.slow
def test_a_large_log_is_shown_in_little_memory(large_log: Path) -> None:
    count, peak_mib = child("print(sum(1 for _ in log_lines(Path(sys.argv[1]))))", str(large_log))
    assert int(count) >= 150 * 1024
    assert int(peak_mib) < ROOM_MIB


def lines(first: int, last: int, text: str = "x") -> Iterator[LogLine]:
    return (LogLine(number=number, stream="stdout", at_s=0.0, text=text) for number in range(first, last))


def test_a_log_that_is_too_long_to_be_kept_says_so_once(tmp_path: Path) -> None:
    assert LOG_BYTES_MAX >= 64 * MIB
    home = HomeLayout(tmp_path, log_bytes_max=1000)
    for upto in (10, 400, 500, 600):
        passed = []
        home.append_log(SESSION, (passed.append(line) or line for line in lines(0, upto)))  # type: ignore[func-returns-value]
        assert len(passed) == upto, "whoever looks at the lines as they pass sees each of them"
    told = list(log_lines(home.log(SESSION)))
    assert told == ["x"] * 500 + [LOG_CUT.decode().strip()]


def test_a_half_written_last_line_is_written_again(tmp_path: Path) -> None:
    home = HomeLayout(tmp_path)
    home.append_log(SESSION, lines(0, 2))
    with home.log(SESSION).open("ab") as file:
        file.write(b"hal")
    home.append_log(SESSION, lines(0, 2))
    assert home.log(SESSION).read_bytes() == b"x\nx\n"
    home.append_log(SESSION, lines(0, 3, "y"))
    assert home.log(SESSION).read_bytes() == b"x\nx\ny\n"


def test_a_log_that_is_no_text_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "odd.log"
    path.write_bytes(b"one\xff\xed\xa0\x80\x85 \xe2\x80\xa8 line\ntwo")
    assert [line[:3] for line in log_lines(path)] == ["one", "two"]


def test_a_line_is_cut_wherever_its_chunks_are() -> None:
    text = "z" * (2 * LINE_CHARACTERS_MAX + 5)
    found = []
    for size in (len(text) + 1, 300_000):
        cut = LineAssembler()
        whole = f"{text}\n"
        chunks = [Chunk("stdout", 1.0, whole[at : at + size]) for at in range(0, len(whole), size)]
        found.append([(line.number, len(line.text)) for chunk in chunks for line in cut.add(chunk)])
    assert found[0] == found[1] == [(0, LINE_CHARACTERS_MAX), (1, LINE_CHARACTERS_MAX), (2, 5)]
