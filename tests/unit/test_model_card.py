"""The card of an exported model claims no data set of which the run had only a stand-in."""

from stages.contract import Cursor, StageSpec
from stages.formats.card import ExportOrigin, card, licences
from stages.options import Model

STAGES = (
    StageSpec(name="sft", kind="sft", steps=5, options={"data": ["gsm8k:100"]}),
    StageSpec(name="after", kind="evaluate", steps=1, options={"data": ["mbpp"]}),
)


def test_a_card_claims_no_set_that_was_made_up() -> None:
    model, cursor = Model(kind="gemma2", source="google/gemma-2-2b"), Cursor(stage="after", step=1)
    about = {"format": "peft"}
    real = ExportOrigin("r-0001", cursor, STAGES)
    rehearsed = ExportOrigin("r-0001", cursor, STAGES, made_up_sets=("gsm8k",))

    text = card(model, rehearsed, {}, about, made_up=False)
    assert "**What stands here for gsm8k is made-up data of a rehearsal" in text
    assert "openai/gsm8k" not in text and "google-research-datasets/mbpp" in text
    assert "openai/gsm8k" in card(model, real, {}, about, made_up=False)
    assert "made-up" not in card(model, real, {}, about, made_up=False)
    assert licences(model, real, made_up=False).keys() - licences(model, rehearsed, made_up=False) == {"openai/gsm8k"}
