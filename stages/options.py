"""The options of each kind of stage and of a model: plain dataclasses, so the laptop checks what the session will read."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

Options = TypeVar("Options")


@dataclass(frozen=True, kw_only=True)
class Counting:
    """Counts. Rehearses a chain without JAX."""

    step_s: float = 0.0
    """Seconds that each step takes."""
    payload_bytes: int = 64
    """Size of the state that each checkpoint carries."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """The model that a pipeline trains. `tiny-gemma2` is made on the spot, a pure function of these options."""

    kind: str = "tiny-gemma2"
    seed: int = 0
    """Of the first weights."""
    layers: int = 2
    width: int = 64
    hidden: int = 256
    """Width of the feed-forward layer."""
    heads: int = 4
    kv_heads: int = 2
    """Fewer than `heads`: the grouped attention of Gemma 2."""
    head_width: int = 16
    mesh_fsdp: int = 1
    """Devices along which weights and batches are split."""
    mesh_tp: int = 1
    """Devices along which each layer is split."""

    def __post_init__(self) -> None:
        _require(
            self.layers >= 2 and self.layers % 2 == 0, "layers", "an even number: local and global attention alternate"
        )
        _require(
            0 < self.kv_heads < self.heads and self.heads % self.kv_heads == 0, "kv_heads", "a proper divisor of heads"
        )
        _require(
            self.head_width > 0 and self.head_width % 2 == 0, "head_width", "even, since rotary positions pair channels"
        )
        _require(
            min(self.width, self.hidden, self.mesh_fsdp, self.mesh_tp) > 0,
            "width",
            "positive, as are hidden and mesh_*",
        )


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What every stage that trains has: which weights, from which data, with which optimizer."""

    data: str = "sums:30"
    """Where examples come from: `sums:N` makes sums of two numbers below N (10 to 100) on the spot; else a `.jsonl` file
    that `inputs.files` lists."""
    batch: int = 64
    """Examples (for reinforcement learning: prompts) in a step."""
    accumulate: int = 1
    """Parts that a batch is cut into, one after the other, for less memory."""
    mode: str = "full"
    """`full` trains every weight, `lora` a low-rank adapter beside frozen weights."""
    lora_rank: int = 8
    lora_alpha: float = 16.0
    """The adapter's product is scaled by `lora_alpha / lora_rank`."""
    lora_targets: str = ".*q_einsum|.*kv_einsum|.*gate_proj|.*down_proj|.*up_proj|.*attn_vec_einsum"
    """Modules that get an adapter: a regular expression over their paths."""
    learning_rate: float = 3e-3
    schedule: str = "cosine"
    """After the warm-up: `constant`, `linear` or `cosine` decay over the stage's steps."""
    warmup_steps: int = 10
    final_share: float = 0.1
    """Where the decay ends, as a share of `learning_rate`."""
    b1: float = 0.9
    b2: float = 0.99
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    """Gradients are scaled down to this norm."""

    def __post_init__(self) -> None:
        _require_data(self.data)
        _require(self.batch > 0, "batch", "positive")
        _require(self.accumulate > 0 and self.batch % self.accumulate == 0, "accumulate", "a divisor of batch")
        _require(self.mode in ("full", "lora"), "mode", "full or lora")
        _require(self.lora_rank > 0, "lora_rank", "positive")
        _require(self.schedule in ("constant", "linear", "cosine"), "schedule", "constant, linear or cosine")
        _require(self.warmup_steps >= 0, "warmup_steps", "not negative")
        _require(self.learning_rate > 0 and self.clip_norm > 0, "learning_rate", "positive, as is clip_norm")


@dataclass(frozen=True, kw_only=True)
class Sft(Trained):
    """Learns from worked examples."""

    tokens_max: int = 32
    """Prompt and completion together; an example that is longer stops the stage."""
    noise: float = 0.0
    """Share of examples that teach a mistake: a rehearsal's model should leave something to learn."""
    noise_hard: float = 0.0
    """The same for hard problems."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("noise", "noise_hard"):
            _require(0.0 <= getattr(self, key) <= 1.0, key, "a share between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Grpo(Trained):
    """Learns from rewards of its own answers (Group Relative Policy Optimization, arXiv:2402.03300)."""

    batch: int = 8
    mode: str = "lora"
    generations: int = 8
    """Answers to each prompt, judged against each other."""
    prompt_tokens_max: int = 12
    answer_tokens_max: int = 24
    temperature: float = 1.0
    top_k: int = 0
    """Likeliest tokens to draw from; 0 is all of them."""
    beta: float = 0.04
    """Weight of the divergence from the model that the stage began with; 0 leaves that model out."""
    epsilon: float = 0.2
    """Clipping of the policy's change."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.generations > 1, "generations", "at least 2: an answer is judged against its group")
        _require(min(self.prompt_tokens_max, self.answer_tokens_max) > 0, "prompt_tokens_max", "positive")
        _require(self.temperature > 0, "temperature", "positive")
        _require(self.beta >= 0 and self.epsilon > 0, "beta", "not negative, and epsilon positive")


@dataclass(frozen=True, kw_only=True)
class Continued(Grpo):
    """Grpo on the hard problems. Without replay of the others, format and easy problems are forgotten."""

    replay: float = 0.5
    """Share of prompts drawn from all training problems."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(0.0 <= self.replay <= 1.0, "replay", "a share between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Asks problems that were never trained on, one greedy answer each."""

    data: str = "sums:30"
    batch: int = 64
    """Problems in a step."""
    prompt_tokens_max: int = 12
    answer_tokens_max: int = 24

    def __post_init__(self) -> None:
        _require_data(self.data)
        _require(
            min(self.batch, self.prompt_tokens_max, self.answer_tokens_max) > 0,
            "batch",
            "positive, as are *_tokens_max",
        )


def fit(kind: type[Options], values: Mapping[str, Any], where: str) -> Options:
    """The dataclass with these values; raises ValueError with one sentence that names `where`, the key and the remedy."""
    known: dict[str, Any] = {field.name: field.type for field in fields(kind)}  # type: ignore[arg-type]
    unknown = [key for key in values if key not in known]
    if unknown:
        raise ValueError(f"{where}.{unknown[0]} is not an option; there are {', '.join(sorted(known))}")
    given = {key: _read(known[key], value, f"{where}.{key}") for key, value in values.items()}
    try:
        return kind(**given)
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from error


def _read(wanted: type, value: Any, where: str) -> Any:
    if wanted is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)  # text too: YAML reads 3e-6, without a point, as text
        except ValueError as error:
            raise ValueError(f"{where} should be a number, found {value!r}") from error
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise ValueError(f"{where} should be {wanted.__name__}, found {value!r}")
    return value


def _require_data(name: str) -> None:
    kind, _, number = name.partition(":")
    made = kind == "sums" and number.isascii() and number.isdecimal() and 10 <= int(number) <= 100
    _require(
        made or name.endswith(".jsonl"),
        "data",
        "sums:N with N from 10 to 100, or the name of a .jsonl file that inputs.files lists",
    )


def _require(fits: bool, key: str, remedy: str) -> None:
    if not fits:
        raise ValueError(f"{key} should be {remedy}")
