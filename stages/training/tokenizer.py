"""SentencePiece tokenizer of the model, with the interface that Tunix expects."""

import hashlib
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.stage import StageFailed

TURNS = ("<start_of_turn>", "<end_of_turn>")
"""Marks of Gemma's chat template; each must be a single token."""


class Tokenizer:
    """Converts text to token ids and back, using a SentencePiece model; copies and pickles as the model's bytes.

    No tokens are added to a text: callers that need `bos_id` or `eos_id` add them (Tunix's
    sampler adds the first itself).
    """

    def __init__(self, model: bytes) -> None:
        """Raises ValueError if `model` is not a SentencePiece model with padding, begin and end tokens."""
        self._model = model
        if min(self.pad_id(), self.eos_id(), self.bos_id()) < 0:
            raise ValueError("it has no piece for padding, for the begin or for the end of a text")
        if self.pad_id() != 0:  # Tunix's models and samplers take token 0 for padding
            raise ValueError(f"its padding is token {self.pad_id()}, and has to be token 0: take a Gemma's tokenizer")

    def __getstate__(self) -> dict[str, Any]:
        return {"_model": self._model}

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the SentencePiece model's bytes, in hexadecimal."""
        return hashlib.sha256(self._model).hexdigest()

    @property
    def size(self) -> int:
        """Number of tokens; the model's embedding may have a few more rows."""
        return int(self._pieces.get_piece_size())

    @property
    def stops(self) -> tuple[int, ...]:
        """Tokens that end an answer: the end of the text and, if it is a single token, the end of the turn."""
        turn = self.piece_id(TURNS[1])
        return (self.eos_id(),) if turn is None else (self.eos_id(), turn)

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

    def bos_id(self) -> int:
        return int(self._pieces.bos_id())

    def unknown_id(self) -> int:
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
        turns = (self.piece_id(mark) for mark in TURNS)
        return frozenset({self.pad_id(), self.bos_id(), self.eos_id(), *(turn for turn in turns if turn is not None)})

    @cached_property
    def _mark_ids(self) -> dict[str, int]:
        """Turn marks that SentencePiece does not find in a text by itself; in Gemma's own file it
        does (they are user-defined)."""
        found = {mark: self.piece_id(mark) for mark in TURNS}
        return {
            mark: number for mark, number in found.items() if number is not None and self._pieces.is_control(number)
        }

    @cached_property
    def _marks(self) -> re.Pattern[str] | None:
        return re.compile(f"({'|'.join(map(re.escape, self._mark_ids))})") if self._mark_ids else None


def read(path: Path) -> Tokenizer:
    """Read a tokenizer from a file; raises StageFailed `model-damaged` if it is invalid."""
    try:
        return Tokenizer(path.read_bytes())
    except ValueError as error:
        raise StageFailed("model-damaged", f"{path} is not a tokenizer that a Gemma model can use: {error}") from error
