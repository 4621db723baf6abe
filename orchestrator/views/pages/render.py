"""Rendering of HTML pages: sections, and whole pages either as one file or with separately served assets."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.base.terminal import escape_controls
from orchestrator.core.request_rules import actions_for
from orchestrator.pipeline.model import Pipeline
from orchestrator.views.pages.cards import with_cards
from orchestrator.views.pages.words import FILTERS

HERE = Path(__file__).parent
SECTIONS = {
    "headline": "Status",
    "curves": "Curves",
    "evaluations": "Evaluations",
    "samples": "Samples",
    "timeline": "Timeline",
    "hours": "Quota use",
    "sessions": "Sessions",
    "checkpoints": "Checkpoints",
    "versions": "Versions",
    "pipeline": "Pipeline",
}
"""Sections of a run's page in display order, with their titles. Each has a template of the same name."""

COMPARED = {
    "runs": "Runs",
    "accuracy": "Accuracy",
    "hours": "Quota used and accuracy gained",
    "curves": "Curves",
    "differences": "Pipeline differences",
    "limits": "Limits of this comparison",
}
"""Sections of a comparison in display order, with their titles."""
LINE_COLOURS = ("training", "handover", "saving", "wasted", "startup", "quota_wait")
"""Colours of the page's style that lines of compared runs take in turn."""
LINE_DASHES = ("", "7 3", "2 3", "9 3 2 3")
"""Dash patterns that lines of compared runs take in turn, so that they differ without colour, too."""

STYLE = "style.css"
LIBRARIES = ("vendor/d3.min.js", "vendor/plot.umd.min.js")
CHARTS = "charts.js"
LIVE = "live.js"
TIMES = "times.js"
ZOOM = "zoom.js"
SERVED = {
    STYLE: "text/css",
    **dict.fromkeys((*LIBRARIES, CHARTS, ZOOM, LIVE, TIMES), "text/javascript"),
}
"""Static files that pages request, with their media types."""


DRAWN_OF_CURVE = ("name", "share", "logarithmic", "sentence", "lines")
DRAWN_OF_STAGE = ("name", "kind", "begins_at", "target")


@dataclass(frozen=True)
class LiveSource:
    """Address from which a live page fetches its document, and its poll interval."""

    url: str
    every_s: float


SERVED_SECTIONS = {"week": "Quota week", "artifacts": "Artifacts", "compare": "Compare"}
"""Sections that a report lacks, with their titles: they are about this machine and its account."""


def titles(history: Mapping[str, Any]) -> dict[str, str]:
    """Return the sections of a run's page, in order: those of the dashboard only if the history has their data."""
    return {**SECTIONS, **(SERVED_SECTIONS if "week" in history else {})}


def sections(history: Mapping[str, Any]) -> dict[str, str]:
    """Render each section of a run's page, by id."""
    values = {"history": history, "run": history["run"], "pipeline_text": _pipeline(history)}
    return {name: _rendered(f"sections/{name}.html.j2", values) for name in titles(history)}


