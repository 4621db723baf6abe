"""The pages in a real browser: nothing leaves the machine, everybody can read and reach everything, and they stay up to date."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from orchestrator.app.app import App
from orchestrator.app.dashboard import Dashboard, Served, listening
from orchestrator.app.settings import Settings
from orchestrator.views.pages import render
from orchestrator.views.pages.report import write_report
from state.facts.run import RunParked
from tests.browser.conftest import Watched
from tests.unit.histories import EVIL, Told, trained
from tests.unit.several_runs import several
from tests.unit.test_comparison import changed, compared, trained_run
from tests.unit.test_history import history
from tests.unit.test_report import RUNS

pytestmark = pytest.mark.slow

PAGES = {
    "runs": "",
    "run": "runs/tiny-0001",
    "parked": "runs/broke-0003",
    "compare": "compare?run=tiny-0001&run=broke-0003",
    "transcripts": "runs/tiny-0001/transcripts/after-sft?show=all",
}
LIVE_PAGES = ("runs", "run", "parked")
Open = Callable[..., Watched]
PATIENCE_MS = 60_000

OUTSIDE = """() => [...document.querySelectorAll("main *")].filter((element) => {
    if (element.closest(".scroll, pre, svg, .unseen")) return false;
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.right > document.documentElement.clientWidth + 1;
}).map((element) => element.outerHTML.slice(0, 120))"""

FAINT = """() => {
    const channels = (text) => text.match(/[0-9.]+/g).map(Number);
    const luminance = ([r, g, b]) => [r, g, b].map((value) => value / 255)
        .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
        .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = channels(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const seen = [...document.querySelectorAll("body *")].filter((element) =>
        [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())
        && element.getBoundingClientRect().width > 1 && !["SCRIPT", "STYLE", "TITLE"].includes(element.tagName.toUpperCase()));
    return seen.map((element) => {
        const style = getComputedStyle(element);
        const ink = channels(element instanceof SVGElement ? style.fill : style.color);
        const [light, dark] = [luminance(ink), luminance(ground(element))].sort((a, b) => b - a);
        return [(light + 0.05) / (dark + 0.05), element.outerHTML.slice(0, 100)];
    }).filter(([contrast]) => contrast < 4.5);
}"""

UNNAMED = """() => [...document.querySelectorAll("a, button, summary, progress, [role=img], [role=region], [tabindex='0'], nav, section")]
    .filter((element) => !(element.getAttribute("aria-label")
        || document.getElementById(element.getAttribute("aria-labelledby"))?.textContent.trim()
        || (!["NAV", "SECTION", "PROGRESS"].includes(element.tagName) && element.textContent.trim())))
    .map((element) => element.outerHTML.slice(0, 120))"""

ALIKE = """() => {
    const names = [...document.querySelectorAll("section, nav, [role=region]")].map((found) =>
        found.getAttribute("aria-label") || document.getElementById(found.getAttribute("aria-labelledby"))?.textContent.trim());
    return names.filter((name, index) => names.indexOf(name) !== index);
}"""

MISNAMED = """() => [...document.querySelectorAll("[aria-label]")]
    .filter((found) => /^(G|DIV|SPAN|P|PRE)$/i.test(found.tagName) && !found.getAttribute("role"))
    .map((found) => found.outerHTML.slice(0, 120))"""

OVERFLOWING = """() => [...document.querySelectorAll("body, body *")].filter((element) => {
    if (element.closest("svg, thead, .unseen") || !element.clientWidth) return false;
    const style = getComputedStyle(element);
    return style.display !== "inline" && style.textOverflow !== "ellipsis" && element.scrollWidth > element.clientWidth + 1;
}).map((element) => `${element.scrollWidth} in ${element.clientWidth}: ${element.outerHTML.slice(0, 120)}`)"""

CUT_LABELS = """() => [...document.querySelectorAll("[data-curve] svg")].flatMap((chart) => {
    const edge = chart.getBoundingClientRect();
    return [...chart.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()])
        .filter(([, box]) => box.left < edge.left - 2 || box.right > document.documentElement.clientWidth)
        .map(([text]) => `${chart.parentElement.dataset.curve}: ${text}`);
})"""

CUT_OFF_FROM_KEYS = """() => [...document.querySelectorAll("*")]
    .filter((element) => {
        const style = getComputedStyle(element);
        const scrolls = /auto|scroll/.test(style.overflowX + style.overflowY)
            && (element.scrollWidth > element.clientWidth + 1 || element.scrollHeight > element.clientHeight + 1);
        return scrolls && element !== document.documentElement && element.tabIndex < 0;
    }).map((element) => element.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a report of a run that came to its end, with hostile transcripts."""
    place = tmp_path_factory.mktemp("report")
    write_report(render.report_page(history(trained(), place / "home")), place / "report.html")
    return (place / "report.html").as_uri()


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a comparison of three runs, one of which has fewer stages."""
    place = tmp_path_factory.mktemp("comparison")
    short = changed(stages=lambda stages: stages[:4])
    runs = trained_run("tiny-a"), trained_run("tiny-b", lasts_s=7200.0), trained_run("tiny-c", short, better=0.1)
    write_report(render.comparison_page(compared(place / "home", *runs)), place / "comparison.html")
    return (place / "comparison.html").as_uri()


@contextmanager
def served(home: Path) -> Iterator[str]:
    with Served(Dashboard(App(Settings(home, {}))), listening(0)) as found:
        yield found.url


def fine(watched: Watched) -> None:
    """Nothing went wrong and nobody else was asked for anything."""
    assert watched.complaints == []
    assert watched.refused == []


AXE_AT = {(390, "light"), (1280, "dark")}
"""Where axe-core looks, for seconds a page: at cards and at tables, in both schemes."""
FEW_ROWS = """() => document.querySelectorAll("tbody").forEach((rows) => [...rows.children].slice(4).forEach((row) => row.remove()))"""
"""Leaves the first rows of each table: axe-core takes 4 ms for each text, and the rows below are like them."""


def assert_readable(page: Any, width: int, scheme: str) -> None:
    """Nothing is cut off without a cue, everything can be seen, named and reached, and axe-core has no complaint."""
    assert page.evaluate("document.documentElement.scrollWidth") == width, "the page scrolls sideways"
    for found in (OUTSIDE, OVERFLOWING, CUT_LABELS, FAINT, UNNAMED, ALIKE, MISNAMED, CUT_OFF_FROM_KEYS):
        assert page.evaluate(found) == []
    if (width, scheme) in AXE_AT:
        page.evaluate(FEW_ROWS)
        broken = Axe().run(page).response["violations"]
        assert [(rule["id"], [node["html"][:160] for node in rule["nodes"][:3]]) for rule in broken] == []


def open_all(page: Any) -> None:
    """Unfold whatever is folded; a page is looked at as a whole."""
    page.evaluate("document.querySelectorAll('details').forEach((found) => { found.open = true; })")
    expect(page.locator("[data-curve]:not(:has(svg))")).to_have_count(0, timeout=PATIENCE_MS)


# --- the report ---------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_report_reads_well_at_any_width_in_both_schemes(
    opened: Open, report: str, screenshots: Path, width: int, scheme: str
) -> None:
    watched = opened(report, width=width, color_scheme=scheme)
    page = watched.page
    page.screenshot(path=screenshots / f"report-{scheme}-{width}.png", full_page=True)
    open_all(page)
    assert_readable(page, width, scheme)
    fine(watched)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_comparison_reads_well_at_any_width_in_both_schemes(
    opened: Open, comparison: str, screenshots: Path, width: int, scheme: str
) -> None:
    watched = opened(comparison, width=width, color_scheme=scheme)
    page = watched.page
    page.screenshot(path=screenshots / f"comparison-{scheme}-{width}.png", full_page=True)
    open_all(page)
    assert_readable(page, width, scheme)
    assert watched.asked == [comparison]
    fine(watched)


