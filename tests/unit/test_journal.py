"""The daemon's log: one line a thing, its owner's alone, never larger than is promised, and no burden where the disk is full."""

import json
from pathlib import Path

import pytest

from orchestrator.base.clock import VirtualClock
from orchestrator.base.errors import BadInput
from orchestrator.views.daemon_log import FILE_BYTES_MAX, FILES_KEPT, DaemonLog
from orchestrator.views.news_filter import Narration


def journal(file: Path, *, as_json: bool = False, least: str = "info") -> DaemonLog:
    return DaemonLog(VirtualClock().now, as_json=as_json, least=least, file=file)


def test_a_line_is_time_run_and_sentence_on_one_line_whatever_the_sentence_holds(tmp_path: Path) -> None:
    log = journal(tmp_path / "logs" / "daemon.log")
    log.say(Narration(event="failing", message="first\nsecond", run="gsm-1"))
    log.close()
    assert (tmp_path / "logs" / "daemon.log").read_text() == "2030-01-07T00:00:00Z  gsm-1  first second\n"


def test_a_json_line_has_the_documented_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = journal(tmp_path / "daemon.log", as_json=True)
    log.say(Narration(event="seen_running", message="session 1 runs", run="gsm-1", session=1, data={"attempt": 1}))
    log.notice("the clock jumped")
    log.close()
    lines = (tmp_path / "daemon.log").read_text().splitlines()
    assert capsys.readouterr().out.splitlines() == lines
    first, second = map(json.loads, lines)
    assert first == {
        "time": "2030-01-07T00:00:00.000+00:00",
        "level": "info",
        "run": "gsm-1",
        "session": 1,
        "event": "seen_running",
        "message": "session 1 runs",
        "data": {"attempt": 1},
    }
    assert (second["level"], second["event"], second["run"]) == ("warning", "notice", None)
    described = Path(__file__).parents[2].joinpath("docs", "daemon.md").read_text(encoding="utf-8")
    assert all(f"`{key}`" in described for key in first)


def test_the_log_is_its_owners_alone_even_where_it_was_not(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "daemon.log"
    path.parent.mkdir()
    path.touch(0o644)
    path.chmod(0o644)
    journal(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_log_never_grows_beyond_what_is_promised(tmp_path: Path) -> None:
    log = journal(tmp_path / "daemon.log", as_json=True, least="error")
    line = Narration(event="failing", message="ä" * 4000, level="error")
    for _ in range(300):
        log.say(line, print_it=False)
    log.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 1 + FILES_KEPT
    assert max(path.stat().st_size for path in files) <= FILE_BYTES_MAX
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_silences_the_log_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    log = journal(Path("/dev/full"))
    for _ in range(3):
        log.say(Narration(event="x", message="a sentence"))
    log.close()
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_log_file_that_cannot_be_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"cannot be written .*name another file with --log-file"):
        journal(tmp_path / "file" / "daemon.log")


def test_quiet_tells_only_what_a_person_may_want_to_look_at(tmp_path: Path) -> None:
    log = journal(tmp_path / "daemon.log", least="warning")
    for level in ("debug", "info", "warning", "error"):
        log.say(Narration(event="x", message=level, level=level))
    log.close()
    assert [line.split()[-1] for line in (tmp_path / "daemon.log").read_text().splitlines()] == ["warning", "error"]
