"""Hugging Face's tokenizers read a Gemma's pieces as SentencePiece does: the same tokens for the same text."""

from pathlib import Path

import pytest
import sentencepiece

from orchestrator.rehearsal.local_kaggle.stand_ins.tokenizer import write_tokenizer
from stages.formats.tokenizer_json import Piece, merges, pieces_of, tokenizer_json
from stages.training.tokenizer import Tokenizer

tokenizers = pytest.importorskip("tokenizers", reason="pip install tokenizers")

ROOT = Path(__file__).parents[2]
ODD = [
    "",
    "  two  spaces and three   ",
    "ünïcödé 🤖 日本 \u200b",
    "a\n\n\nb\n c\r\n",
    "\t\ttabs\tand 1234.50",
    "<table></h1> <reasoning>x</reasoning>",
    "<start_of_turn>user\nWhat is 1 + 2?<end_of_turn>\n<start_of_turn>model\n",
    "a <end_of_turn> in the middle<end_of_turn>",
]


def paragraphs() -> list[str]:
    return [text for page in sorted((ROOT / "docs").glob("*.md")) for text in page.read_text("utf-8").split("\n\n")]


@pytest.fixture(scope="module")
def gemma_like(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A tokenizer that is trained as Gemma's: byte-pair encoding with bytes, digits apart, and runs of blanks as tokens."""
    folder = tmp_path_factory.mktemp("pieces")
    (folder / "text").write_text("\n".join(text.replace("\n", " ") for text in paragraphs()), encoding="utf-8")
    runs = [character * count for character in "\n▁\t" for count in range(1 + (character == "▁"), 9)]
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"),
        model_prefix=str(folder / "m"),
        model_type="bpe",
        vocab_size=1500,
        byte_fallback=True,
        split_digits=True,
        user_defined_symbols=["<start_of_turn>", "<end_of_turn>", "<table>", "</h1>", *runs],
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return (folder / "m.model").read_bytes()


@pytest.mark.slow
def test_a_gemma_like_tokenizer_gives_the_same_tokens(gemma_like: bytes) -> None:
    ours, theirs = Tokenizer(gemma_like), read(gemma_like)
    for text in [*paragraphs(), *ODD]:
        ids = ours.encode(text)
        assert theirs.encode(text, add_special_tokens=False).ids == ids, text
        assert theirs.encode(text).ids == [*ours.begin, *ids]
        assert theirs.decode(ids, skip_special_tokens=False) == text.replace("▁", " ")  # ▁ is a blank for both


def test_the_rehearsals_tokenizer_gives_the_same_tokens(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "m")
    model = (tmp_path / "m").read_bytes()
    ours, theirs = Tokenizer(model), read(model)
    # A control token in a text is text for SentencePiece, and a token for Hugging Face, whatever the model.
    texts = [text for text in [*paragraphs(), *ODD] if text.isascii() and "<eos>" not in text and "<bos>" not in text]
    assert len(texts) > 100
    for text in texts:
        assert theirs.encode(text, add_special_tokens=False).ids == ours.encode(text), text


def read(model: bytes) -> "tokenizers.Tokenizer":
    return tokenizers.Tokenizer.from_str(tokenizer_json(pieces_of(model), Tokenizer(model).begin[0]))


def test_better_pieces_are_merged_first_and_only_normal_ones() -> None:
    pieces = [Piece(text, -float(number), 1) for number, text in enumerate(["a", "b", "ab", "aba", "abab"])]
    assert merges([*pieces, Piece("ba", 0.0, 4)]) == [["a", "b"], ["ab", "a"], ["a", "ba"], ["aba", "b"], ["ab", "ab"]]
