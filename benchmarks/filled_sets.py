"""Made-up data sets whose examples are as long as a stage allows, so that its rows have the shapes that are planned."""

from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from orchestrator.rehearsal.local_kaggle.stand_ins import columns
from stages.data import adapters
from stages.data.order import derive_seed
from stages.options import Model
from stages.training import tokenizer
from stages.training.stage_data import prompt_length, tokens_of

ROWS = 32
WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
SETS = {
    "magpie": "Magpie-Reasoning-V2-250K-CoT-Deepseek-R1-Llama-70B/data/train",
    "gsm8k": "gsm8k/main/train",
    "gsm8k test": "gsm8k/main/test",
}

Row = dict[str, Any]


def write_filled(inputs: Path, model: Model, *, prompt: int, whole: int) -> None:
    """Write sets below `inputs` for a model of a folder.

    GSM8K's prompts have up to `prompt` tokens, and Magpie's examples up to `whole`, nearly all of which are learnt: a word
    more would be too long.
    """
    tokens = tokenizer.read(Path(model.source) / "tokenizer.model", model.kind)
    foundation: Any = SimpleNamespace(tokenizer=tokens, options=model, ending=tokens.eos_id())

    def taught_tokens(row: Row) -> int:
        return len(tokens_of(adapters.magpie(row), foundation)[0])

    def asked_tokens(row: Row) -> int:
        return prompt_length(adapters.gsm8k(row), foundation)

    magpie = [_filled(partial(_magpie, number), taught_tokens, whole, number) for number in range(ROWS)]
    asked = [_filled(partial(_gsm8k, number), asked_tokens, prompt, number) for number in range(2 * ROWS)]
    for name, rows, schema in (
        ("magpie", magpie, columns.magpie()),
        ("gsm8k", asked[:ROWS], columns.gsm8k()),
        ("gsm8k test", asked[ROWS:], columns.gsm8k()),
    ):
        columns.write(inputs / f"{SETS[name]}-00000-of-00001.parquet", rows, schema)


def _magpie(number: int, words: str) -> Row:
    thought = f"<think>\n{words}\n</think>\n\n{number}"
    return columns.magpie_row(f"Say {number}.", thought, difficulty="easy", category="Math")


def _gsm8k(number: int, words: str) -> Row:
    return {"question": f"{number}: {words}?", "answer": f"{number}\n#### {number}"}


def _filled(made: Callable[[str], Row], length: Callable[[Row], int], tokens: int, seed: int) -> Row:
    """Return the row with as many words as fit into `tokens`; raises ValueError if none fits."""
    words = [WORDS[derive_seed(seed, "word", number) % len(WORDS)] for number in range(tokens)]
    most = bisect_right(range(tokens + 1), tokens, key=lambda most: length(made(" ".join(words[:most])))) - 1
    if most < 1:
        raise ValueError(f"rows of {tokens} tokens hold no word beside what every row has")
    return made(" ".join(words[:most]))
