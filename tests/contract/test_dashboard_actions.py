"""Buttons of the dashboard: who may press them, that everybody else changes nothing, and that they do what commands do."""

import http.client
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest

from orchestrator.app import requests
from orchestrator.app.app import App
from orchestrator.app.dashboard import Dashboard, Served, listening
from orchestrator.app.settings import Settings
from orchestrator.app.web.visits import FORMS_MAX, IDLE_S
from orchestrator.base.errors import BadInput
from orchestrator.core.decide_request import answered
from tests.unit.histories import AT
from tests.unit.several_runs import several

pytestmark = pytest.mark.slow
RUNS = {"waits-0002": ("pause", "resume", "retry", "cancel"), "broke-0003": ("resume", "retry", "cancel")}


@dataclass
class Browser:
    """What a browser sends, exactly as it is written here."""

    port: int
    token: str
    cookie: str = ""
    seen: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)

    def ask(
        self, path: str, form: Mapping[str, str] | None = None, method: str = "", **headers: str | None
    ) -> tuple[int, dict[str, str], str]:
        """One request; a header that is None is left out."""
        sent: dict[str, str | None] = {"Host": f"127.0.0.1:{self.port}", "Cookie": self.cookie or None}
        if form is not None:
            sent |= {"Origin": f"http://127.0.0.1:{self.port}", "Content-Type": "application/x-www-form-urlencoded"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            body = None if form is None else urlencode(form)
            kept = {name: value for name, value in sent.items() if value is not None}
            connection.request(method or ("GET" if form is None else "POST"), path, body, kept)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()

    def log_in(self) -> "Browser":
        """Give the token, and keep the cookie."""
        status, headers, _ = self.ask("/login", {"token": self.token, "next": "/"})
        assert status == 303
        self.cookie = headers["set-cookie"].partition(";")[0]
        return self

    def form(self, path: str) -> str:
        """The one-time token of the form on a page."""
        found = re.search(r'name="form" value="([^"]+)"', self.ask(path)[2])
        assert found is not None, path
        return found[1]


@dataclass
class House:
    """A dashboard that is served, and its home folder."""

    home: Path
    dashboard: Dashboard
    port: int
    now_s: float = 0.0

    @property
    def app(self) -> App:
        return App(Settings(self.home, {}))

    def browser(self) -> Browser:
        return Browser(self.port, self.dashboard.access.token)

    def asked(self, run: str) -> list[str]:
        return [one.request.verb for one in self.app.reader.requests_made(run, 100)]

    @property
    def log(self) -> list[str]:
        file = self.home / "logs" / "dashboard.log"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder that each test copies, since writing it takes longer than most of them."""
    place = tmp_path_factory.mktemp("actions") / "home"
    several(place).close()
    return place


@pytest.fixture
def house(written: Path, tmp_path: Path) -> Iterator[House]:
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    dashboard = Dashboard(App(Settings(tmp_path, {})))
    with Served(dashboard, listening(0)) as served:
        found = House(tmp_path, dashboard, int(served.url.rstrip("/").rsplit(":", 1)[1]))
        dashboard.access._clock_s = lambda: found.now_s
        yield found


# --- refusals ---------------------------------------------------------------------------


def test_every_request_that_is_not_a_visitors_own_form_is_refused_and_changes_nothing(house: House) -> None:
    visitor, path = house.browser().log_in(), "/runs/waits-0002/pause"
    own, port = {"form": visitor.form(path)}, visitor.port
    other = house.browser().log_in()
    refused = {
        "no token was given": house.browser().ask(path, own),
        "a cookie of nobody": house.browser().ask(path, own, Cookie=f"relay-{port}=guessed"),
        "another visitor's form": other.ask(path, own),
        "no form token": visitor.ask(path, {}),
        "a wrong form token": visitor.ask(path, {"form": "guessed"}),
        "the form of another action": visitor.ask(path, {"form": visitor.form("/runs/waits-0002/cancel")}),
        "the form of another run": visitor.ask(path, {"form": visitor.form("/runs/broke-0003/retry")}),
        "another site": visitor.ask(path, own, Origin="https://attacker.example"),
        "another port of this machine": visitor.ask(path, own, Origin=f"http://127.0.0.1:{port + 1}"),
        "another name of this machine": visitor.ask(path, own, Origin=f"http://localhost:{port}"),
        "a page without an origin": visitor.ask(path, own, Origin="null"),
        "no origin": visitor.ask(path, own, Origin=None),
        "what the browser calls another site": visitor.ask(path, own, Sec_Fetch_Site="same-site"),
        "a name that only points here": visitor.ask(
            path, own, Host=f"attacker.example:{port}", Origin=f"http://attacker.example:{port}"
        ),
        "no form": visitor.ask(path, own, Content_Type="text/plain"),
    }
    assert {why: answer[0] for why, answer in refused.items()} == dict.fromkeys(refused, 403)
    assert house.asked("waits-0002") == []
    assert visitor.ask(f"{path}?{urlencode(own)}")[0] == 200  # a GET asks, and does nothing
    assert [visitor.ask(path, own, method)[0] for method in ("PUT", "DELETE", "PATCH")] == [405, 405, 405]
    assert house.asked("waits-0002") == []
    assert not house.log
    assert visitor.ask(path, own)[0] == 303, "the form itself was good all the time"
    assert house.asked("waits-0002") == ["pause"]


def test_a_wrong_token_begins_no_visit_and_is_logged_without_the_token(house: House) -> None:
    for wrong in ("", "guessed", house.dashboard.access.token[:-1], house.dashboard.access.token + "x", "\udcff"):
        browser = house.browser()
        given = wrong.encode("utf-8", "replace").decode()
        status, headers, text = browser.ask("/login", {"token": given, "next": "/"})
        assert (status, "set-cookie" in headers) == (403, False)
        assert "this is not the token" in text.lower()
    assert len(house.log) == 5
    assert "guessed" not in "".join(house.log)


def test_the_cookie_is_for_this_dashboard_alone_and_no_script_can_read_it(house: House) -> None:
    browser = house.browser()
    _, headers, _ = browser.ask("/login", {"token": browser.token, "next": "https://attacker.example/"})
    assert headers["location"] == "/"
    assert headers["set-cookie"].startswith(f"relay-{browser.port}=")
    assert {part.strip().lower() for part in headers["set-cookie"].split(";")[1:]} == {
        "httponly",
        "path=/",
        "samesite=strict",
    }
    assert browser.token not in headers["set-cookie"]


@pytest.mark.parametrize(
    "next_path", ["//attacker.example", "/\\attacker.example", "/runs/../..//x", "/static/a", "javascript:x"]
)
def test_a_login_leads_to_pages_of_the_dashboard_only(house: House, next_path: str) -> None:
    browser = house.browser()
    assert browser.ask("/login", {"token": browser.token, "next": next_path})[1]["location"] == "/"


def test_a_form_works_once_and_old_ones_and_idle_visits_end(house: House) -> None:
    visitor, path = house.browser().log_in(), "/runs/broke-0003/retry"
    oldest = {"form": visitor.form(path)}
    for _ in range(FORMS_MAX):
        newest = {"form": visitor.form(path)}
    assert visitor.ask(path, oldest)[0] == 403
    assert [visitor.ask(path, newest)[0] for _ in range(2)] == [303, 403]
    assert house.asked("broke-0003") == ["retry"]
    late = {"form": visitor.form(path)}
    house.now_s += IDLE_S + 1
    assert visitor.ask(path, late)[0] == 403
    left = house.browser().log_in()
    assert left.ask("/logout", {"form": left.form("/")})[0] == 303
    assert 'action="/logout"' not in left.ask("/")[2]


def test_a_form_that_no_page_would_send_is_refused_by_its_size(house: House) -> None:
    visitor = house.browser().log_in()
    for form in ({"text": "x" * 2**20}, {f"field-{number}": "x" for number in range(100)}):
        assert visitor.ask("/runs/waits-0002/edit", form)[0] == 413


def test_without_a_token_everything_can_be_read_and_each_button_says_what_it_would_do(house: House) -> None:
    browser = house.browser()
    for run, verbs in RUNS.items():
        for verb in verbs:
            status, _, text = browser.ask(f"/runs/{run}/{verb}")
            assert (status, 'name="form"' in text, 'name="token"' in text) == (200, False, True)
    assert browser.ask("/runs/waits-0002/requests")[0] == 200
    assert not (house.home / "logs").exists()


# --- what they do -------------------------------------------------------------------------


def test_each_action_ends_in_the_same_facts_as_the_command(house: House) -> None:
    visitor, app = house.browser().log_in(), house.app
    for run, verbs in RUNS.items():
        for verb in verbs:
            path = f"/runs/{run}/{verb}"
            status, headers, _ = visitor.ask(path, {"form": visitor.form(path)})
            assert (status, headers["location"].partition("?")[0]) == (303, f"/runs/{run}/requests")
            getattr(requests, verb)(app, run)
            (command, button) = (one.request for one in app.reader.requests_made(run, 2))
            assert (button.verb, button.arguments) == (command.verb, {**command.arguments, "by": "dashboard"})
            state = app.reader.load(run)
            assert answered(state, [button], AT) == answered(state, [command], AT)
            for one in (command, button):  # as the daemon would
                app.store.append(run, [], AT, fulfilled=one.id)
            shown = visitor.ask(headers["location"])[2]
            assert (
                f"{run}: {verb} requested; the daemon acts on it at its next tick; no daemon is running here" in shown
            )
    lines = [line.split("  ", 2)[1:] for line in house.log]
    asked = [[run, f"{verb} was asked for on the dashboard"] for run, verbs in RUNS.items() for verb in verbs]
    assert [[run, said.partition(" (request")[0]] for run, said in lines] == asked


def test_what_a_command_refuses_is_refused_in_the_same_words(house: House) -> None:
    visitor = house.browser().log_in()
    with pytest.raises(BadInput) as refused:
        requests.pause(house.app, "broke-0003")
    status, _, text = visitor.ask("/runs/broke-0003/pause")
    assert (status, str(refused.value) in text) == (409, True)
    with pytest.raises(BadInput) as refused:
        requests.resume(house.app, "broke-0003", "sft:77777")
    path = "/runs/broke-0003/resume"
    status, _, text = visitor.ask(path, {"form": visitor.form(path), "from_step": "sft:77777"})
    assert (status, str(refused.value) in text) == (409, True)
    assert visitor.ask("/runs/nobody/pause")[0] == 404
    assert house.asked("broke-0003") == []
    assert not house.log


def test_an_edited_pipeline_is_shown_first_and_only_what_was_shown_is_stored(house: House) -> None:
    visitor, path = house.browser().log_in(), "/runs/waits-0002/edit"
    page = visitor.ask(path)[2]
    text = (
        page.partition("<textarea")[2]
        .partition(">\n")[2]
        .partition("</textarea>")[0]
        .replace("&#34;", '"')
        .replace("&#39;", "'")
    )
    text = text.replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&")
    changed = text.replace("num_generations: 4", "num_generations: 2")
    assert changed != text
    status, _, same = visitor.ask(path, {"form": visitor.form(path), "text": text})
    assert (status, "change it first" in same) == (409, True)
    status, _, shown = visitor.ask(path, {"form": visitor.form(path), "text": changed})
    assert status == 200
    assert "num_generations" in shown
    form = re.search(r'name="form" value="([^"]+)"', shown)
    assert form is not None
    confirmed = {"form": form[1], "confirmed": "yes"}
    assert (
        visitor.ask(path, {**confirmed, "text": changed.replace("num_generations: 2", "num_generations: 8")})[0] == 403
    )
    assert house.asked("waits-0002") == []
    again = visitor.ask(path, {"form": visitor.form(path), "text": changed})[2]
    form = re.search(r'name="form" value="([^"]+)"', again)
    assert form is not None
    assert visitor.ask(path, {"form": form[1], "confirmed": "yes", "text": changed})[0] == 303
    (made,) = house.app.reader.requests_made("waits-0002", 10)
    assert (made.request.verb, made.request.arguments["by"], made.request.arguments["text"]) == (
        "edit",
        "dashboard",
        changed,
    )


def test_an_action_whose_line_cannot_be_logged_is_not_done(house: House) -> None:
    (house.home / "logs").write_text("a file where the folder should be")
    visitor, path = house.browser().log_in(), "/runs/waits-0002/pause"
    assert visitor.ask(path, {"form": visitor.form(path)})[0] == 409
    assert house.asked("waits-0002") == []