def test_a_comparison_draws_each_run_in_its_own_line_over_steps_and_hours(opened: Open, comparison: str) -> None:
    watched = opened(comparison)
    open_all(watched.page)
    strokes = """found => found.map((chart) => [...chart.querySelectorAll("g[fill=none] path, path[fill=none]")]
        .map((path) => path.closest("[stroke^=var]")?.getAttribute("stroke")))"""
    for axis in ("at", "hours"):
        (drawn,) = watched.page.eval_on_selector_all(f"[data-curve=loss][data-axis={axis}]", strokes)
        assert {"var(--training)", "var(--handover)"} <= set(drawn), axis
    labels = watched.page.eval_on_selector_all("[data-curve=loss] svg", "found => found.map((one) => one.ariaLabel)")
    assert labels[0].startswith("Loss: tiny-a from")
    assert labels[1].startswith("By hour of quota. Loss: tiny-a from")
    fine(watched)


def test_a_report_asks_for_nothing_but_itself_and_runs_no_script_of_others(opened: Open, report: str) -> None:
    watched = opened(report)
    open_all(watched.page)
    assert watched.asked == [report]
    assert watched.page.evaluate("window.hacked") is None
    fine(watched)


@pytest.mark.parametrize("name", RUNS)
def test_a_report_of_any_run_is_drawn_without_a_complaint(opened: Open, tmp_path: Path, name: str) -> None:
    write_report(render.report_page(history(RUNS[name](), tmp_path / "home")), tmp_path / "report.html")
    watched = opened((tmp_path / "report.html").as_uri(), width=390)
    open_all(watched.page)
    assert watched.page.evaluate("document.documentElement.scrollWidth") == 390
    fine(watched)


