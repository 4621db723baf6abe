"""The write-up: every number has an origin that leads to its value, and equal runs give equal bytes."""

import dataclasses
import json
import re
import sqlite3
import struct
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import matplotlib
import pytest

from orchestrator.pipeline import loader
from orchestrator.views.writeup.files import default_template, pipeline_yaml, writeup_files
from orchestrator.views.writeup.ledger import Ledger
from orchestrator.views.writeup.result_values import published_values
from orchestrator.views.writeup.sources import WriteupSources
from orchestrator.views.writeup.traced import TracedNumber, code
from orchestrator.views.writeup.values import writeup_values
from state.facts.base import Fact, LoggedFact
from tests.unit.histories import AT, EVIL, ROOT, Told, trained
from tests.unit.writeups import RUNS, Written, counting, sources_in, texted

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@pytest.fixture(scope="module", params=RUNS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    home = tmp_path_factory.mktemp(request.param)
    sources = sources_in(home, RUNS[request.param]())
    return Written(home, sources, *texted(sources, default_template()))


# --- every number has an origin ---------------------------------------------------------


def untraced(text: str, numbers: list[dict[str, Any]]) -> set[str]:
    """Return the numbers in a text that no value prints."""
    known = {found for number in numbers for found in NUMBER.findall(number["text"])}
    return set(NUMBER.findall(text)) - known


def test_every_number_in_the_text_is_a_value_with_an_origin(written: Written) -> None:
    assert untraced(written.text, written.numbers) == set()
    assert all(number["source"] for number in written.numbers)


def test_a_number_of_the_templates_own_has_none(written: Written) -> None:
    assert untraced(*texted(written.sources, "{{ run.steps }} steps, 4711 and {{ run.seed + 0.125 }}")) == {
        "4711",
        "0.125",
    }


def test_the_default_template_has_no_number_of_its_own() -> None:
    literal = re.sub(r"{#.*?#}|{%.*?%}|{{.*?}}", "", default_template(), flags=re.DOTALL)
    assert NUMBER.findall(literal) == []


def looked_up(database: sqlite3.Connection, source: Mapping[str, Any]) -> Any:
    """Return what the database holds at an origin."""
    if "fact" in source:
        column = "at" if source["path"] == "at" else "data"
        (found,) = database.execute(f"SELECT {column} FROM fact WHERE id = ?", [source["fact"]]).fetchone()
        return found if column == "at" else followed(json.loads(found), source["path"])
    where = " AND ".join(f"{key} = ?" for key in source["row"])
    (found,) = database.execute(
        f"SELECT {source['column']} FROM {source['table']} WHERE {where}", [*source["row"].values()]
    ).fetchone()
    return followed(json.loads(found), source["path"]) if "path" in source else found


def followed(value: Any, path: str) -> Any:
    """Return what a path such as `stages[0].options.batch` leads to."""
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        value = value[int(index)] if index else value[name]
    return value


TIMES = ("run.began", "run.as_of", "run.elapsed")
ROUGH = re.compile(
    r"\.(begin|end)\.(step|stage)$|\.outcome$|^checkpoint\.(stage|step)$|data\[|\.rewards\.|^model\.base$|^run\.accelerator$"
)
"""Values that are a part of what their origin holds, or words for it."""


def test_the_origin_of_each_value_in_one_row_leads_to_that_value(written: Written) -> None:
    followed_up = 0
    with closing(sqlite3.connect(written.home / "relay.db")) as database:
        for number in written.numbers:
            source = number["source"]
            if not {"row", "fact"} & source.keys() or "*" in source.get("path", "") or ", " in source.get("path", ""):
                continue
            found = looked_up(database, source)
            if number["name"] in TIMES or ROUGH.search(number["name"]):
                assert found
            elif isinstance(number["value"], str):
                shown = str(found).lower() if isinstance(found, bool) else str(found)
                assert number["value"] == (
                    shown.removeprefix(f"{written.sources.run['id']}-")
                    if number["name"].startswith("sessions")
                    else shown
                )
            else:
                assert number["value"] == pytest.approx(found), number
            followed_up += 1
    assert followed_up > 8


def test_the_mean_that_a_course_tells_is_that_of_the_steps_that_its_origin_names(written: Written) -> None:
    """Steps that a curve holds as one point are averaged first, as the pages do."""
    checked = 0
    with closing(sqlite3.connect(written.home / "relay.db")) as database:
        for number in written.numbers:
            told = re.fullmatch(
                r"mean over steps (\d+) to (\d+)(?:, (\d+) together)?", number["source"].get("computed", "")
            )
            if told is None:
                continue
            first, last, together = int(told[1]), int(told[2]), int(told[3] or 1)
            where = number["source"]["where"]
            groups = database.execute(
                "SELECT max(step), avg(value) FROM metric WHERE run = ? AND stage = ? AND name = ? AND step BETWEEN ? AND ?"
                " GROUP BY step / ? ORDER BY 1",
                [where["run"], where["stage"], where["name"], first, last, together],
            ).fetchall()
            ends = [first - 1, *(end for end, _ in groups)]
            total = sum((end - ends[n]) * mean for n, (end, mean) in enumerate(groups))
            assert number["value"] == pytest.approx(total / (last - first + 1)), number
            checked += 1
    assert checked >= (2 if written.sources.compared.points else 0)


def test_sums_over_sessions_are_those_of_the_database(written: Written) -> None:
    with closing(sqlite3.connect(written.home / "relay.db")) as database:
        sessions, lost = database.execute(
            "SELECT count(*), coalesce(sum(steps_lost), 0) FROM session WHERE run = ?", [written.sources.run["id"]]
        ).fetchone()
    values = writeup_values(written.sources)["sessions"]
    assert (values["count"], values["steps_lost"]) == (sessions, lost)


# --- what the text says -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "says", "is_silent_about"),
    [
        (
            "trained",
            ["From after-sft to after-continued accuracy changed by", "## Rewards", "Magpie"],
            ["not finished"],
        ),
        (
            "counting",
            ["steps that only count", "claims nothing about accuracy"],
            ["## Rewards", "weights", "not finished"],
        ),
        (
            "unfinished",
            ["**This run is not finished.** Its state is active, and 200 of 470 steps", "No evaluation has begun"],
            ["accuracy changed"],
        ),
        (
            "fresh",
            ["No session has begun yet.", "0 of 300 steps so far", "used any quota"],
            ["curves.png", "checkpoint is"],
        ),
    ],
)
def test_it_says_what_makes_sense_for_the_run(
    tmp_path: Path, run: str, says: list[str], is_silent_about: list[str]
) -> None:
    text, _ = texted(sources_in(tmp_path, RUNS[run]()), default_template())
    assert [part for part in says if part not in text] == []
    assert [part for part in is_silent_about if part in text] == []


