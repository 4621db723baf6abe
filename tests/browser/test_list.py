"""The list of runs and the log in a real browser: found, sorted and followed without a reload, and read without scripts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.app.app import App
from orchestrator.app.dashboard import Dashboard, Served, listening
from orchestrator.app.settings import Settings
from orchestrator.base.disk import private_folder
from state.facts.run import RunParked
from tests.browser.conftest import Watched
from tests.unit.histories import AT, EVIL, Told
from tests.unit.several_runs import several

pytestmark = pytest.mark.slow
Open = Callable[..., Watched]
PATIENCE_MS = 60_000
SHOWN = "() => [...document.querySelectorAll('#runs tbody tr:not([hidden])')].map((row) => row.dataset.id)"


def ids(page: Any) -> list[str]:
    found: list[str] = page.evaluate(SHOWN)
    return found


def up_to_date(page: Any) -> None:
    page.get_by_text("Up to date at").wait_for(timeout=PATIENCE_MS)


def test_the_list_is_searched_filtered_and_sorted_in_place_and_stays_so_when_a_run_changes(
    opened: Open, tmp_path: Path
) -> None:
    store = several(tmp_path)
    with Served(Dashboard(App(Settings(tmp_path, {}))), listening(0)) as served:
        watched = opened(served.url, timezone_id="Asia/Tokyo")
        page = watched.page
        up_to_date(page)
        assert ids(page)[0] == "broke-0003", "the run that needs a person is first"
        page.get_by_role("button", name="Run", exact=True).press("Enter")
        assert ids(page) == ["broke-0003", "tiny-0001", "waits-0002", "young-0004"]
        page.get_by_role("button", name="Run", exact=True).press("Enter")
        assert ids(page) == ["young-0004", "waits-0002", "tiny-0001", "broke-0003"]
        sorted_by = "found => found.map((head) => [head.dataset.column, head.ariaSort])"
        heads = dict(page.eval_on_selector_all("#runs th[aria-sort]", sorted_by))
        assert heads == {**dict.fromkeys(heads, "none"), "run": "descending"}
        page.get_by_role("button", name="Stage and progress").click()
        assert ids(page) == ["tiny-0001", "waits-0002", "broke-0003", "young-0004"]
        page.get_by_role("searchbox").fill("*-000[134]")
        assert ids(page) == ["tiny-0001", "broke-0003", "young-0004"]
        assert page.locator("#shown").text_content() == "3 of 4 runs"
        page.get_by_role("combobox").select_option("active")
        assert ids(page) == ["young-0004"]
        page.get_by_role("button", name="Pause young-0004").focus()
        page.evaluate("window.here = true")
        store.append("young-0004", [RunParked(reason=f"it broke {EVIL}", remedy="relay retry young-0004")], AT)
        page.locator("#none").get_by_text("No run matches.").wait_for(timeout=PATIENCE_MS)
        page.get_by_role("combobox").select_option("parked")
        assert ids(page) == ["broke-0003", "young-0004"], "still by progress"
        assert page.evaluate("window.here"), "the page was loaded anew"
        assert page.evaluate("window.hacked") is None
        label = "getComputedStyle(document.querySelector('td.col-age'), '::before').display"
        for width in (390, 1000):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate(label) == "block", "a card's titles stand above their values"
        page.set_viewport_size({"width": 1280, "height": 800})
        page.get_by_role("combobox").select_option("")
        page.get_by_role("searchbox").fill("")
        ended = page.locator("tr[data-id=tiny-0001] .col-done time")
        assert (ended.text_content(), ended.get_attribute("title")) == ("2030-01-07 09:16", "2030-01-07 00:16:17 UTC")
        assert watched.complaints == watched.refused == []
    store.close()


def test_the_list_works_without_scripts(opened: Open, tmp_path: Path) -> None:
    several(tmp_path).close()
    with Served(Dashboard(App(Settings(tmp_path, {}))), listening(0)) as served:
        page = opened(served.url, java_script_enabled=False).page
        page.get_by_role("searchbox").fill("*-000[134]")
        page.get_by_role("button", name="Show").click()
        page.get_by_role("button", name="Run", exact=True).click()
        rows = page.locator("#runs tbody th")
        assert [text.strip() for text in rows.all_text_contents()] == ["broke-0003", "tiny-0001", "young-0004"]
        page.get_by_role("button", name="Cancel broke-0003").click()
        page.get_by_role("heading", name="Cancel broke-0003?").wait_for(timeout=PATIENCE_MS)


def test_a_person_logs_in_and_has_a_run_resumed(opened: Open, tmp_path: Path) -> None:
    several(tmp_path).close()
    dashboard = Dashboard(App(Settings(tmp_path, {})))
    with Served(dashboard, listening(0)) as served:
        watched = opened(served.url)
        page = watched.page
        page.get_by_role("button", name="Resume broke-0003").click()
        page.get_by_label("Token").fill(dashboard.access.token)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("button", name="Resume broke-0003").click()
        page.get_by_text("resume requested; the daemon acts on it at its next tick").wait_for(timeout=PATIENCE_MS)
        assert dashboard.access.token not in "".join(watched.asked)
        assert page.context.cookies()[0]["httpOnly"]
        assert watched.complaints == watched.refused == []
    (asked,) = App(Settings(tmp_path, {})).reader.requests("broke-0003")
    assert (asked.verb, asked.arguments) == ("resume", {"by": "dashboard"})


def test_the_log_is_followed_until_the_reader_scrolls_and_no_line_is_code(opened: Open, tmp_path: Path) -> None:
    told = Told()
    told.running()
    store = told.keep(tmp_path)
    app = App(Settings(tmp_path, {}))
    log = app.home.log(store.load(told.run).sessions[-1])
    private_folder(log.parent)
    log.write_text("".join(f"line {number} {EVIL}\n" for number in range(100)))
    with Served(Dashboard(app), listening(0)) as served:
        watched = opened(f"{served.url}runs/tiny-0001/log")
        page = watched.page
        lines = page.locator("#log-lines")
        end = "found => found.scrollTop + found.clientHeight >= found.scrollHeight - 8"
        assert lines.evaluate(end)
        with log.open("a") as file:
            file.write("a new line\n")
        page.get_by_text("a new line").wait_for(timeout=PATIENCE_MS)
        assert lines.evaluate(end)
        lines.evaluate("found => found.scrollTo(0, 40)")
        page.get_by_role("button", name="Follow", exact=True).wait_for(timeout=PATIENCE_MS)
        with log.open("a") as file:
            file.write("".join(f"later {number}\n" for number in range(3000)))
        page.get_by_text("later 2999").wait_for(timeout=PATIENCE_MS, state="attached")
        assert lines.evaluate("found => found.scrollTop") == 40
        page.get_by_role("button", name="Follow", exact=True).click()
        assert lines.evaluate(end)
        with log.open("a") as file:
            file.write("the last one\n")
        page.get_by_text("the last one").wait_for(timeout=PATIENCE_MS)
        assert lines.evaluate("found => found.childNodes.length") <= 2000
        assert page.evaluate("window.hacked") is None
        assert watched.complaints == watched.refused == []
    store.close()
