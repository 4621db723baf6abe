"""What every loaded model has: a tokenizer that Tunix accepts, arrays by name, and one sentence where it cannot be had."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.rehearsal.local_kaggle.stand_ins.tokenizer import VOCABULARY, write_tokenizer
from stages.stage import StageFailed
from stages.training.model import arrays_of, copy_of, put_arrays
from stages.training.tokenizer import TURNS, Tokenizer, read
from tests.training.models import loaded, written

TEXT = (
    "<start_of_turn>user\nWhat is 27 + 15?<end_of_turn>\n"
    "<start_of_turn>model\n<reasoning>20 + 10 = 30,  7 + 5 = 12</reasoning>\n<answer>42</answer><end_of_turn>\n"
)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    write_tokenizer(tmp_path / "tokenizer.model")
    return read(tmp_path / "tokenizer.model")


def with_turns_as_control(tokenizer: Tokenizer) -> Tokenizer:
    """The same pieces, but the turns' marks of the kind that SentencePiece never finds in a text."""
    from sentencepiece import sentencepiece_model_pb2 as format_of

    model = format_of.ModelProto.FromString(tokenizer._model)
    for piece in model.pieces:
        if piece.piece in TURNS:
            piece.type = format_of.ModelProto.SentencePiece.CONTROL
    return Tokenizer(model.SerializeToString())


@pytest.mark.parametrize("control", [False, True])
def test_a_mark_of_a_turn_is_one_token(tokenizer: Tokenizer, control: bool) -> None:
    tokenizer = with_turns_as_control(tokenizer) if control else tokenizer
    start, end = (VOCABULARY.index(mark) for mark in TURNS)
    ids = tokenizer.encode(TEXT)
    assert ids[0] == start
    assert (ids.count(start), ids.count(end)) == (2, 2)
    assert tokenizer.stops == (tokenizer.eos_id(), end)


def test_nothing_is_added_to_a_text_and_only_marks_are_lost(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(TEXT)
    assert not {tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id()} & set(ids)
    plain = TEXT.replace(TURNS[0], "").replace(TURNS[1], "")
    wrapped = [*tokenizer.begin, *ids, tokenizer.eos_id(), tokenizer.pad_id()]
    assert tokenizer.decode(wrapped) == plain
    assert tokenizer.encode("") == []


def test_a_text_cannot_end_itself(tokenizer: Tokenizer) -> None:
    """What a user writes is text, even where it looks like the end of one."""
    assert tokenizer.eos_id() not in tokenizer.encode("<eos>")
    assert tokenizer.decode(tokenizer.encode("<eos>")) == "<eos>"


def test_a_row_of_the_embedding_without_a_token_is_no_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode([tokenizer.size, *tokenizer.encode("42"), tokenizer.size + 5]) == "42"


def test_a_tokenizer_can_be_sent_to_another_process(tokenizer: Tokenizer) -> None:
    tokenizer.encode(TEXT)
    assert pickle.loads(pickle.dumps(tokenizer)).encode(TEXT) == tokenizer.encode(TEXT)


@pytest.mark.slow
def test_tunix_puts_one_begin_in_front_and_stops_where_it_is_told(tmp_path: Path) -> None:
    from tunix.generate import sampler as tunix

    for kind in ("gemma2", "gemma3"):
        foundation = loaded(written(tmp_path / kind, kind))
        config = foundation.model.config
        cache = tunix.CacheConfig(
            cache_size=64, num_layers=config.num_layers, num_kv_heads=config.num_kv_heads, head_dim=config.head_dim
        )
        sampler = tunix.Sampler(foundation.model, foundation.tokenizer, cache)
        ids = foundation.tokenizer.encode(TEXT)
        assert list(sampler.tokenize(TEXT)) == [*foundation.tokenizer.begin, *ids]
        free = sampler(["What is"], max_generation_steps=8, eos_tokens=[config.num_embed - 1])
        first = int(free.tokens[0][0])
        stopped = sampler(["What is"], max_generation_steps=8, eos_tokens=[first])
        assert list(np.asarray(stopped.tokens[0])) in ([], [first])


@pytest.mark.parametrize(
    ("values", "cause", "transient"),
    [
        ({"kind": "huge"}, "bad-options", False),
        ({"depth": 3}, "bad-options", False),
        ({"mesh_fsdp": 64}, "accelerator-missing", True),
    ],
)
def test_a_model_that_cannot_be_made_is_refused(
    values: dict[str, Any], cause: str, transient: bool, tmp_path: Path
) -> None:
    with pytest.raises(StageFailed) as failed:
        loaded(written(tmp_path), **values)
    assert (failed.value.cause, failed.value.transient) == (cause, transient)


@pytest.mark.slow
def test_arrays_that_do_not_fit_the_model_are_refused(tmp_path: Path) -> None:
    model, other = (loaded(written(tmp_path / str(width), width=width)).model for width in (16, 32))
    with pytest.raises(StageFailed, match="in the checkpoint and"):
        put_arrays(model, arrays_of(other))
    with pytest.raises(StageFailed, match="differs from the model"):
        put_arrays(model, {})


@pytest.mark.slow
def test_a_copy_has_arrays_of_its_own(tmp_path: Path) -> None:
    model = loaded(written(tmp_path)).model
    copied = copy_of(model)
    put_arrays(model, {name: np.ones(array.shape, array.dtype) for name, array in arrays_of(model).items()})
    assert all((array == 1).all() for array in arrays_of(model).values())
    assert not any((array == 1).all() for array in arrays_of(copied).values())