@pytest.mark.slow
def test_the_text_of_a_model_cannot_become_markup(tmp_path: Path) -> None:
    text, _ = texted(sources_in(tmp_path, trained()), default_template())
    assert "window.hacked" in text
    assert not re.search(r"(?<!\\)<\S", text)  # before a space it begins no tag
    assert EVIL not in text


@dataclass(frozen=True, kw_only=True)
class ModelNamed(Fact):
    """A fact of the kind that names a published model."""

    name: ClassVar[str] = "model_published"
    model: str


@pytest.mark.slow
def test_the_newest_version_of_each_published_variation_is_named_with_the_fact_that_tells_of_it(tmp_path: Path) -> None:
    sources = sources_in(tmp_path, counting())
    ids = ["me/a/jax/2b/9", "me/a/jax/2b/10", "you/b@0a1b", "you/b@77aa", "me/a/other/2b/1"]
    told = [LoggedFact(number=90 + n, run="r", at=AT, fact=ModelNamed(model=m)) for n, m in enumerate(ids)]
    with_model = dataclasses.replace(sources, facts=[*sources.facts, *told])
    found = published_values(with_model)
    assert found == [ids[1], ids[3], ids[4]]
    assert found[0].source == {"fact": 91, "name": "model_published", "path": "model"}
    assert "## Unrestricted mode" in texted(with_model, default_template())[0]
    assert "## Unrestricted mode" not in texted(sources, default_template())[0]


def rehearsed(home: Path) -> WriteupSources:
    """The trained run, if a rehearsal's stand-ins had taken the place of its model and of a data set."""
    sources = sources_in(home, trained())
    document = {**sources.run, "stages": [{**stage, "stand_ins": ["mbpp", "model"]} for stage in sources.run["stages"]]}
    return dataclasses.replace(sources, compared=dataclasses.replace(sources.compared, document=document))


@pytest.mark.slow
def test_a_rehearsal_does_not_claim_that_anything_was_trained_on_kaggle(tmp_path: Path) -> None:
    text, _ = texted(rehearsed(tmp_path), default_template())
    assert text.startswith("# tiny: a rehearsal of relay/tiny-gemma2/flax/base/1 with stand-ins\n")
    assert "took the place of the model and of the data set mbpp in sft, after-sft, grpo," in text
    assert "This is a rehearsal: it takes 7 stages through the sessions of a local Kaggle on one machine." in text
    assert "trained on Kaggle" not in text and "We train" not in text


@pytest.mark.slow
def test_a_real_run_names_its_accelerator_plainly_and_its_own_limit(tmp_path: Path) -> None:
    text, _ = texted(sources_in(tmp_path, trained()), default_template())
    assert "on Kaggle's TPU v5e-8 in 7 stages" in text and "TpuV5E8" not in text
    assert "This run's sessions end after 1 min." in text