def charts(history: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data for the charts."""
    drawn = {
        "curves": [{key: curve[key] for key in DRAWN_OF_CURVE} for curve in history["curves"]],
        "stages": [{key: stage[key] for key in DRAWN_OF_STAGE} for stage in history["stages"]],
        "boundaries": history["boundaries"],
    }
    shown_now: dict[str, Any] = _all_escaped(drawn)
    return shown_now


def _all_escaped(value: Any) -> Any:
    match value:
        case str():
            return escape_controls(value)
        case dict():
            return {_all_escaped(key): _all_escaped(item) for key, item in value.items()}
        case list() if not value or not isinstance(value[0], float):
            return [_all_escaped(item) for item in value]
        case _:
            return value


def report_page(history: Mapping[str, Any]) -> str:
    """Render a run's page as one self-contained file. Its content security policy forbids any request."""
    return _run_page(history, **_self_contained())


def comparison_page(document: Mapping[str, Any]) -> str:
    """Render a comparison of runs as one self-contained file. Its content security policy forbids any request."""
    return comparison_html(document, _self_contained())


def served_comparison(document: Mapping[str, Any]) -> str:
    """Render a comparison whose style and scripts the dashboard serves."""
    return comparison_html(document, {"links": (*LIBRARIES, CHARTS, ZOOM, TIMES)})


def comparison_html(document: Mapping[str, Any], frame: Mapping[str, Any]) -> str:
    """Render a comparison in a frame: with embedded style and scripts, or with links to them."""
    styles = line_styles([run["id"] for run in document["runs"]])
    drawn = {
        "curves": [{key: curve[key] for key in DRAWN_OF_CURVE} for curve in document["curves"]],
        "stages": document["stages"] or [],
        "boundaries": [],
        "runs": styles,
    }
    values = {"document": document, "titles": COMPARED, "styles": styles, "data": _script_safe(_all_escaped(drawn))}
    return _rendered("comparison.html.j2", {**values, **frame})


def line_styles(runs: Sequence[str]) -> list[dict[str, str]]:
    """Return how each run's lines are drawn: no two of the first 24 alike in both colour and dashes."""
    return [
        {
            "id": run,
            "stroke": f"var(--{LINE_COLOURS[number % len(LINE_COLOURS)]})",
            "dashes": LINE_DASHES[(number + number // len(LINE_COLOURS)) % len(LINE_DASHES)],
        }
        for number, run in enumerate(runs)
    ]


def _self_contained() -> dict[str, Any]:
    """Return the style, the scripts and the policy of a page that is one file."""
    scripts = [_file(name) for name in (*LIBRARIES, CHARTS, ZOOM, TIMES)]
    style = _file(STYLE)
    allowed = f"script-src {_hashes(scripts)}; style-src {_hashes([style])}"
    return {
        "policy": f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'",
        "style": Markup(style),  # our own file
        "scripts": [Markup(script) for script in scripts],
    }


def live_page(history: Mapping[str, Any], live: LiveSource) -> str:
    """Render a run's page that polls the dashboard for updates."""
    links = (*LIBRARIES, CHARTS, ZOOM, TIMES, "log.js", LIVE)
    return _run_page(history, live=live, links=links, actions=actions_for(history["run"]["state"]))


def transcripts_page(values: Mapping[str, Any]) -> str:
    """Render one page of an evaluation's transcripts."""
    return _rendered("transcripts.html.j2", values)


def template(name: str, **values: Any) -> str:
    """Render a template, with the values that the frame of every page needs."""
    return _rendered(name, values)


def trouble_page(sentence: str) -> str:
    """Render a page with one sentence that says why there is nothing to show."""
    return _rendered("trouble.html.j2", {"sentence": sentence})


def _run_page(history: Mapping[str, Any], **parts: Any) -> str:
    values = {
        "history": history,
        "run": history["run"],
        "titles": titles(history),
        "sections": {name: Markup(html) for name, html in sections(history).items()},  # escaped by their templates
        "data": _script_safe(charts(history)),
    }
    return _rendered("run.html.j2", {**values, **parts})


def _rendered(template: str, values: Mapping[str, Any]) -> str:
    frame = {"policy": "", "style": "", "scripts": (), "links": (), "live": None, "actions": ()}
    return with_cards(_environment().get_template(template).render({**frame, **values}))


@cache
def _environment() -> Environment:
    """Return the Jinja environment. It escapes all values, and undefined names are errors."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalized,
    )
    environment.filters |= FILTERS
    return environment


def _finalized(value: Any) -> Any:
    """Make control characters, such as direction marks, visible. Markup from relay's own templates stays."""
    return escape_controls(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _file(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _hashes(texts: list[str]) -> str:
    """Return the hash sources of a content security policy."""
    found = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in found)


def _script_safe(value: Any) -> Markup:
    """Return JSON that cannot end the HTML element around it."""
    text = json.dumps(value, separators=(",", ":"))
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)  # no character is left that HTML interprets


def _pipeline(history: Mapping[str, Any]) -> str:
    """Return the pipeline as YAML, without defaults and without the source text of the user's modules."""
    pipeline = Pipeline.from_canonical(json.dumps(history["pipeline"]))
    said = pipeline.model_dump(mode="json", exclude_defaults=True, exclude={"sources", "own_lock"})
    text = yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=100)
    return text + "".join(f"# module of the user's own: {name}\n" for name in sorted(pipeline.sources))
