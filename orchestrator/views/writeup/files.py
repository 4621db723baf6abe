"""The files of a write-up, by name."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from orchestrator.pipeline.model import Pipeline
from orchestrator.views.writeup.diagram import MERMAID_FILE, boxes, mermaid
from orchestrator.views.writeup.ledger import Ledger
from orchestrator.views.writeup.sources import WriteupSources
from orchestrator.views.writeup.tables import tables
from orchestrator.views.writeup.text import TEXT_FILE, WORDS_MAX, rendered, require_short, words
from orchestrator.views.writeup.traced import rows
from orchestrator.views.writeup.values import writeup_values

FORMAT = 1
NUMBERS_FILE = "numbers.json"
PIPELINE_FILE = "pipeline.yaml"
MARK = "rehearsal with stand-ins"
"""Line in each picture of a run that had stand-ins."""
TEMPLATE = Path(__file__).with_name("template.md.j2")
NAMES = (
    TEXT_FILE, NUMBERS_FILE, MERMAID_FILE, "pipeline.svg", "pipeline.png", "cover.png", "curves.png", "evaluations.png",
    "hours.png", "data.png", "sessions.png", PIPELINE_FILE,
)  # fmt: skip
"""Names of all files that a write-up can have."""


def default_template() -> str:
    """Return the template that relay uses unless the user brings one."""
    return TEMPLATE.read_text(encoding="utf-8")


def writeup_files(sources: WriteupSources, template: str, named: str) -> dict[str, bytes]:
    """Return all files of a write-up. The same run and template give the same bytes.

    Raises BadInput, which calls the template by `named`, for a mistake in it and for too many words.
    """
    ledger, values = Ledger(), writeup_values(sources)
    text = rendered(template, values, ledger, named)
    require_short(text, named)
    pipeline = pipeline_yaml(sources.pipeline).encode()
    found = {TEXT_FILE: text.encode(), PIPELINE_FILE: pipeline, **dict(_pictures(sources, values, ledger))}
    return {**found, NUMBERS_FILE: _numbers(sources, ledger, text, template, found)}


def pipeline_yaml(pipeline: Pipeline) -> str:
    """Return a pipeline as a file that `relay start` takes, without defaults; what has to lie beside it is named first."""
    plain = pipeline.model_dump(mode="json", exclude_defaults=True, exclude={"sources", "own_lock", "origin"})
    plain.get("inputs", {}).pop("sha256", None)
    beside = [
        *sorted(pipeline.texts),
        *(f"{name}, SHA-256 {digest}" for name, digest in pipeline.inputs.sha256.items()),
    ]
    comments = "".join(f"# has to lie beside this file: {name}\n" for name in beside)
    return comments + yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)


def _pictures(sources: WriteupSources, values: Mapping[str, Any], ledger: Ledger) -> Iterator[tuple[str, bytes]]:
    from orchestrator.views.writeup.drawing import cover_picture, curves_picture, pipeline_picture, table_picture

    diagram, mark = boxes(values), MARK if values["stand_ins"] else ""
    yield MERMAID_FILE, mermaid(diagram, ledger, mark).encode()
    yield from pipeline_picture.pipeline_pictures(diagram, ledger, sources.run["id"], mark).items()
    yield cover_picture.FILE, cover_picture.cover_picture(values, sources.history, ledger, mark)
    if curves := curves_picture.curves_picture(sources.history, mark):
        yield curves_picture.FILE, curves
    for table in tables(values):
        yield table.file, table_picture.table_picture(table, ledger, mark)


def _numbers(sources: WriteupSources, ledger: Ledger, text: str, template: str, found: Mapping[str, bytes]) -> bytes:
    document = {
        "format": FORMAT,
        "run": sources.run["id"],
        "last_fact": sources.facts[-1].number,
        "words": words(text),
        "words_max": WORDS_MAX,
        "template_sha256": hashlib.sha256(template.encode()).hexdigest(),
        "numbers": ledger.document(),
        "curves": list(_curves(sources)),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in found.items()},
    }
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _curves(sources: WriteupSources) -> Iterator[dict[str, Any]]:
    """Yield where the points of each drawn line come from."""
    for curve in sources.history["curves"]:
        for line in curve["lines"] if curve["main"] else ():
            where = {"run": sources.run["id"], "stage": line["stage"], "name": curve["name"]}
            how = "mean, least and greatest value of neighbouring steps"
            yield {
                "metric": curve["name"],
                "stage": line["stage"],
                "points": len(line["at"]),
                "in": ["curves.png"],
                "source": rows("metric", ["step", "value"], how, **where),
            }
