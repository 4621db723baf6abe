"""A SentencePiece tokenizer of Gemma's kind in a hundred and some pieces: for models so small that most weights would be its table."""

import string
from pathlib import Path
from typing import Any

SPACE = "▁"
"""How SentencePiece writes a space within a piece."""

_PAD, _EOS, _BOS, _UNKNOWN = "<pad>", "<eos>", "<bos>", "<unk>"
_TURNS = ("<start_of_turn>", "<end_of_turn>")
_TAGS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
_WORDS = (
    # the chat template
    *("user", "model"),
    # the words that relay puts before every problem (stages.options.model.SYSTEM)
    *("Solve", " the", " problem", " First", " think", " step", " by", " between", " and", " then", " give", " only"),
    *(" final", " answer", ", "),
    # sums
    *("What", " is", " + "),
    # functions and their tests, as the stand-in of MBPP has them
    *("Write", " a", " function", " f", " that", " adds", " subtracts", " multiplies", " xors", " with"),
    *("Your", " code", " should", " pass", " these", " tests", "assert f(", ") == "),
    *("def f(x):", " return x", " - ", " * ", " ^ "),
    # the reasoning that the adapters of stages.data put where a set shows none
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
"""The pieces in the order of their ids; the first four stand where Gemma's vocabulary has them."""


def write_tokenizer(path: Path) -> None:
    """Write the SentencePiece model, the same bytes each time. Any text of ASCII survives encoding and decoding.

    As in Gemma's own: byte-pair encoding, no normalisation, no space put before a text, and turns, words and tags that are
    found before anything is merged, the longest first. There are no merges, so all else is encoded by its characters.
    """
    from sentencepiece import sentencepiece_model_pb2  # only what writes one needs the library

    form: Any = sentencepiece_model_pb2  # made by protobuf when it is imported: no type checker sees what is in it
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
    """SentencePiece's own numbers: 1 normal, 2 unknown, 3 control (never read from a text), 4 user defined."""
    if piece == _UNKNOWN:
        return 2
    return 3 if piece in (_PAD, _EOS, _BOS) else 4
