"""The text of a write-up: its length, templates of the user's own, and texts that look like markup."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.base.errors import BadInput
from orchestrator.pipeline import loader
from orchestrator.views.writeup.diagram import boxes, mermaid, mermaid_text
from orchestrator.views.writeup.files import default_template
from orchestrator.views.writeup.ledger import Ledger
from orchestrator.views.writeup.text import WORDS_MAX, code_span, escaped, rendered, require_short, words
from orchestrator.views.writeup.values import writeup_values
from tests.unit.histories import Told
from tests.unit.writeups import RUNS, Written, sources_in, texted


@pytest.fixture(scope="module", params=["trained", "counting"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    home = tmp_path_factory.mktemp(request.param)
    sources = sources_in(home, RUNS[request.param]())
    return Written(home, sources, *texted(sources, default_template()))


# --- its length -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("one two\nthree", 3),
        ("## A heading", 2),
        ("| a | b |\n|---|---|\n| 1 | 2.5 % |", 4),
        ("* **bold**, `code` – and 12.5 %", 4),
        ("![A cover](cover.png) text", 3),
        ("naïve Übung 数", 3),
    ],
)
def test_words_are_what_a_reader_would_count(text: str, count: int) -> None:
    assert words(text) == count


def test_exactly_the_most_words_are_taken_and_one_more_is_refused_with_the_longest_section() -> None:
    require_short("# Short\n" + "word " * (WORDS_MAX - 1), "it")
    with pytest.raises(
        BadInput,
        match=r"^it makes 1,502 words, and .* at most 1,500: shorten it by 2; its longest section is 'Long' with 1,501",
    ):
        require_short("# Short\n# Long\n" + "word " * WORDS_MAX, "it")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["grpo", "sft", "evaluate", "counting"])
def test_the_default_template_stays_short_however_many_stages_there_are(tmp_path: Path, kind: str) -> None:
    options = "" if kind == "counting" else ", options: {data: [magpie:5, ultrafeedback:6, gsm8k:7, mbpp:8], batch: 8}"
    stages = "\n".join(f"  - {{name: a-stage-{number}, kind: {kind}, steps: 3{options}}}" for number in range(30))
    path = tmp_path / "many.yaml"
    path.write_text(f"name: many\nstages:\n{stages}\n", encoding="utf-8")
    told = Told(run="many-0001", pipeline=loader.load(path))
    for session in range(1, 41):
        told.session(max(1, told.pipeline.total_steps * session // 40))
    text, _ = texted(sources_in(tmp_path / "home", told), default_template())
    require_short(text, "it")


# --- templates of the user's own --------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "refused"),
    [
        ("{{ nothing }}", "'nothing' is undefined"),
        ("one\n{{ run.nothing }}", "has no attribute 'nothing'"),
        ("one\n{% if %}", "line 2: "),
        ("{{ 1 / (run.seed * 0) }}", "division by zero"),
        ("{{ run.__class__.__mro__ }}", "unsafe"),
        ("{{ run.name.__class__ }}", "unsafe"),
        ("{% include 'other' %}", "no loader"),
        ("{{ run.clear() }}", "not safely callable|unsafe"),
        ("{{ run.steps | nothing }}", "No filter named 'nothing'"),
        ("{% for n in range(1000000) %}x{% endfor %}", "Range too big"),
    ],
)
def test_a_mistake_in_a_template_is_told_in_one_sentence(written: Written, template: str, refused: str) -> None:
    with pytest.raises(BadInput, match=refused) as caught:
        rendered(template, writeup_values(written.sources), Ledger(), "--template mine.j2")
    assert str(caught.value).startswith("--template mine.j2")
    assert str(caught.value).endswith("relay writeup --print-template shows a template that works")


def test_values_can_be_compared_and_counted_in_a_template(written: Written) -> None:
    total = written.sources.pipeline.total_steps
    template = "{% if run.steps > 3 %}{{ run.steps | counted('step') }}{% endif %}, {{ run.seed | counted('seed') }}"
    text, numbers = texted(written.sources, template)
    assert text == f"{total} steps, 0 seeds\n"
    assert [(number["name"], number["value"]) for number in numbers] == [("run.steps", total), ("run.seed", 0)]


# --- markup -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain-text 1", "plain-text 1"),
        ("a_b *c* [d](e)", r"a\_b \*c\* \[d\](e)"),
        ("<b>&amp;", r"\<b\>&amp;amp;"),
        ("# x\n| y", r"\# x \| y"),
        ("$x$ `y`", r"\$x\$ \`y\`"),
    ],
)
def test_text_is_shown_in_markdown_as_it_is(text: str, shown: str) -> None:
    assert escaped(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a_b", "`a_b`"), ("a|b", "<code>a&#124;b</code>"), ("a`b<", "<code>a&#96;b&#60;</code>"), ("a\nb", "`a b`")],
)
def test_code_cannot_end_early_or_break_a_table(text: str, shown: str) -> None:
    assert code_span(text) == shown


@given(st.text())
def test_a_label_in_mermaid_has_no_character_that_could_end_it_and_shows_the_text(text: str) -> None:
    label = mermaid_text(text)
    assert not set(label) & set("\"`<>[]{}|\n\\&'")
    assert re.sub(r"#(\d+);", lambda code: chr(int(code[1])), label) == text


def test_the_diagram_has_a_box_for_each_stage_in_order(written: Written) -> None:
    lines = mermaid(boxes(writeup_values(written.sources)), Ledger()).splitlines()
    assert lines[0] == "flowchart LR"
    stages = [stage["name"] for stage in written.sources.run["stages"]]
    labelled = re.findall(r'^  n(\d+)\["([^"]*)"\]$', "\n".join(lines), re.MULTILINE)
    assert [label.partition("<br/>")[0] for _, label in labelled][-len(stages) :] == stages
    assert "  " + " --> ".join(f"n{number}" for number, _ in labelled) in lines