@pytest.mark.slow
def test_equal_rewards_are_told_once_and_only_those_in_use_are_explained(tmp_path: Path) -> None:
    sources = sources_in(tmp_path / "both", trained())
    text, _ = texted(sources, default_template())
    assert text.count("A completion is worth") == 1 and "* In `grpo`, `continued`, 8 completions" in text
    assert "`structure` rewards" in text and "`correctness` compares" in text
    stages = [
        {**stage, "options": {**stage["options"], "rewards": {"correctness": 1.0}}}
        if stage["name"] in ("grpo", "continued")
        else stage
        for stage in sources.compared.pipeline["stages"]
    ]
    compared = dataclasses.replace(sources.compared, pipeline={**sources.compared.pipeline, "stages": stages})
    text, _ = texted(dataclasses.replace(sources, compared=compared), default_template())
    assert "`structure` rewards" not in text and "`correctness` compares" in text


def test_the_pipeline_that_comes_with_it_is_the_runs(written: Written, tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(pipeline_yaml(written.sources.pipeline), encoding="utf-8")
    assert loader.load(tmp_path / "pipeline.yaml").digest == written.sources.run["pipeline_digest"]
    assert "relay start pipeline.yaml" in written.text


@pytest.mark.slow
def test_every_picture_of_a_rehearsal_bears_a_mark(tmp_path: Path) -> None:
    real = writeup_files(sources_in(tmp_path / "real", trained()), default_template(), "it")
    marked = writeup_files(rehearsed(tmp_path / "rehearsed"), default_template(), "it")
    pictures = [name for name in real if name.endswith((".png", ".svg", ".mmd"))]
    assert len(pictures) >= 8 and [name for name in pictures if real[name] == marked[name]] == []
    assert b"title: rehearsal with stand-ins" in marked["pipeline.mmd"]


# --- files ------------------------------------------------------------------------------


def chunks(png: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the chunks of a PNG."""
    at = 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        yield png[at + 4 : at + 8].decode(), png[at + 8 : at + 8 + length]
        at += 12 + length


@pytest.mark.slow
def test_equal_runs_give_equal_files_whatever_the_users_own_settings_of_matplotlib(tmp_path: Path) -> None:
    first = writeup_files(sources_in(tmp_path / "first", trained()), default_template(), "it")
    with matplotlib.rc_context(
        {"font.size": 20, "axes.facecolor": "red", "text.parse_math": True, "svg.hashsalt": "x"}
    ):
        again = writeup_files(sources_in(tmp_path / "again", trained()), default_template(), "it")
    assert first == again
    assert {name for name, data in first.items() if b"matplotlib" in data.lower()} <= {"pipeline.svg"}
    assert b"dc:date" not in first["pipeline.svg"]
    for name, data in first.items():
        if name.endswith(".png"):
            assert {kind for kind, _ in chunks(data)} <= {"IHDR", "IDAT", "IEND", "pHYs"}, name
    assert struct.unpack(">II", dict(chunks(first["cover.png"]))["IHDR"][:8]) == (560, 280)


@pytest.mark.slow
def test_the_values_in_pictures_have_origins_too_and_hostile_names_are_drawn(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    (tmp_path / "数 $x_1$ {a}.jsonl").write_text('{"question": "1+1?", "answer": "2"}\n', encoding="utf-8")
    path.write_text(
        "name: odd\ninputs: {files: ['数 $x_1$ {a}.jsonl']}\nstages:\n"
        "  - {name: a-stage-with-a-very-long-name-indeed, kind: evaluate, steps: 2, options: {data: ['数 $x_1$ {a}.jsonl']}}\n",
        encoding="utf-8",
    )
    told = Told(run="odd-0001", pipeline=loader.load(path))
    told.session(1)
    found = writeup_files(sources_in(tmp_path / "home", told), "{{ run.steps }}", "it")
    numbers = {number["name"]: number for number in json.loads(found["numbers.json"])["numbers"]}
    assert numbers["sessions.all[0].time"]["in"] == ["sessions.png"]
    assert numbers["run.steps"]["in"] == ["writeup.md", "cover.png"]
    assert numbers["evaluations[0].accuracy"]["in"] == [
        "pipeline.mmd",
        "pipeline.svg",
        "pipeline.png",
        "evaluations.png",
    ]


def test_two_values_of_one_name_are_a_mistake_of_ours() -> None:
    ledger = Ledger()
    ledger.printed(TracedNumber(1, "a", "1", code("x")), "writeup.md")
    with pytest.raises(AssertionError, match="two values are called a"):
        ledger.printed(TracedNumber(2, "a", "2", code("x")), "writeup.md")


def test_every_value_is_in_the_page_about_templates(written: Written) -> None:
    page = (ROOT / "docs" / "writeup.md").read_text(encoding="utf-8")
    described = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE))
    values = writeup_values(written.sources)
    assert set(values) - set(described) == set()
    for name, value in values.items():
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, dict):
            assert set(first) - set(re.findall(r"`(\w+)`", described[name])) == set(), name
