"""Prepare the model and the data sets of `benchmarks.throughput`: cut, taught the format, kept for the next time.

A base model, and even more so a cut one, never ends an answer. So it is trained for some steps on GSM8K and MBPP with
relay's own SFT stage, all weights, at a high learning rate: what it writes stays wrong, but it has the form of an answer,
about its length, and ends. GRPO and evaluation begin from there, on both sides.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bare import Alone
from benchmarks.cut_model import cut
from stages import sft
from stages.contract import Cursor, StageSpec
from stages.data import Example
from stages.data.mounted import Brought
from stages.stage import OpenedCheckpoint
from stages.training.model import load
from stages.training.stage_data import tokens_of

STEPS = 200
LENGTHS = ("max_seq_length", "max_prompt_length", "max_completion_length", "overlong_buffer")
"""Options that are lengths in tokens."""
FILES = {
    "gsm8k_train.jsonl": "gsm8k/train.jsonl",
    "gsm8k_test.jsonl": "gsm8k/test.jsonl",
    "mbpp.jsonl": "mbpp/mbpp.jsonl",
}
"""Files of `--data` and their places below `inputs`."""
EQUAL_ROWS = "equal_rows.jsonl"
"""Own data file whose examples all have the greatest length: there is no padding to save."""
EQUAL_COUNT = 320
WORDS = ("one", "time", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school")


@dataclass(frozen=True)
class TaughtModel:
    """The model as the pipeline's `model:` section, and the checkpoint of the stage that taught it."""

    model: Mapping[str, Any]
    checkpoint: OpenedCheckpoint


def make(
    folder: Path, data: Path, root: Path, *, layers: int | None, rows: int | None, steps: int, length: int
) -> TaughtModel:
    """Prepare everything below `root`, except what a call with the same arguments has left there.

    `length` is that of the rows of `EQUAL_ROWS` in tokens. Raises SystemExit if a file is missing, or if `root` holds
    something made with other arguments.
    """
    _require_same(root / "made_with.json", [str(folder.absolute()), layers, rows, steps, length])
    source = folder
    if layers or rows:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        source = root / "model"
        if not source.is_dir():
            cut(folder, source, layers or config["num_hidden_layers"], rows or config["vocab_size"])
    model = {"kind": "gemma3", "source": str(source.absolute())}
    for name, place in FILES.items():
        if not (data / name).is_file():
            raise SystemExit(f"{data} has no {name}: name a folder with the public GSM8K and MBPP files in --data")
        (root / "inputs" / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / name, root / "inputs" / place)
    _write_equal_rows(root / "inputs" / EQUAL_ROWS, model, root, length)
    return TaughtModel(model, _taught(model, root, steps))


def brought(root: Path) -> Brought:
    """Return what a pipeline with `EQUAL_ROWS` under `inputs.files` would list."""
    digest = hashlib.sha256((root / "inputs" / EQUAL_ROWS).read_bytes()).hexdigest()
    return Brought(files={EQUAL_ROWS: digest}, problems=frozenset({EQUAL_ROWS}))


def _require_same(path: Path, arguments: list[Any]) -> None:
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != arguments:
        raise SystemExit(f"{path.parent} holds a model made with other arguments: name another folder in --work")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(arguments), encoding="utf-8")


def _taught(model: Mapping[str, Any], root: Path, steps: int) -> OpenedCheckpoint:
    done = root / "taught.json"
    opened = OpenedCheckpoint(Cursor(stage="taught", step=steps), root / "taught")
    if not done.is_file():
        shutil.rmtree(root / "taught", ignore_errors=True)  # left by a process that was killed
        options = {
            "data": ["gsm8k", "mbpp"],
            "batch": 8,
            "max_seq_length": 512,
            "learning_rate": 1e-3,
            "guard_spike": 0,
        }
        spec = StageSpec(name="taught", kind="sft", steps=steps, options=options)
        sft.train(context := Alone(spec, (spec,), model, 0, root, None))
        done.write_text(json.dumps(dict(context.metrics)), encoding="utf-8")
    print(f"taught for {steps} steps: loss {json.loads(done.read_text(encoding='utf-8'))['loss']:.3f}", flush=True)
    return opened


def _write_equal_rows(path: Path, model: Mapping[str, Any], root: Path, length: int) -> None:
    foundation = load(model, root / "inputs", root)

    def row(number: int, count: int) -> dict[str, str]:
        words = " ".join(WORDS[(number + place) % len(WORDS)] for place in range(count))
        completion = f"<reasoning>{words}</reasoning><answer>{number}</answer>"
        return {"prompt": f"Write down the words of list {number}.", "completion": completion}

    def tokens(made: Mapping[str, str]) -> int:
        return len(tokens_of(Example(EQUAL_ROWS, made["prompt"], made["completion"]), foundation)[0])

    rows = []
    for number in range(EQUAL_COUNT):
        made = row(number, count := 1)
        while (missing := length - tokens(made)) > 0:
            made = row(number, count := count + missing)
        rows += [made] if missing == 0 else []
    if len(rows) < EQUAL_COUNT // 2:
        raise SystemExit(f"the tokenizer has more than one token for some of {', '.join(WORDS)}")
    path.write_text("".join(json.dumps(made) + "\n" for made in rows), encoding="utf-8")
