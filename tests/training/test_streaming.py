"""Answers token by token: the same tokens as an evaluation's, and never half of a character."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2

from orchestrator.app.answering.streaming import StreamingSampler, TextSoFar
from orchestrator.core.asking import Drawing
from orchestrator.rehearsal.local_kaggle.stand_ins.tokenizer import write_tokenizer
from stages.data import prompt_of
from stages.training.generate import prompt_tokens
from stages.training.initial_state import with_weights
from stages.training.model import Foundation
from stages.training.sampler import ContinuousSampler, Draw, SamplerLimits
from stages.training.tokenizer import Tokenizer
from tests.training.exports import trained
from tests.training.models import loaded

LIMITS = {"max_prompt_length": 48, "max_completion_length": 24}
QUESTIONS = ("What is 2 + 3?", "Say hello", "Write a function f that adds 1", "?")


def streamed(foundation: Foundation, question: str, drawing: Drawing, stops: tuple[int, ...] = ()) -> list[int]:
    pieces = foundation.tokenizer
    prompt = [*pieces.begin, *pieces.encode(prompt_of(question, foundation.options.system))]
    sampler = StreamingSampler(foundation, LIMITS["max_prompt_length"], LIMITS["max_completion_length"])
    return list(sampler.stream(prompt, drawing, stops or foundation.stops))


def generated(foundation: Foundation, questions: tuple[str, ...], drawing: Drawing) -> list[list[int]]:
    """What a stage's sampler draws for all questions together, up to and including the stop token."""
    limits = SamplerLimits(*LIMITS.values(), len(questions), foundation.stops)
    prompts = [prompt_tokens(prompt_of(each, foundation.options.system), foundation.tokenizer) for each in questions]
    sampler = ContinuousSampler(foundation.model, foundation.mesh, limits)
    draw = Draw(drawing.temperature, drawing.top_k, drawing.top_p, drawing.seed)
    return [answer.tokens for answer in sampler.draw(prompts, draw)]


def model(root: Path, kind: str, layout: str, dtype: str) -> Foundation:
    """A model with adapters as an evaluation has it: merged, or beside the weights where those are narrow."""
    made = trained(root, kind, layout, adapters=2)
    if dtype == "float32":
        return made.merged
    foundation = loaded(made.values, dtype=dtype)
    return dataclasses.replace(foundation, model=with_weights(foundation, made.state.weights))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "layout", "dtype"),
    [("gemma2", "flax", "float32"), ("gemma3", "transformers", "float32"), ("gemma2", "transformers", "bfloat16")],
)
def test_greedy_tokens_are_those_of_an_evaluation(tmp_path: Path, kind: str, layout: str, dtype: str) -> None:
    foundation = model(tmp_path, kind, layout, dtype)
    wanted = generated(foundation, QUESTIONS, Drawing())
    assert [streamed(foundation, question, Drawing()) for question in QUESTIONS] == wanted
    assert len({tuple(tokens) for tokens in wanted}) > 1, "the questions have different answers"


@pytest.mark.slow
def test_an_answer_ends_with_its_first_stop_token(tmp_path: Path) -> None:
    foundation = model(tmp_path, "gemma2", "flax", "float32")
    whole = streamed(foundation, QUESTIONS[0], Drawing())
    stop = whole[len(whole) // 2]
    assert streamed(foundation, QUESTIONS[0], Drawing(), (stop, 1)) == whole[: whole.index(stop) + 1]


@pytest.mark.slow
def test_sampled_tokens_are_those_of_a_stage_and_the_same_for_a_seed(tmp_path: Path) -> None:
    foundation = model(tmp_path, "gemma2", "flax", "float32")
    found = []
    for drawing in (Drawing(temperature=1.0, seed=7), Drawing(temperature=0.7, top_k=5, seed=8)):
        found.append(streamed(foundation, QUESTIONS[0], drawing))
        assert found[-1] == streamed(foundation, QUESTIONS[0], drawing)
        assert [found[-1]] == generated(foundation, QUESTIONS[:1], drawing)
    assert found[0] != found[1]


@pytest.mark.slow
def test_a_small_top_p_leaves_the_likeliest_token_alone(tmp_path: Path) -> None:
    foundation = model(tmp_path, "gemma2", "flax", "float32")
    drawing = Drawing(temperature=3.0, top_p=1e-6, seed=1)
    assert streamed(foundation, QUESTIONS[1], drawing) == streamed(foundation, QUESTIONS[1], Drawing())


def byte_tokenizer(folder: Path) -> Tokenizer:
    """The small tokenizer with a piece for each byte, as Gemma's has."""
    write_tokenizer(folder / "tokenizer.model")
    form = sentencepiece_model_pb2.ModelProto()
    form.ParseFromString((folder / "tokenizer.model").read_bytes())
    for number in range(256):
        form.pieces.add(piece=f"<0x{number:02X}>", score=-1000.0, type=6)
    form.trainer_spec.byte_fallback = True
    form.trainer_spec.vocab_size = len(form.pieces)
    return Tokenizer(form.SerializeToString())


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return byte_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@given(st.data())
def test_streamed_text_is_the_whole_text_in_the_end(pieces: Tokenizer, data: st.DataObject) -> None:
    tokens = data.draw(st.lists(st.integers(0, pieces.size + 3)))
    so_far = TextSoFar(pieces.decode)
    shown = "".join([*map(so_far.add, tokens), so_far.end()])
    assert shown == so_far.text == pieces.decode(tokens)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd\0▁")))
def test_no_broken_character_is_shown(pieces: Tokenizer, text: str) -> None:
    so_far = TextSoFar(pieces.decode)
    shown = [so_far.add(token) for token in pieces.encode(text)]
    assert "\ufffd" not in "".join(shown)
    assert "".join(shown) == text
