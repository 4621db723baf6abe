"""Hugging Face's own libraries compute with an export what the session computed: logits, and greedy answers token by token.

They live in an environment of their own, since their versions differ from a session's: `make oracle` makes it.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tunix.generate.sampler import CacheConfig, Sampler

from stages.data import prompt_of
from stages.formats.exporting import Exporter
from stages.options import Export
from stages.training import checkpoints
from stages.training.checkpoints import TrainingState, Weights
from stages.training.families import without_remat
from tests.real import real_model
from tests.training.conftest import THIRD_PARTY_WARNINGS
from tests.training.exports import Trained, trained, trained_from

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-oracle" / "bin" / "python"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON.is_file(), reason="transformers, PEFT and PyTorch are not here: make oracle (1.3 GB)"
    ),
    *(pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY_WARNINGS),
]

TOKENS = [3 + 7 * number % 150 for number in range(600)]
"""More than Gemma 3's window of 512 tokens."""
QUESTIONS = [f"What is {number} + {3 * number}?" for number in range(20)]
LONGEST, PROMPT_TOKENS = 10, 128
CLOSE = 1e-5
"""Largest difference of a logit, as a share of the largest logit: some tens of float32's roundings."""
REAL_CLOSE = 5e-5
"""The same of a real model: 18 layers, and sums over 640 to 262,144 numbers."""

LIKE_4B = {"layers": 34, "width": 2560, "hidden": 32, "heads": 2, "kv_heads": 1, "head_width": 16}
"""Sizes for which Tunix takes the attention of Gemma 3 4B: 17 million weights."""
CASES = {
    "gemma2": ("gemma2", "flax", {"adapters": 2}),
    "gemma2, as many heads for keys": ("gemma2", "transformers", {"adapters": 1, "kv_heads": 2}),
    "gemma3": ("gemma3", "transformers", {"adapters": 2, "layers": 6}),
    "gemma3, as many heads for keys": ("gemma3", "flax", {"adapters": 1, "kv_heads": 2, "layers": 6}),
    "gemma2, every weight": ("gemma2", "flax", {"adapters": 0, "full": True}),
    "gemma3, with the scaled positions of 4b": ("gemma3", "transformers", {"adapters": 0, "full": True, **LIKE_4B}),
    "qwen2.5": ("qwen2.5", "transformers", {"adapters": 2}),
    "qwen3": ("qwen3", "transformers", {"adapters": 1, "kv_heads": 2}),
    "llama3.2": ("llama3.2", "transformers", {"adapters": 2, "width": 32, "heads": 4, "kv_heads": 2, "head_width": 16}),
}


@pytest.mark.parametrize("case", CASES)
def test_transformers_and_peft_compute_what_the_session_computed(case: str, tmp_path: Path) -> None:
    kind, layout, options = CASES[case]
    model = trained(tmp_path, kind, layout, **options)
    agree(model, tmp_path, bool(options["adapters"]), CLOSE, varied="layers" not in options or options["layers"] < 34)


def test_they_compute_what_the_session_computed_with_a_real_gemma(tmp_path: Path) -> None:
    folder = real_model()
    values = {"kind": "gemma3-270m", "source": str(folder), "system": "Think.", "dtype": "float32"}
    model = trained_from(values, tmp_path, adapters=1)
    agree(model, tmp_path, True, REAL_CLOSE)


def agree(model: Trained, tmp_path: Path, adapter: bool, close: float, *, varied: bool = True) -> None:
    """Export the model, and compare what both sides compute with it; a deep random model may say the same to everything."""
    model.exporter().export(Export(), tmp_path / "merged")
    if adapter:
        model.exporter().export(Export(format="peft"), tmp_path / "peft")
        export_base(model, tmp_path)
    logits, said = asked_oracle(tmp_path, adapter)
    wanted = logits_of(model)
    for name in ("logits", "adapted") if adapter else ("logits",):
        differ, largest = np.abs(logits[name] - wanted).max(), np.abs(wanted).max()
        print(f"{name} of ±{largest:.2g} differ by {differ:.1e}")
        assert differ < close * largest
    pieces, kind = model.merged.tokenizer, model.options.kind
    begin, asked = model.options.family.tokens.begin, [prompt_of(question, "Think.", kind) for question in QUESTIONS]
    assert said["prompts"] == [f"{begin}{prompt}" for prompt in asked]
    assert said["ids"] == [[*pieces.begin, *pieces.encode(prompt)] for prompt in asked]
    answers = answers_of(model)
    assert not varied or len({tuple(answer) for answer in answers}) > 1, (
        "answers that are all the same would show little"
    )
    for name in ("answers", "adapted") if adapter else ("answers",):
        assert [without_stop(answer, model) for answer in said[name]] == answers, name


def export_base(model: Trained, folder: Path) -> None:
    """The untrained model, over which PEFT puts the adapter."""
    (folder / "untrained").mkdir()
    checkpoints.write(TrainingState(Weights(), model.state.made), folder / "untrained")
    exporter = model.exporter()
    Exporter(folder / "untrained", exporter.options, exporter.origin, exporter.find_files).export(
        Export(), folder / "base"
    )


def asked_oracle(folder: Path, adapter: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    order = {
        "model": str(folder / "merged"),
        "base": str(folder / "base"),
        "adapter": str(folder / "peft") if adapter else "",
        "tokens": TOKENS,
        "questions": QUESTIONS,
        "longest": LONGEST,
    }
    done = subprocess.run(
        [str(PYTHON), "-W", "ignore", str(Path(__file__).with_name("reads_exports.py")), str(folder / "said.npz")],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(np.load(folder / "said.npz")), json.loads((folder / "said.json").read_text(encoding="utf-8"))


def logits_of(model: Trained) -> np.ndarray[Any, Any]:
    count = len(TOKENS)
    graph, state = nnx.split(model.merged.model)
    mask = jnp.tril(jnp.ones((count, count), bool))[None]
    tokens, places = jnp.array(TOKENS)[None], jnp.arange(count)[None]
    return np.asarray(jax.jit(lambda state: nnx.merge(graph, state)(tokens, places, None, mask)[0])(state))[0]


def answers_of(model: Trained) -> list[list[int]]:
    """The session's greedy answers in tokens, without what ends them."""
    foundation, config = model.merged, model.merged.model.config
    with without_remat(foundation.model):
        cache = CacheConfig(PROMPT_TOKENS + LONGEST, config.num_layers, config.num_kv_heads, config.head_dim)
        sampler = Sampler(foundation.model, foundation.tokenizer, cache)
    out = sampler(
        input_strings=[prompt_of(question, "Think.", model.options.kind) for question in QUESTIONS],
        max_generation_steps=LONGEST,
        max_prompt_length=PROMPT_TOKENS,
        temperature=0.0,
        eos_tokens=list(foundation.stops),
    )
    return [[int(token) for token in tokens] for tokens in out.tokens]


def without_stop(answer: list[int], model: Trained) -> list[int]:
    stops = [place for place, token in enumerate(answer) if token in model.merged.tokenizer.stops]
    return answer[: stops[0]] if stops else answer
