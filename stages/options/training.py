"""What the stages' `options:` may say."""

import re
from dataclasses import dataclass, field

from stages.options.reading import require

SETS = ("magpie", "ultrafeedback", "gsm8k", "mbpp")
"""The data sets that relay can read; `stages.data.sets` says where they come from."""

REWARDS = ("structure", "correctness")
USERS_OWN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True, kw_only=True)
class Counting:
    """Counts. Rehearses a chain without JAX."""

    step_s: float = 0.0
    """Seconds that each step takes."""
    payload_bytes: int = 64
    """Size of the state that each checkpoint carries."""


@dataclass(frozen=True, kw_only=True)
class Guards:
    """When to stop because training went wrong; a share of 0 turns a guard off."""

    guard_steps: int = 50
    """Steps that are looked back at."""
    guard_spike: float = 5.0
    """A loss so many times its usual deviation above its median ends the session, if it lasts for five steps."""
    guard_collapse: float = 0.5
    """Accuracy below this share of its best average, while format is not below its own, ends the session."""
    guard_idle: float = 1.0
    """This share of groups without a difference in all of the last `guard_steps` steps ends the session: nothing is learnt."""

    def __post_init__(self) -> None:
        require(self.guard_steps >= 10, "guard_steps", "at least 10")
        require(self.guard_spike >= 0, "guard_spike", "not negative; 0 turns the guard off")
        for key in ("guard_collapse", "guard_idle"):
            require(0.0 <= getattr(self, key) <= 1.0, key, "a share between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Trained(Guards):
    """What every stage that trains has: which weights, from which data, with which optimizer."""

    data: tuple[str, ...] = ("gsm8k",)
    """Sets of examples, each `name` or `name:count` for at most so many of them: magpie, ultrafeedback, gsm8k, mbpp, or a
    `.jsonl` file that `inputs.files` lists."""
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
    check: int = 0
    """Problems asked whenever a session takes the stage up, so that the log tells what each session was worth; 0: none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_data(self.data)
        require(self.batch > 0, "batch", "positive")
        require(self.accumulate > 0 and self.batch % self.accumulate == 0, "accumulate", "a divisor of batch")
        require(self.mode in ("full", "lora"), "mode", "full or lora")
        require(self.lora_rank > 0, "lora_rank", "positive")
        require(self.schedule in ("constant", "linear", "cosine"), "schedule", "constant, linear or cosine")
        require(min(self.warmup_steps, self.check) >= 0, "warmup_steps", "not negative, as is check")
        require(self.learning_rate > 0 and self.clip_norm > 0, "learning_rate", "positive, as is clip_norm")


@dataclass(frozen=True, kw_only=True)
class Sft(Trained):
    """Learns from worked examples."""

    tokens_max: int = 1024
    """Prompt and completion together; longer examples are left out and counted."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How problems are put to the model."""

    prompt_tokens_max: int = 256
    """Problems with longer prompts are left out and counted."""
    answer_tokens_max: int = 768

    def __post_init__(self) -> None:
        require(min(self.prompt_tokens_max, self.answer_tokens_max) > 0, "prompt_tokens_max", "positive")


@dataclass(frozen=True, kw_only=True)
class Sampling(Asking):
    """How answers are drawn."""

    temperature: float = 1.0
    top_k: int = 0
    """Likeliest tokens to draw from; 0 is all of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.temperature > 0, "temperature", "positive")
        require(self.top_k >= 0, "top_k", "not negative; 0 draws from all tokens")


@dataclass(frozen=True, kw_only=True)
class Grpo(Trained, Sampling):
    """Learns from rewards of its own answers (Group Relative Policy Optimization, arXiv:2402.03300)."""

    batch: int = 8
    mode: str = "lora"
    generations: int = 8
    """Answers to each prompt, judged against each other."""
    beta: float = 0.04
    """Weight of the divergence from the model that the stage began with; 0 leaves that model out."""
    epsilon: float = 0.2
    """Clipping of the policy's change."""
    rewards: dict[str, float] = field(default_factory=lambda: {"structure": 1.0, "correctness": 1.0})
    """Weight of each reward: structure, correctness, or one of your own, `module:function`."""
    show_every: int = 25
    """Every so many steps the log shows a prompt with its best and its worst answer; 0: never."""

    def __post_init__(self) -> None:
        Trained.__post_init__(self)
        Sampling.__post_init__(self)
        require(self.generations > 1, "generations", "at least 2: an answer is judged against its group")
        require(self.beta >= 0 and self.epsilon > 0, "beta", "not negative, and epsilon positive")
        require(self.show_every >= 0, "show_every", "not negative; 0 shows nothing")
        known = all(name in REWARDS or USERS_OWN.fullmatch(name) for name in self.rewards)
        require(known and bool(self.rewards), "rewards", f"weights of {', '.join(REWARDS)} or module:function")


@dataclass(frozen=True, kw_only=True)
class Continued(Grpo):
    """Grpo on the hard problems that the last `curate` stage chose. Without replay of others, format and easy ones suffer."""

    replay: float = 0.5
    """Share of prompts drawn from all training problems."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0.0 <= self.replay <= 1.0, "replay", "a share between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Curate(Sampling):
    """Chooses the hard problems: those that the model, as it is now, solves in some but not in most of its tries."""

    data: tuple[str, ...] = ("gsm8k",)
    batch: int = 16
    """Problems in a step; `steps` times `batch` of them are tried."""
    generations: int = 4
    """Tries at each problem."""
    solved_max: float = 0.5
    """A problem solved in a larger share of its tries is not hard."""
    hard_min: int = 8
    """With fewer hard problems than this, the unsolved ones with the hardest labels and longest solutions are added."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_data(self.data)
        require(self.batch > 0, "batch", "positive")
        require(self.generations > 1, "generations", "at least 2: some but not most of them have to succeed")
        require(0.0 < self.solved_max < 1.0, "solved_max", "a share between 0 and 1")
        require(self.hard_min > 0, "hard_min", "positive: continued training needs a problem to go on with")


@dataclass(frozen=True, kw_only=True)
class Evaluate(Asking):
    """Asks problems that were never trained on, one greedy answer each."""

    data: tuple[str, ...] = ("gsm8k",)
    batch: int = 64
    """Problems in a step; no problem is asked twice, however many steps there are."""
    transcripts: int = 100
    """Answers that are kept to be read, the wrong ones first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_data(self.data)
        require(self.batch > 0, "batch", "positive")
        require(self.transcripts >= 0, "transcripts", "not negative")


def require_data(names: tuple[str, ...]) -> None:
    """Raise ValueError unless these name sets of examples."""
    remedy = f"a list of {', '.join(SETS)} (each alone or with a number, gsm8k:500) or .jsonl files of inputs.files"
    require(bool(names) and all(_is_set(name) for name in names), "data", remedy)


def set_and_count(name: str) -> tuple[str, int]:
    """(`gsm8k`, 500) for `gsm8k:500`; a count of 0 means all."""
    found, _, count = name.partition(":")
    return found, int(count or 0)


def _is_set(name: str) -> bool:
    found, colon, count = name.partition(":")
    number = not colon or (count.isascii() and count.isdecimal() and int(count) > 0)
    return number and (found in SETS or found.endswith(".jsonl"))