def test_every_curve_is_drawn_and_named_for_those_who_cannot_see_it(opened: Open, report: str) -> None:
    watched = opened(report)
    open_all(watched.page)
    names = watched.page.eval_on_selector_all("[data-curve]", "found => found.map((chart) => chart.dataset.curve)")
    steps = [
        "kl",
        "grad_norm",
        "learning_rate",
        "idle_groups",
        "mean_length",
        "max_length",
        "truncated_share",
        "logprob",
    ]
    assert names == [
        *("loss", "reward", "accuracy", "format", *steps),
        *("tokens_per_s", "examples_per_s", "memory_bytes", "asked"),
    ]
    for name in names:
        chart = watched.page.locator(f"[data-curve={name}] > svg")
        assert chart.get_attribute("role") == "img"
        assert "over the pipeline's steps" in (chart.get_attribute("aria-label") or "")
        assert chart.locator("path[d*=L]").count() > 0, f"{name} has no line"
    fine(watched)


def test_everything_on_a_report_is_reached_with_the_keyboard_and_seen_to_be(opened: Open, report: str) -> None:
    page = opened(report).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    wanted = page.evaluate("""() => [...document.querySelectorAll(
        "main a, main summary, main [tabindex='0'], main input, main button:not(:disabled)")]
        .filter((found) => found.checkVisibility()).length""")
    reached, outlines = 0, set()
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        if page.evaluate("document.getElementById('main').contains(document.activeElement)"):
            reached += 1
            outlines.add(page.evaluate("getComputedStyle(document.activeElement).outlineStyle"))
    assert reached >= wanted > 20
    assert outlines == {"solid"}


def test_a_report_prints_without_what_only_a_screen_needs(opened: Open, report: str) -> None:
    page = opened(report).page
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('.contents')).display") == "none"
    assert page.evaluate("getComputedStyle(document.querySelector('#sessions-scroll')).maxHeight") == "none"


def test_nothing_on_a_page_moves_by_itself(opened: Open, report: str) -> None:
    page = opened(report).page
    open_all(page)
    assert page.evaluate("document.getAnimations().length") == 0
    moving = re.findall(r"transition|animation|smooth", render._file(render.STYLE).split("*/", 1)[1])
    assert moving == []


# --- the dashboard --------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_dashboard_reads_well_at_any_width_in_both_schemes(
    opened: Open, tmp_path: Path, screenshots: Path, width: int, scheme: str
) -> None:
    several(tmp_path).close()
    with served(tmp_path) as url:
        for name, address in PAGES.items():
            watched = opened(f"{url}{address}", width=width, color_scheme=scheme)
            if name in LIVE_PAGES:
                watched.page.get_by_text("Up to date at").wait_for(timeout=PATIENCE_MS)
            watched.page.screenshot(path=screenshots / f"{name}-{scheme}-{width}.png", full_page=True)
            open_all(watched.page)
            assert_readable(watched.page, width, scheme)
            fine(watched)


