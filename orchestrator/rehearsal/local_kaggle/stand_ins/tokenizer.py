"""Writes small tokenizers like those of the families: a full vocabulary would dominate a tiny model's weights."""

import json
import string
from pathlib import Path
from typing import Any

from stages.options.families import SENTENCEPIECE, SpecialTokens, family_of

SPACE = "▁"
"""Character that SentencePiece writes for a space within a piece."""

_PAD, _EOS, _BOS, _UNKNOWN = "<pad>", "<eos>", "<bos>", "<unk>"
_TURNS = ("<start_of_turn>", "<end_of_turn>")
_ROLES = ("system", "assistant")
"""Words of the chat templates of Qwen and Llama that Gemma's has not."""
_TAGS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
_WORDS = (
    # the chat template
    *("user", "model"),
    # the system prompt of every problem (stages.options.model.SYSTEM)
    *("Solve", " the", " problem", " First", " think", " step", " by", " between", " and", " then", " give", " only"),
    *(" final", " answer", ", "),
    # sums
    *("What", " is", " + "),
    # functions and their tests, as in the stand-in of MBPP
    *("Write", " a", " function", " f", " that", " adds", " subtracts", " multiplies", " xors", " with"),
    *("Your", " code", " should", " pass", " these", " tests", "assert f(", ") == "),
    *("def f(x):", " return x", " - ", " * ", " ^ "),
    # the reasoning that the adapters of stages.data insert if a set has none
    *("I", " can", " this", " directly", " write", " passes"),
    # small talk
    *("Say", "Thank", " hello", " good bye", " to", "hello", "good bye", "thank you"),
    *(" Ann", " Ben", " Eve", " Kim", " Leo", " Max", " Sue", " Tom"),
)
_CHARACTERS = ("\n", "\t", " ", *string.digits, *string.punctuation, *string.ascii_letters)

VOCABULARY: tuple[str, ...] = tuple(
    dict.fromkeys(
        piece.replace(" ", SPACE) for piece in (_PAD, _EOS, _BOS, _UNKNOWN, *_TURNS, *_TAGS, *_WORDS, *_CHARACTERS)
    )
)
"""Pieces in the order of their ids; the first four have the same ids as in Gemma's vocabulary."""


def vocabulary_size(kind: str) -> int:
    """Return the number of tokens of a kind's small tokenizer."""
    family = family_of(kind)
    if family.tokenizer_file == SENTENCEPIECE:
        return len(VOCABULARY)
    return len(_byte_vocabulary()) + len(_added_tokens(family.tokens))


def write_tokenizer_of(kind: str, folder: Path) -> None:
    """Write the small tokenizer of a kind of model into the model's folder, under the name that its family uses."""
    family = family_of(kind)
    if family.tokenizer_file == SENTENCEPIECE:
        write_tokenizer(folder / SENTENCEPIECE)
    else:
        (folder / family.tokenizer_file).write_text(_tokenizer_json(family.tokens), encoding="utf-8")


def _byte_vocabulary() -> list[str]:
    """Return the 256 characters that stand for bytes in GPT-2's vocabulary and its descendants, `!` first."""
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


def _added_tokens(tokens: SpecialTokens) -> list[tuple[str, bool]]:
    """Return further tokens in the order of their ids, each with whether it is special."""
    special = (tokens.end, tokens.begin, *tokens.turns, *tokens.more_stops, *tokens.padding)
    headers = ("<|end_header_id|>",) if tokens.turns[0] == "<|start_header_id|>" else ()
    words = (*_TAGS, *(word for word in (*_WORDS, *_ROLES) if len(word) > 1))
    return [(piece, True) for piece in dict.fromkeys((*special, *headers)) if piece] + [
        (word, False) for word in dict.fromkeys(words)
    ]


def _tokenizer_json(tokens: SpecialTokens) -> str:
    """Return a byte-level BPE without merges, as in the repositories of Qwen and Llama: all other text is bytes."""
    letters = _byte_vocabulary()
    added = [
        {
            "id": len(letters) + number,
            "content": piece,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": special,
        }
        for number, (piece, special) in enumerate(_added_tokens(tokens))
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    document: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": byte_level,
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {letter: number for number, letter in enumerate(letters)},
            "merges": [],
        },
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def write_tokenizer(path: Path) -> None:
    """Write Gemma's: the SentencePiece model; the bytes are always the same. ASCII text survives encoding and decoding.

    Like Gemma's: byte-pair encoding, no normalisation, no space before the text, and user-defined pieces (turns, words,
    tags) that are matched before any merge, longest first. There are no merges, so all other text is encoded by
    character.
    """
    from sentencepiece import sentencepiece_model_pb2  # imported here, since only this function needs it

    form: Any = sentencepiece_model_pb2  # generated by protobuf at import, so type checkers cannot see its contents
    model = form.ModelProto()
    for number, piece in enumerate(VOCABULARY):
        model.pieces.add(piece=piece, score=-float(number), type=_type_of(piece))
    model.trainer_spec.model_type = form.TrainerSpec.BPE
    model.trainer_spec.vocab_size = len(VOCABULARY)
    model.trainer_spec.pad_id, model.trainer_spec.eos_id = VOCABULARY.index(_PAD), VOCABULARY.index(_EOS)
    model.trainer_spec.bos_id, model.trainer_spec.unk_id = VOCABULARY.index(_BOS), VOCABULARY.index(_UNKNOWN)
    model.trainer_spec.pad_piece, model.trainer_spec.eos_piece = _PAD, _EOS
    model.trainer_spec.bos_piece, model.trainer_spec.unk_piece = _BOS, _UNKNOWN
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.escape_whitespaces = True
    path.write_bytes(model.SerializeToString(deterministic=True))


def _type_of(piece: str) -> int:
    """Return SentencePiece's type of a piece: 1 normal, 2 unknown, 3 control (not matched in text), 4 user-defined."""
    if piece == _UNKNOWN:
        return 2
    return 3 if piece in (_PAD, _EOS, _BOS) else 4
