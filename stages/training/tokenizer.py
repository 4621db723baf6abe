"""Tokenizers of the model families, with the interface that Tunix expects: SentencePiece and tokenizer.json."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.options.families import FAMILIES, SENTENCEPIECE, SpecialTokens, family_of
from stages.stage import StageFailed

GEMMA_TOKENS = FAMILIES["gemma2"].tokens
TURNS = GEMMA_TOKENS.turns
"""Marks of Gemma's chat template; each must be a single token."""


class Tokenizer:
    """Converts text to token ids and back, using a SentencePiece model; copies and pickles as the model's bytes.

    No tokens are added to a text: callers that need `begin` or `eos_id` add them (Tunix's
    sampler adds the first itself).
    """

    def __init__(self, model: bytes, tokens: SpecialTokens = GEMMA_TOKENS) -> None:
        """Raises ValueError if `model` is not a tokenizer with padding, begin and end tokens."""
        self._model, self._tokens = model, tokens
        self._require_special()

    def __getstate__(self) -> dict[str, Any]:
        return {"_model": self._model, "_tokens": self._tokens}

    def _require_special(self) -> None:
        if min(self.pad_id(), self.eos_id(), *self.begin) < 0:
            raise ValueError("it has no piece for padding, for the begin or for the end of a text")

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the tokenizer file's bytes, in hexadecimal."""
        return hashlib.sha256(self._model).hexdigest()

    @property
    def begin(self) -> list[int]:
        """Tokens that begin a text: one, or none if the family has no such token."""
        number = self.bos_id()
        return [] if number is None else [number]

    @property
    def size(self) -> int:
        """Number of tokens; the model's embedding may have a few more rows."""
        return int(self._pieces.get_piece_size())

    @property
    def stops(self) -> tuple[int, ...]:
        """Tokens that end an answer: the end of the text, others of the family and, if it is a single token, the end of
        the turn, which is the last one."""
        found = (self.piece_id(piece) for piece in (*self._tokens.more_stops, self._tokens.turns[1]))
        return (self.eos_id(), *(number for number in found if number is not None))

    def piece_id(self, piece: str) -> int | None:
        """Return the id of exactly this token; None if there is no such token."""
        number = int(self._pieces.piece_to_id(piece))
        return None if number == self._pieces.unk_id() else number

    def piece(self, number: int) -> str:
        """Return the text of a token, such as `<bos>`."""
        return str(self._pieces.id_to_piece(number))

    def encode(self, text: str, **_: Any) -> list[int]:
        """Return the token ids, without begin and end tokens; a turn's mark is one token."""
        ids: list[int] = []
        for part in self._marks.split(text) if self._marks else [text]:
            mark = self._mark_ids.get(part)
            ids.extend(self._pieces.encode(part) if mark is None else [mark])
        return ids

    def decode(self, ids: list[int], **_: Any) -> str:
        """Return the text without padding, begin, end and turn marks."""
        # The embedding may have more rows than there are tokens, and a barely trained model may generate one of those.
        return str(
            self._pieces.decode([int(number) for number in ids if number < self.size and number not in self._mute])
        )

    def pad_id(self) -> int:
        return int(self._pieces.pad_id())

    def eos_id(self) -> int:
        return int(self._pieces.eos_id())

    def bos_id(self) -> int | None:
        """Return the id of the token that begins a text; None if the family has none: Tunix then adds no token."""
        return int(self._pieces.bos_id())

    def unknown_id(self) -> int | None:
        """Return the id of the token for unknown text; None if every text can be encoded."""
        return int(self._pieces.unk_id())

    @cached_property
    def _pieces(self) -> Any:
        import sentencepiece

        pieces = sentencepiece.SentencePieceProcessor()
        try:
            pieces.LoadFromSerializedProto(self._model)
        except RuntimeError as error:
            raise ValueError(f"SentencePiece cannot read it ({str(error).strip() or 'no reason given'})") from error
        return pieces

    @cached_property
    def _mute(self) -> frozenset[int]:
        marks = (self.piece_id(mark) for mark in (*self._tokens.turns, *self._tokens.more_stops))
        return frozenset({self.pad_id(), self.eos_id(), *self.begin, *(mark for mark in marks if mark is not None)})

    @cached_property
    def _mark_ids(self) -> dict[str, int]:
        """Turn marks that SentencePiece does not find in a text by itself; in Gemma's own file it
        does (they are user-defined)."""
        found = {mark: self.piece_id(mark) for mark in self._tokens.turns}
        return {
            mark: number for mark, number in found.items() if number is not None and self._pieces.is_control(number)
        }

    @cached_property
    def _marks(self) -> re.Pattern[str] | None:
        return re.compile(f"({'|'.join(map(re.escape, self._mark_ids))})") if self._mark_ids else None


class JsonTokenizer(Tokenizer):
    """Tokenizer from the bytes of a tokenizer.json, which finds the special tokens of its family by their texts."""

    def _require_special(self) -> None:
        needed: list[Iterable[str]] = [self._tokens.padding, [self._tokens.end], [self._tokens.turns[1]]]
        needed += [[self._tokens.begin]] if self._tokens.begin else []
        for pieces in needed:
            if self._first(pieces) is None:
                raise ValueError(f"it has no token {' or '.join(pieces)}")

    @property
    def size(self) -> int:
        return 1 + int(max(self._pieces.get_vocab(with_added_tokens=True).values()))

    def piece_id(self, piece: str) -> int | None:
        number = self._pieces.token_to_id(piece)
        return None if number is None else int(number)

    def piece(self, number: int) -> str:
        return str(self._pieces.id_to_token(number))

    def encode(self, text: str, **_: Any) -> list[int]:
        return list(self._pieces.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        return str(self._pieces.decode([int(number) for number in ids], skip_special_tokens=True))

    def pad_id(self) -> int:
        return self._required(self._tokens.padding)

    def eos_id(self) -> int:
        return self._required([self._tokens.end])

    def bos_id(self) -> int | None:
        return self._required([self._tokens.begin]) if self._tokens.begin else None

    def unknown_id(self) -> int | None:
        return None  # byte-level: every text can be encoded

    def _first(self, pieces: Iterable[str]) -> int | None:
        found = (self.piece_id(piece) for piece in pieces)
        return next((number for number in found if number is not None), None)

    def _required(self, pieces: Iterable[str]) -> int:
        number = self._first(pieces)
        assert number is not None, "checked when the tokenizer was made"
        return number

    @cached_property
    def _pieces(self) -> Any:
        import tokenizers

        try:
            pieces = tokenizers.Tokenizer.from_buffer(self._model)
        except Exception as error:  # the library raises the base class
            raise ValueError(f"it is not a tokenizer.json ({str(error).strip() or 'no reason given'})") from error
        pieces.no_padding()
        pieces.no_truncation()
        return pieces


def read(path: Path, kind: str = "gemma2") -> Tokenizer:
    """Read a tokenizer of a kind of model from a file; raises StageFailed `model-damaged` if it is invalid."""
    family = family_of(kind)
    made = Tokenizer if family.tokenizer_file == SENTENCEPIECE else JsonTokenizer
    try:
        return made(path.read_bytes(), family.tokens)
    except ValueError as error:
        raise StageFailed(
            "model-damaged", f"{path} is not a tokenizer that a {family.title} model can use: {error}"
        ) from error
