"""The report: one file that asks for nothing, says what it should of any run, and shows texts from outside as texts."""

import hashlib
import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from orchestrator.base.errors import BadInput
from orchestrator.core.time_classes import TimeGroup
from orchestrator.pipeline.loader import parse
from orchestrator.views.format import size
from orchestrator.views.pages import render
from orchestrator.views.pages.report import write_report
from orchestrator.views.pages.times import counted_time_element, elapsed_element, time_element
from orchestrator.views.pages.words import duration_or_dash, last_lines, percent, points
from state.facts.run import RunCancelled, RunParked, RunWaiting, RunWoken
from tests.unit.histories import EVIL, Told, trained
from tests.unit.test_history import history
from tests.unit.test_machine import MODEL

VENDOR = render.HERE / "vendor"
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """What a page is made of, as a browser's parser sees it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page(told: Told, home: Path) -> str:
    return render.report_page(history(told, home))


def parked() -> Told:
    told = Told()
    told.session(40)
    told.failure(f"Traceback (most recent call last):\n{EVIL}")
    told.happen(RunParked(reason="it broke twice", remedy="relay retry tiny-0001", excerpt=f"ValueError: {EVIL}"))
    return told


@pytest.mark.slow
def test_what_was_published_is_in_the_chain_of_checkpoints(tmp_path: Path) -> None:
    told = trained()
    before = history(told, tmp_path / "before")["headline"]
    told.happen(MODEL, after_s=3600.0)
    found = history(told, tmp_path / "after")
    (model,) = found["checkpoints"]["models"]
    assert (model["model"], model["weights_sha256"], model["public"]) == (MODEL.model, MODEL.weights_sha256, True)
    text = Page(render.report_page(found)).text
    assert f"{MODEL.model} count 40 tunix, bfloat16 public {MODEL.weights_sha256} 7 B" in text
    assert found["headline"]["ended_at"] == before["ended_at"], "publishing is no part of the run"


def cancelled() -> Told:
    told = Told()
    told.session(40)
    told.happen(RunCancelled())
    return told


def running() -> Told:
    told = Told()
    told.running()
    return told


RUNS = {"begun": Told, "running": running, "parked": parked, "cancelled": cancelled, "finished": trained}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_every_run_has_a_whole_page_that_asks_for_nothing(tmp_path: Path, name: str) -> None:
    text = page(RUNS[name](), tmp_path)
    found = Page(text)
    assert found.open == [], "an element is not closed"
    asked = [(tag, key, value) for tag, attrs in found.tags for key, value in attrs.items() if key in ("src", "href")]
    outside = [(tag, value) for tag, _, value in asked if value and not value.startswith("#")]
    assert [link for link in outside if link[0] != "a" or not link[1].startswith("https://www.kaggle.com/")] == []
    assert [tag for tag, _ in found.tags if tag == "h1"] == ["h1"]
    assert re.search(r"url\((?!#)|@import", render._file(render.STYLE)) is None


@pytest.mark.slow
def test_the_policy_of_a_report_allows_its_own_scripts_and_nothing_else(tmp_path: Path) -> None:
    text = page(trained(), tmp_path)
    policy = next(attrs["content"] for tag, attrs in Page(text).tags if attrs.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.slow
@pytest.mark.parametrize("name", ["parked", "finished"])
def test_texts_from_outside_are_shown_and_never_obeyed(tmp_path: Path, name: str) -> None:
    text = page(RUNS[name](), tmp_path)
    found = Page(text)
    assert "<script>window.hacked" not in text
    assert "img" not in [tag for tag, _ in found.tags]
    assert "window.hacked = true" in found.text, "it is shown as what it is"


@pytest.mark.slow
def test_a_hostile_name_of_a_stage_does_not_end_the_data(tmp_path: Path) -> None:
    found = history(trained(), tmp_path)
    found["stages"][0]["name"] = EVIL
    assert "</script><script>window" not in render.report_page(found)


@pytest.mark.slow
def test_a_parked_runs_page_says_why_and_what_to_type(tmp_path: Path) -> None:
    found = Page(page(parked(), tmp_path))
    said = [
        found.text.index(words)
        for words in ("Type relay retry tiny-0001", "It broke twice.", "ValueError: ", "step 40")
    ]
    assert said == sorted(said), "first the command, then the reason, then the log, then where the run stands"
    assert "not before it is resumed" in found.text


@pytest.mark.parametrize(
    ("lines", "last", "before", "count"), [(1, "1", "", 0), (8, "1..8", "", 0), (9, "2..9", "1", 1), (30, "23..30", "1..22", 22)]
)  # fmt: skip
def test_a_traceback_shows_its_last_lines_and_folds_the_rest(lines: int, last: str, before: str, count: int) -> None:
    def written(span: str) -> str:
        first, _, end = span.partition("..")
        return "\n".join(f"line {number}" for number in range(int(first), int(end or first) + 1)) if span else ""

    assert last_lines(written(f"1..{lines}") + "\n") == {
        "last": written(last),
        "before": written(before),
        "count": count,
    }


def test_a_forecast_is_told_with_its_range_and_what_it_assumes(tmp_path: Path) -> None:
    found = history(running(), tmp_path)
    found["headline"]["forecast"] = {
        "finish_at": "2030-02-01T00:00:00+00:00",
        "finish_earliest_at": "2030-01-30T00:00:00+00:00",
        "finish_latest_at": "2030-02-09T00:00:00+00:00",
        "training_s": 7200.0,
        "quota_s": 9000.0,
        "sessions": 1,
        "weeks": 2,
        "session_ends_at": None,
        "planned": [],
        "basis": "mixed",
        "assumptions": ["a step takes 8 s"],
    }
    text = Page(render.report_page(found)).text
    assert "about 2030-02-01 00:00 UTC , between 2030-01-30 00:00 UTC and 2030-02-09 00:00 UTC" in text
    assert "2 h of training, 2 h 30 min of quota, 1 more session, 2 waits for new hours" in text
    assert "a step takes 8 s" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_every_table_tells_what_its_headers_are_for_and_scrolls_within_itself(tmp_path: Path, name: str) -> None:
    text = page(RUNS[name](), tmp_path)
    found = Page(text)
    assert all(attrs.get("scope") for tag, attrs in found.tags if tag == "th")
    tables = text.count("<table ")
    assert text.count("<caption>") == tables
    scrolls = [attrs for tag, attrs in found.tags if (attrs.get("class") or "").startswith("scroll")]
    assert len(scrolls) == tables
    assert all(attrs["tabindex"] == "0" and attrs["role"] == "region" and attrs["aria-label"] for attrs in scrolls)
    ids = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_headings_come_in_order(tmp_path: Path) -> None:
    levels = [int(tag[1]) for tag, _ in Page(page(trained(), tmp_path)).tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


# --- writing ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "missing/report.html"])
def test_a_report_that_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match=r"name (a file in it|another file)"):
        write_report("text", tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_report_takes_the_place_of_an_older_one_whole(tmp_path: Path) -> None:
    for text in ("older and longer", "newer"):
        write_report(text, tmp_path / "report.html")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["newer"]


# --- words, colours, what others wrote --------------------------------------------------


def test_what_is_unknown_is_told_as_a_dash() -> None:
    assert (duration_or_dash(None), duration_or_dash(0)) == ("–", "0 s")


def test_shares_changes_and_sizes_are_told_as_people_say_them() -> None:
    assert [percent(share) for share in (None, 0, 0.5, 1)] == ["–", "0 %", "50.0 %", "100 %"]
    assert [points(change) for change in (None, 0.0001, 0.255, -0.031)] == ["–", "0.0", "+25.5", "−3.1"]
    assert [size(size_bytes) for size_bytes in (10, 1_640, 300 * 2**20, 2.5 * 2**30, 2**43)] == [
        "10 B",
        "1.6 KiB",
        "300 MiB",
        "2.5 GiB",
        "8192.0 GiB",
    ]


def colours(scheme: str) -> dict[str, str]:
    """The variables of one scheme: the first block is light, and the dark one changes it."""
    blocks = re.findall(r":root \{(.*?)\}", render._file(render.STYLE), re.DOTALL)
    found = dict(re.findall(r"--([a-z_]+): (#[0-9a-f]{6})", blocks[0]))
    return found if scheme == "light" else found | dict(re.findall(r"--([a-z_]+): (#[0-9a-f]{6})", blocks[1]))


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_and_pictures_can_be_seen_in_both_schemes(scheme: str) -> None:
    found = colours(scheme)
    for text in ("ink", "soft", "accent", "good", "warn", "bad"):
        for ground in ("ground", "paper", "band"):
            assert contrast(found[text], found[ground]) >= 4.5, (text, ground)
    for fill in {*TimeGroup} - {TimeGroup.AFTER_REPORT, TimeGroup.DELAY}:  # in which nothing happens
        assert contrast(found[fill], found["paper"]) >= 3, fill


def test_what_others_wrote_is_what_the_page_beside_it_says() -> None:
    told = dict(re.findall(r"\| `([^`]+)` \|.*`([0-9a-f]{64})` \|", (VENDOR / "README.md").read_text(encoding="utf-8")))
    scripts = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.glob("*.js")}
    assert scripts == told
    for licence in re.findall(r"`([\w.-]+LICENSE)`", (VENDOR / "README.md").read_text(encoding="utf-8")):
        assert "Permission" in (VENDOR / licence).read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_page_of_five_hundred_sessions_is_no_larger_than_a_photograph(tmp_path: Path) -> None:
    steps = "{name: long, accelerator: cpu, stages: [{name: count, kind: counting, steps: 5000}]}"
    told = Told(pipeline=parse(steps, "long.yaml"))
    for number in range(1, 501):
        told.session(10 * number)
        told.happen(RunWaiting(until="2040-01-01T00:00:00+00:00", reason="the hours are spent"))
        told.happen(RunWoken(), after_s=70_000)
    text = page(told, tmp_path)
    assert len(text) < 2_500_000
    assert "500 sessions" in Page(text).text


# --- times -----------------------------------------------------------------------------


NOON = "2030-01-07T12:00:00+00:00"


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (time_element(None), "–"),
        (time_element(NOON), f'<time datetime="{NOON}">2030-01-07 12:00 UTC</time>'),
        (time_element("2030-01-07T13:00:00+01:00"), '<time datetime="2030-01-07T13:00:00+01:00">2030-01-07 12:00 UTC</time>'),
        (counted_time_element(None), "–"),
        (counted_time_element(NOON), f'<time datetime="{NOON}" data-counts>2030-01-07 12:00 UTC</time>'),
        (elapsed_element(None, NOON, 40.0), "–"),
        (elapsed_element(12.0, None, 40.0), "–"),
        (elapsed_element(12.0, NOON, 40.0), f'<span data-since="{NOON}" data-most="40.0">12 s</span>'),
        (elapsed_element(99.0, NOON, 40.0), f'<span data-since="{NOON}" data-most="40.0">40 s</span>'),
        (elapsed_element(-90_000.0, NOON, 40.0), f'<span data-since="{NOON}" data-most="40.0">0 s</span>'),
    ],
)  # fmt: skip
def test_times_are_elements_that_a_script_can_keep_counting_and_durations_stay_in_their_bounds(
    shown: str, text: str
) -> None:
    assert shown == text
