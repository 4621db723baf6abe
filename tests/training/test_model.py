"""The tiny model is a pure function of its options, and what cannot be made is refused in one sentence."""

from pathlib import Path
from typing import Any

import pytest

from stages.checkpoints import State, Weights, tree_digest, write
from stages.model import Tokenizer, arrays_of, load, put_arrays
from stages.stage import StageFailed
from tests.training.harness import TINY, Chain, spec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_once")]


def digest(**options: Any) -> str:
    return tree_digest(arrays_of(load({**TINY, **options}).model))


def test_the_same_options_make_the_same_weights() -> None:
    assert digest() == digest()
    assert len({digest(), digest(seed=1), digest(width=32), digest(layers=4)}) == 4


def test_no_layer_starts_dead_and_no_two_start_alike() -> None:
    arrays = {name: value for name, value in arrays_of(load(TINY).model).items() if not name.endswith("scale")}
    assert all((value != 0).all() for value in arrays.values())
    assert len({tree_digest({"": value}) for value in arrays.values()}) == len(arrays)


def test_text_survives_the_tokenizer_and_each_tag_is_one_token() -> None:
    text = "27+15=?\n<reasoning>7+5=12,2+1+1=4</reasoning><answer>42</answer>"
    tokenizer = Tokenizer()
    ids = tokenizer.encode(text)
    assert tokenizer.decode([tokenizer.bos_id(), *ids, tokenizer.eos_id(), tokenizer.pad_id()]) == text
    assert len(tokenizer.encode("<reasoning></reasoning><answer></answer>")) == 4


@pytest.mark.parametrize(
    ("values", "cause", "transient"),
    [
        ({"kind": "huge"}, "bad-options", False),
        ({"depth": 3}, "bad-options", False),
        ({"mesh_fsdp": 64}, "accelerator-missing", True),
    ],
)
def test_a_model_that_cannot_be_made_is_refused(values: dict[str, Any], cause: str, transient: bool) -> None:
    with pytest.raises(StageFailed) as failed:
        load({**TINY, **values})
    assert (failed.value.cause, failed.value.transient) == (cause, transient)


def test_arrays_that_do_not_fit_the_model_are_refused() -> None:
    model, other = load(TINY).model, load({**TINY, "width": 32}).model
    with pytest.raises(StageFailed, match="in the checkpoint and"):
        put_arrays(model, arrays_of(other))
    with pytest.raises(StageFailed, match="differs from the model"):
        put_arrays(model, {})


def test_a_changed_model_is_noticed_before_anything_is_trained(tmp_path: Path) -> None:
    chain = Chain((spec("first", "evaluate", 1), spec("second", "evaluate", 1)))
    checkpoint = tmp_path / "first-1"
    checkpoint.mkdir()
    write(State(Weights(), made=digest(seed=1)), checkpoint)
    with pytest.raises(StageFailed) as failed:
        chain.run(tmp_path)
    assert failed.value.cause == "model-changed"