def test_a_span_selected_in_one_chart_is_shown_by_all_and_reset_with_a_key(opened: Open, report: str) -> None:
    watched = opened(report)
    page = watched.page
    open_all(page)
    axes = """() => [...document.querySelectorAll("[data-curve] svg")].map((chart) =>
        [...chart.querySelectorAll("text")].map((text) => text.textContent).join(" "))"""

    def shown() -> str:
        return str(page.locator("[data-zoom=at] output").text_content())

    whole = page.evaluate(axes)
    assert shown() == "Steps 0 to 470 of 470"
    page.locator("[data-curve=loss]").scroll_into_view_if_needed()
    box = page.locator("[data-curve=loss]").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 80, steps=4)
    page.mouse.up()
    page.mouse.move(1, 1)  # a tip below the pointer would be one more text in that chart
    first, last = map(int, re.findall(r"[0-9]+", shown())[:2])
    assert 0 < first < last < 470
    assert all(now != before for now, before in zip(page.evaluate(axes), whole, strict=True)), "a chart did not follow"
    page.locator("[data-curve=accuracy]").focus()
    page.keyboard.press("Escape")
    assert page.evaluate(axes) == whole
    page.keyboard.press("+")
    assert shown() == "Steps 118 to 353 of 470"
    page.keyboard.press("ArrowRight")
    assert shown() == "Steps 235 to 470 of 470"
    page.get_by_label("From step").fill("300")
    page.get_by_label("From step").press("Enter")
    assert shown() == "Steps 300 to 470 of 470"
    page.get_by_role("button", name="Whole run").press("Enter")
    assert page.evaluate(axes) == whole
    fine(watched)


def test_transcripts_are_filtered_and_artifacts_downloaded_from_a_runs_page(opened: Open, tmp_path: Path) -> None:
    trained().keep(tmp_path).close()
    with served(tmp_path) as url:
        watched = opened(f"{url}runs/tiny-0001")
        page = watched.page
        with page.expect_download() as download:
            page.get_by_role("link", name="transcripts-after-sft.jsonl").click()
        kept = tmp_path / "runs" / "tiny-0001" / "artifacts" / "transcripts-after-sft.jsonl"
        assert Path(download.value.path()).read_bytes() == kept.read_bytes()
        page.get_by_role("link", name="Transcripts of after-sft: wrong").click()
        page.get_by_role("heading", name="Wrong answers").wait_for(timeout=PATIENCE_MS)
        assert page.locator(".sample").count() == 2
        assert page.evaluate("window.hacked") is None
        page.get_by_role("link", name="Answers on which the judges disagree").click()
        page.get_by_text("There are no answers on which the judges disagree.").wait_for(timeout=PATIENCE_MS)
        for address in (
            "runs/tiny-0001/transcripts/none",
            "runs/tiny-0001/artifacts/..%2f..%2frelay.db",
            "compare?run=tiny-0001",
        ):
            assert page.request.get(f"{url}{address}").status == 404
        fine(watched)


def test_runs_are_chosen_on_a_runs_page_and_compared(opened: Open, tmp_path: Path) -> None:
    several(tmp_path).close()
    with served(tmp_path) as url:
        page = opened(f"{url}runs/tiny-0001").page
        page.get_by_label("broke-0003").check()
        page.get_by_label("waits-0002").check()
        page.get_by_role("button", name="Compare").click()
        page.get_by_text("3 runs compared").wait_for(timeout=PATIENCE_MS)
        expect(page.locator("[data-curve=loss] > svg")).to_have_count(2, timeout=PATIENCE_MS)


def test_times_are_the_readers_own_with_utc_as_their_title_and_keep_counting(opened: Open, tmp_path: Path) -> None:
    store = several(tmp_path)
    with served(tmp_path) as url:
        page = opened(f"{url}runs/waits-0002", timezone_id="Asia/Kolkata").page
        until = page.locator("time[data-counts]").first
        assert until.get_attribute("title") == "2030-01-12 00:00:00 UTC"
        first = until.text_content()
        assert re.fullmatch(r"2030-01-12 05:30 \(.+\)", first)
        assert "Asia/" in page.locator("[data-zone]").text_content()
        counted = page.evaluate("[0, 59, 60, 3661, 90061, -5].map((seconds) => relayTimes.duration(seconds))")
        assert counted == ["0 s", "59 s", "1 min", "1 h 1 min", "1 d 1 h", "0 s"]
        distances = "[-90, 0, 12600].map((seconds) => relayTimes.distance(new Date(1e12 + 1000 * seconds), 1e12))"
        assert page.evaluate(distances) == ["1 min 30 s ago", "now", "in 3 h 30 min"]
    store.close()


