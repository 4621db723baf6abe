"""A run's data is held to the digests of what it has read, from stage to stage and from session to session."""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.data import Example, RunData, open_source
from stages.data.examples import Domain, Quality
from stages.data.pins import Pin, Pins, RowsRead
from stages.stage import StageFailed

WORDS = st.text(max_size=6)
SCORES = st.none() | st.integers(1, 10).map(float)
EXAMPLES = st.lists(
    st.builds(
        Example,
        source=WORDS,
        question=WORDS,
        completion=WORDS,
        answer=WORDS,
        domain=st.sampled_from(get_args(Domain)),
        difficulty=WORDS,
        code=WORDS,
        quality=st.builds(Quality, english=st.booleans(), refuses=st.booleans(), score=SCORES, margin=SCORES),
    ),
    max_size=20,
)


def pinned(examples: list[Example]) -> Pin:
    read = RowsRead()
    for example in examples:
        read.add(example)
    return read.pin()


def by_hand(examples: list[Example]) -> str:
    """The same digest, computed another way: every field with its length in bytes before it."""
    parts: list[bytes] = []
    for e in examples:
        known = [repr(value) for value in (e.quality.english, e.quality.refuses, e.quality.score, e.quality.margin)]
        texts = [e.source, e.question, e.completion, e.answer, e.domain, e.difficulty, e.code, *known]
        parts += [text.encode("utf-8", "surrogatepass") for text in texts]
    return hashlib.sha256(b"".join(str(len(part)).encode() + b":" + part for part in parts)).hexdigest()


@pytest.mark.slow
@given(EXAMPLES)
def test_the_digest_is_of_every_field_of_every_row_in_order(examples: list[Example]) -> None:
    pin = pinned(examples)
    assert pin.rows == len(examples)
    assert pin.read == {
        count: by_hand(examples[:count]) for count in {len(examples), *(1, 2, 4, 8, 16)} if 0 < count <= len(examples)
    }


@pytest.mark.slow
@given(EXAMPLES, EXAMPLES)
def test_two_lists_have_the_same_digest_only_if_they_are_the_same(one: list[Example], other: list[Example]) -> None:
    assert pinned(one).differs(pinned(other)) == (one != other)


@pytest.mark.slow
@given(EXAMPLES.filter(bool), st.data())
def test_a_row_that_both_have_read_is_seen_to_differ_whoever_read_further(
    examples: list[Example], data: st.DataObject
) -> None:
    """Up to the largest power of two that both have reached."""
    shorter = data.draw(st.integers(1, len(examples)))
    common = 1 << (shorter.bit_length() - 1)
    place = data.draw(st.integers(0, common - 1))
    changed = [*examples[:place], replace(examples[place], answer=examples[place].answer + "x"), *examples[place + 1 :]]
    whole, part = pinned(examples), pinned(changed[:shorter])
    assert replace(part, rows=whole.rows).differs(whole)
    assert not replace(pinned(examples[:shorter]), rows=whole.rows).differs(whole)


@pytest.mark.parametrize(
    "changed",
    [
        Example(source="s", question="q", code="x = 1"),
        Example(source="s", question="q", quality=Quality(english=False)),
        Example(source="s", question="q", quality=Quality(score=math.nan)),
        Example(source="s", question="q", quality=Quality(margin=0.5)),
    ],
)
def test_what_decides_about_a_row_is_pinned_with_it(changed: Example) -> None:
    """A program by which it may overlap, and a score or a language by which a stage leaves it out."""
    assert pinned([changed]).differs(pinned([Example(source="s", question="q")]))
    assert not pinned([changed]).differs(pinned([replace(changed)]))


def test_a_lone_surrogate_can_be_pinned() -> None:
    assert pinned([Example(source="s", question="\ud800")]).rows == 1


@pytest.mark.slow
@given(EXAMPLES)
def test_pins_come_back_from_a_checkpoint_as_they_were(examples: list[Example]) -> None:
    pins, again = Pins(), Pins()
    pins.hold("gsm8k train", replace(pinned(examples), revision="e53f"), "a mount")
    again.recall(json.loads(json.dumps(pins.described())))
    assert again == pins
    assert again.revision("gsm8k") == "e53f"


def test_other_rows_are_refused_in_one_sentence_with_both_digests_and_where_they_are() -> None:
    pins = Pins()
    before, now = pinned([Example(source="s", question="a")]), pinned([Example(source="s", question=q) for q in "ab"])
    pins.hold("gsm8k train", before, "the pipeline's inputs.files")
    pins.hold("gsm8k train", before, "anywhere")
    with pytest.raises(StageFailed) as failed:
        pins.hold("gsm8k train", now, "the mounted gsm8k-copy")
    assert (failed.value.cause, failed.value.transient) == ("data-changed", False)
    assert failed.value.reason == (
        f"data: gsm8k train is no longer what this run began with: that had 1 rows (SHA-256 {before.digest[:12]}…), and the "
        f"mounted gsm8k-copy has 2 ({now.digest[:12]}…): bring the old rows back, or start a new run with these"
    )


def problems(inputs: Path, count: int = 60, changed: int | None = None) -> Path:
    """A file of the user's own; in line `changed` something is different."""
    inputs.mkdir()
    lines = [
        json.dumps({"prompt": f"{n}+1=?", "answer": str(n + 1 + (n == changed)), "completion": "x" * n})
        for n in range(count)
    ]
    (inputs / "my.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return inputs


def short(example: Example) -> str:
    return "long" if len(example.completion) > 40 else ""


def everything(example: Example) -> str:
    return ""


def test_a_later_stage_with_another_count_and_other_wishes_is_held_to_the_same_rows(tmp_path: Path) -> None:
    """Each stage reads as far as it has to: what both read is the same or refused."""
    pins = Pins()
    first, same = problems(tmp_path / "first"), problems(tmp_path / "same")
    open_source(["my.jsonl:20"], first, seed=3, wants=short, run=RunData(pins=pins, use="sft"))
    open_source(["my.jsonl"], same, seed=3, wants=everything, run=RunData(pins=pins, use="grpo"))
    held_out = {e.question for e in open_source(["my.jsonl"], first, seed=3, wants=everything).held_out}
    for changed in range(0, 60, 7):
        other = problems(tmp_path / f"other-{changed}", changed=changed)
        with pytest.raises(StageFailed) as failed:
            open_source(["my.jsonl:5"], other, seed=3, wants=short, run=RunData(pins=pins, use="hard")) if (
                f"{changed}+1=?" in held_out
            ) else open_source(["my.jsonl"], other, seed=3, wants=everything, run=RunData(pins=pins, use="hard"))
        assert failed.value.cause == "data-changed"


def test_a_stage_that_goes_on_is_held_to_what_it_chose(tmp_path: Path) -> None:
    """The file is the same, and another tokenizer, or another relay, would choose otherwise."""
    pins, inputs = Pins(), problems(tmp_path / "inputs")
    open_source(["my.jsonl"], inputs, seed=3, wants=short, run=RunData(pins=pins, use="sft (taught)"))
    open_source(["my.jsonl"], inputs, seed=3, wants=everything, run=RunData(pins=pins, use="grpo (judged)"))
    with pytest.raises(StageFailed, match=r"sft \(taught\): my\.jsonl, train is no longer what this run began with"):
        open_source(["my.jsonl"], inputs, seed=3, wants=everything, run=RunData(pins=pins, use="sft (taught)"))
