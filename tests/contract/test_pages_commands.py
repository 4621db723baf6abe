"""The commands that show runs in a browser: what they write, what they say, and whom they answer."""

import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.app.app import App
from orchestrator.app.dashboard import EVERY_S, STALE_S, Dashboard, Served, listening, listening_if_free
from orchestrator.app.settings import Settings
from orchestrator.base.errors import BadInput
from state.facts.run import RunParked
from state.model.poll_state import PollState
from tests.contract.test_commands import relay
from tests.unit.histories import AT, EVIL, Told, trained

LATER = AT + timedelta(minutes=1)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that came to its end."""
    place = tmp_path_factory.mktemp("pages") / "home"
    trained().keep(place).close()
    return place


@contextmanager
def served(home: Path) -> Iterator[Served]:
    with Served(Dashboard(App(Settings(home, {}))), listening(0)) as found:
        yield found


def ask(
    found: Served, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """One request, exactly as it is written here."""
    port = int(found.url.rstrip("/").rsplit(":", 1)[1])
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


# --- relay report ---------------------------------------------------------------------


@pytest.mark.slow
def test_a_report_is_written_here_under_the_runs_name_and_says_so(home: Path, tmp_path: Path) -> None:
    done = relay("report", "tiny", home=home, cwd=tmp_path, environ={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert done.stdout == "tiny-0001.html is the report of tiny-0001, one file that needs no network\n"
    assert "<h1>tiny-0001</h1>" in (tmp_path / "tiny-0001.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny-0001.html"]


@pytest.mark.slow
@pytest.mark.parametrize("output", ["nowhere/report.html", "."])
def test_a_report_that_cannot_be_written_exits_with_2_in_one_sentence(home: Path, tmp_path: Path, output: str) -> None:
    refused = relay("report", "tiny", "--output", output, home=home, cwd=tmp_path, environ={"PYTHONPATH": str(ROOT)})
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"relay: --output {output}")
    assert refused.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_report_of_an_unknown_run_exits_with_2(home: Path, tmp_path: Path) -> None:
    refused = relay("report", "nobody", home=home, cwd=tmp_path, environ={"PYTHONPATH": str(ROOT)})
    assert refused.returncode == 2
    assert "the runs are tiny-0001" in refused.stderr


@pytest.mark.slow
def test_a_report_is_shown_in_the_browser_of_this_machine_where_that_is_asked(home: Path, tmp_path: Path) -> None:
    browser, shown = tmp_path / "browser", tmp_path / "shown"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > "{shown}"\n', encoding="utf-8")
    browser.chmod(0o700)
    environ = {"PYTHONPATH": str(ROOT), "BROWSER": f"{browser} %s"}
    done = relay("report", "tiny", "--output", "of run.html", "--open", home=home, cwd=tmp_path, environ=environ)
    assert done.returncode == 0, done.stderr
    assert shown.read_text() == (tmp_path / "of run.html").as_uri()


# --- relay dashboard --------------------------------------------------------------------


def started(home: Path, *arguments: str) -> subprocess.Popen[str]:
    environ = {"PATH": os.environ["PATH"], "HOME": str(home.parent), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "orchestrator", "--home", str(home), "dashboard", *arguments]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("told_to_end", [signal.SIGINT, signal.SIGTERM])
def test_a_dashboard_says_its_address_and_ends_on_ctrl_c_with_status_0(home: Path, told_to_end: int) -> None:
    with started(home, "--port", "0") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:")
        assert line.endswith("shows all runs; Ctrl-C ends it\n")
        said, _, token = process.stdout.readline().strip().rpartition(" ")
        assert said == "its buttons ask for this token:"
        assert len(token) == 32
        process.send_signal(told_to_end)
        assert process.wait(timeout=60) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.slow
def test_a_dashboard_whose_port_is_taken_exits_with_2_in_one_sentence(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        with started(home, "--port", port) as process:
            assert process.wait(timeout=60) == 2
            assert process.stderr is not None
            said = process.stderr.read()
    assert (
        said == f"relay: --port {port} cannot be used (Address already in use): choose another, or 0 for a free one\n"
    )


@pytest.mark.slow
def test_the_dashboard_lists_the_runs_and_shows_each(home: Path) -> None:
    with served(home) as found:
        status, headers, text = ask(found, "/")
        assert status == 200
        assert headers["content-type"] == "text/html; charset=utf-8"
        assert b'href="/runs/tiny-0001"' in text
        status, _, text = ask(found, "/runs/tiny-0001")
        assert status == 200
        assert b"<h1>tiny-0001</h1>" in text
        sections = re.findall(rb'<section id="([^"]+)"', text)
        assert sections[-1] == b"log"
        assert re.findall(rb'<li><a href="#([^"]+)"', text) == sections, "the contents link to every section"
        assert ask(found, "/runs/nobody")[0] == 404
        assert ask(found, "/nothing")[0] == 404


@pytest.mark.slow
def test_a_home_without_a_run_is_shown_and_stays_empty(tmp_path: Path) -> None:
    with served(tmp_path / "home") as found:
        status, _, text = ask(found, "/")
        assert status == 200
        assert b"relay start PIPELINE" in text
        assert ask(found, "/live.json")[0] == 200
        assert ask(found, "/runs/tiny-0001")[0] == 404
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "host", ["attacker.example", "127.0.0.1.attacker.example:80", "", "localhost.", "[::1", "0.0.0.0"]
)
def test_a_name_that_only_points_here_gets_no_answer(home: Path, host: str) -> None:
    with served(home) as found:
        for path in ("/", "/runs/tiny-0001", "/live.json", "/static/style.css"):
            status, _, text = ask(found, path, headers={"Host": host})
            assert status in (400, 403)
            assert b"tiny" not in text


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8420", "LOCALHOST", "[::1]:8420"])
def test_this_machines_own_names_get_an_answer(home: Path, host: str) -> None:
    with served(home) as found:
        assert ask(found, "/", headers={"Host": host})[0] == 200


@pytest.mark.slow
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "ANYTHING"])
def test_a_page_that_only_shows_accepts_nothing_but_get_and_head(home: Path, method: str) -> None:
    with served(home) as found:
        status, headers, _ = ask(found, "/", method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.slow
def test_head_answers_as_get_without_the_text(home: Path) -> None:
    with served(home) as found:
        assert ask(found, "/", "HEAD")[::2] == (200, b"")


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/", "/runs/tiny-0001", "/live.json", "/runs/nobody", "/static/charts.js", "/no"])
def test_every_answer_is_sealed_against_other_pages(home: Path, path: str) -> None:
    with served(home) as found:
        _, headers, _ = ask(found, path, headers={"Origin": "https://attacker.example"})
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["x-content-type-options"] == "nosniff"
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["../render.py", "..%2frender.py", "render.py", "templates/run.html.j2", "%2fetc%2fpasswd", ""]
)
def test_only_the_pages_own_files_are_served(home: Path, name: str) -> None:
    with served(home) as found:
        assert ask(found, f"/static/{name}")[0] == 404


@pytest.mark.slow
def test_what_did_not_change_is_not_sent_again(home: Path) -> None:
    with served(home) as found:
        status, headers, text = ask(found, "/runs/tiny-0001/live.json")
        assert status == 200
        assert set(json.loads(text)) >= {"sections", "charts", "title", "state", "every_s"}
        again = ask(found, "/runs/tiny-0001/live.json", headers={"If-None-Match": headers["etag"]})
        assert (again[0], again[2]) == (304, b"")


@pytest.mark.slow
def test_a_page_is_up_to_date_while_the_daemon_writes_and_holds_the_database(tmp_path: Path) -> None:
    told = Told()
    store = told.keep(tmp_path)
    now_s = 0.0
    dashboard = Dashboard(App(Settings(tmp_path, {})), lambda: now_s)
    with Served(dashboard, listening(0)) as found:
        assert json.loads(ask(found, "/runs/tiny-0001/live.json")[2])["state"] == "active"
        store.append(told.run, [RunParked(reason=f"it broke {EVIL}", remedy="relay retry tiny-0001")], LATER)
        now_s += EVERY_S
        with closing(sqlite3.connect(tmp_path / "relay.db", isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            document = json.loads(ask(found, "/runs/tiny-0001/live.json")[2])
            assert document["state"] == "parked"
            assert "relay retry tiny-0001" in document["sections"]["headline"]
            assert "<script>" not in document["sections"]["headline"]
            assert ask(found, "/")[0] == 200
    store.close()


@pytest.mark.slow
def test_a_document_is_made_again_only_where_something_was_written_or_time_passed(tmp_path: Path) -> None:
    told = Told()
    told.running()
    store = told.keep(tmp_path)
    now_s, made = 0.0, 0

    class Counting(Dashboard):
        def _run_document(self, name: str) -> dict[str, object]:
            nonlocal made
            made += 1
            return super()._run_document(name)

    dashboard = Counting(App(Settings(tmp_path, {})), lambda: now_s)
    with Served(dashboard, listening(0)) as found:
        for after_s, expected in ((0.0, 1), (0.1, 1), (EVERY_S, 1), (STALE_S, 2)):
            now_s += after_s
            ask(found, "/runs/tiny-0001/live.json")
            assert made == expected
        store.append(told.run, [], AT, watch=PollState(polled_at=AT))
        now_s += EVERY_S
        ask(found, "/runs/tiny-0001/live.json")
        assert made == 3
    store.close()


@pytest.mark.slow
def test_a_database_of_another_relay_is_named_and_not_touched(tmp_path: Path) -> None:
    Told().keep(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "relay.db")) as other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
        other.commit()
    with served(tmp_path) as found:
        status, _, text = ask(found, "/")
        assert status == 503
        assert b"of another version of relay" in text
        assert "of another version" in json.loads(ask(found, "/live.json")[2])["error"]


def test_a_port_that_is_taken_is_refused_by_name_and_passed_by_where_none_was_named(home: Path) -> None:
    with served(home) as one:
        port = int(one.url.rstrip("/").rsplit(":", 1)[1])
        with pytest.raises(BadInput, match="choose another"):
            listening(port)
        assert listening_if_free(port) is None