def test_a_run_goes_on_under_the_readers_eyes_who_keeps_place_and_focus(opened: Open, tmp_path: Path) -> None:
    told = Told()
    told.session(40)
    told.running()
    store = told.keep(tmp_path)
    with served(tmp_path) as url:
        watched = opened(f"{url}runs/tiny-0001")
        page = watched.page
        page.get_by_text("Up to date at").wait_for(timeout=PATIENCE_MS)
        page.locator("#table-loss summary").click()
        page.locator("#table-loss-scroll").evaluate("found => found.scrollTo(0, 120)")
        page.locator("#pipeline-text").focus()
        page.evaluate("window.scrollTo(0, 700)")
        page.evaluate("window.here = true")
        parked = RunParked(reason="it broke", remedy="relay retry tiny-0001", excerpt=f"Traceback {EVIL}")
        store.append(told.run, [parked], told.now + timedelta(minutes=1))
        page.get_by_text("relay retry tiny-0001").wait_for(timeout=PATIENCE_MS)
        assert page.locator("#announcement").text_content() == "tiny-0001 is parked now"
        assert page.title() == "tiny-0001: parked – relay"
        assert page.evaluate("window.here"), "the page was loaded anew"
        assert page.evaluate("document.activeElement.id") == "pipeline-text"
        assert page.evaluate("window.scrollY") == 700
        assert page.evaluate("document.getElementById('table-loss').open")
        assert page.locator("#table-loss-scroll").evaluate("found => found.scrollTop") == 120
        assert page.locator("[data-curve=loss] > svg").count() == 1
        assert page.evaluate("window.hacked") is None
        fine(watched)
    store.close()


def test_the_focus_stays_in_a_part_that_is_replaced(opened: Open, tmp_path: Path) -> None:
    told = Told()
    told.session(40)
    store = told.keep(tmp_path)
    with served(tmp_path) as url:
        page = opened(f"{url}runs/tiny-0001").page
        page.get_by_text("Up to date at").wait_for(timeout=PATIENCE_MS)
        page.locator("#stages-scroll").focus()
        page.evaluate("document.getElementById('stages-scroll').marked = true")
        store.append(
            told.run, [RunParked(reason="it broke", remedy="relay retry tiny-0001")], told.now + timedelta(minutes=1)
        )
        page.get_by_text("relay retry tiny-0001").wait_for(timeout=PATIENCE_MS)
        assert page.evaluate("document.activeElement.id") == "stages-scroll"
        assert page.evaluate("document.activeElement.marked") is None, "that part was replaced"
    store.close()


def test_a_new_run_appears_on_the_list_and_leads_to_its_page(opened: Open, tmp_path: Path) -> None:
    with served(tmp_path / "home") as url:
        watched = opened(url)
        watched.page.get_by_text("No runs in").wait_for(timeout=PATIENCE_MS)
        Told().keep(tmp_path / "home").close()
        watched.page.get_by_role("link", name="tiny-0001").click(timeout=PATIENCE_MS)
        watched.page.get_by_role("heading", name="tiny-0001", level=1).wait_for(timeout=PATIENCE_MS)
        fine(watched)


def test_updates_can_be_paused_and_go_on(opened: Open, tmp_path: Path) -> None:
    told = Told()
    store = told.keep(tmp_path)
    with served(tmp_path) as url:
        watched = opened(f"{url}runs/tiny-0001")
        page = watched.page
        page.get_by_text("Up to date at").wait_for(timeout=PATIENCE_MS)
        page.get_by_role("button", name="Pause updates").press("Enter")
        page.get_by_text("Updates are paused").wait_for(timeout=PATIENCE_MS)
        store.append(
            told.run, [RunParked(reason="it broke", remedy="relay retry tiny-0001")], told.now + timedelta(minutes=1)
        )
        asked = len(watched.asked)
        page.wait_for_timeout(4_000)
        assert len(watched.asked) == asked
        page.get_by_role("button", name="Pause updates").press("Enter")
        page.get_by_text("relay retry tiny-0001").wait_for(timeout=PATIENCE_MS)
    store.close()


def test_a_dashboard_that_ended_is_told_to_who_looks_at_its_page(opened: Open, tmp_path: Path) -> None:
    Told().keep(tmp_path).close()
    with served(tmp_path) as url:
        page = opened(f"{url}runs/tiny-0001").page
        page.get_by_text("Up to date at").wait_for(timeout=PATIENCE_MS)
    page.get_by_text(re.compile("the dashboard does not answer")).wait_for(timeout=PATIENCE_MS)
