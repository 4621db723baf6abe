"""How an answer ends: as in the chat template of the model that is trained, for base and instruct models of Gemma 2 and 3."""

from pathlib import Path
from typing import Any, cast

import jinja2
import pytest
from flax import nnx

from orchestrator.rehearsal.local_kaggle.stand_ins.tokenizer import VOCABULARY, write_tokenizer
from stages.data import Example
from stages.options import Model, Sft
from stages.training.model import Foundation
from stages.training.stage_data import prompt, tokens_of
from stages.training.taught_batches import encode
from stages.training.tokenizer import Tokenizer

TEMPLATES = {
    "gemma2": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
        "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
        "{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
    ),
    "gemma3": (
        "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}{%- set first_user_prefix = messages[0]['content'] + "
        "'\n\n' -%}{%- set loop_messages = messages[1:] -%}{%- else -%}{%- set first_user_prefix = '' -%}"
        "{%- set loop_messages = messages -%}{%- endif -%}{%- for message in loop_messages -%}"
        "{%- if (message['role'] == 'assistant') -%}{%- set role = 'model' -%}{%- else -%}"
        "{%- set role = message['role'] -%}{%- endif -%}{{ '<start_of_turn>' + role + '\n' + "
        "(first_user_prefix if loop.first else '') }}{{ message['content'] | trim }}{{ '<end_of_turn>\n' }}"
        "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"
    ),
}
"""As Google publishes them with the instruct models, Gemma 3's without its branches for pictures."""
END_OF_TURN = {"gemma2": 107, "gemma3": 106}
EOS, NEWLINE = 1, VOCABULARY.index("\n")
SYSTEM = "Think first."
EXAMPLE = Example("gsm8k", " What is 27 + 15? ", "<reasoning>42</reasoning><answer>42</answer>")


def tokenizer_of(kind: str, folder: Path) -> Tokenizer:
    """The small one, with the end of a turn at the number that the family has."""
    from sentencepiece import sentencepiece_model_pb2 as format_of

    write_tokenizer(folder / "tokenizer.model")
    model: Any = format_of.ModelProto.FromString((folder / "tokenizer.model").read_bytes())
    pieces = list(model.pieces)
    turn = next(piece for piece in pieces if piece.piece == "<end_of_turn>")
    pieces.remove(turn)
    pieces.insert(END_OF_TURN[kind], turn)
    del model.pieces[:]
    model.pieces.extend(pieces)
    return Tokenizer(model.SerializeToString())


def foundation_of(kind: str, variant: str, folder: Path) -> Foundation:
    """All of a model but its weights."""
    nothing = cast(Any, nnx.Module())
    options = Model(kind=kind, system=SYSTEM)
    return Foundation(nothing, tokenizer_of(kind, folder), nothing, options, "", variant == "instruct")


CASES = [(kind, variant) for kind in TEMPLATES for variant in ("base", "instruct")]


@pytest.mark.parametrize(("kind", "variant"), CASES)
def test_an_answer_ends_once_in_the_token_of_its_model_and_that_is_learnt(
    kind: str, variant: str, tmp_path: Path
) -> None:
    foundation = foundation_of(kind, variant, tmp_path)
    end = END_OF_TURN[kind] if variant == "instruct" else EOS

    tokens, asked = tokens_of(EXAMPLE, foundation)
    batch = encode([EXAMPLE], foundation, Sft(batch=1, max_seq_length=128))

    answer = foundation.tokenizer.encode(EXAMPLE.completion)
    assert tokens[asked:] == [*answer, end]
    learnt = batch.weights[0] > 0
    assert (batch.at[0, learnt] + 1).tolist() == list(range(asked, len(tokens)))
    assert batch.targets[0, learnt].tolist() == tokens[asked:]
    assert batch.tokens[0, len(tokens) - 1] == end
    assert not batch.tokens[0, len(tokens) :].any()


@pytest.mark.parametrize(("kind", "variant"), CASES)
def test_either_end_stops_an_answer_that_is_drawn(kind: str, variant: str, tmp_path: Path) -> None:
    assert set(foundation_of(kind, variant, tmp_path).stops) == {EOS, END_OF_TURN[kind]}


@pytest.mark.parametrize("kind", TEMPLATES)
def test_what_an_instruct_model_learns_from_is_its_own_chat_template(kind: str, tmp_path: Path) -> None:
    """Token by token, up to the newline after the turn, which no answer ever reaches."""
    foundation = foundation_of(kind, "instruct", tmp_path)
    if kind == "gemma2":  # it has no turn of a system
        messages = [{"role": "user", "content": f"{SYSTEM}\n\n{EXAMPLE.question.strip()}"}]
    else:
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": EXAMPLE.question}]
    template = jinja2.Environment(autoescape=False).from_string(TEMPLATES[kind])
    asked = template.render(messages=messages, bos_token="", add_generation_prompt=True)
    answered = template.render(
        messages=[*messages, {"role": "assistant", "content": EXAMPLE.completion}],
        bos_token="",
        add_generation_prompt=False,
    )

    assert prompt(EXAMPLE, foundation) == asked
    tokens = foundation.tokenizer.encode(answered)
    newline = foundation.tokenizer.encode("\n")
    assert [*tokens_of(EXAMPLE, foundation)[0], *newline] == [*foundation.tokenizer.begin, *tokens]
