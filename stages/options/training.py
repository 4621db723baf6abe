"""What the stages' `options:` may say."""

from dataclasses import dataclass, field
from typing import Annotated

from stages.options.rules import (
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    Rule,
    ValidatedOptions,
    at_least,
    not_negative,
    one_of,
    require,
)

SETS = ("magpie", "ultrafeedback", "gsm8k", "mbpp")
"""The data sets that relay can read; `stages.data.registry` says where they come from."""

REWARDS = ("structure", "correctness")

DATA = Rule(
    remedy=f"a list of {', '.join(SETS)} (each alone or with a number, gsm8k:500) or .jsonl files of inputs.files",
    choices=SETS,
    form=rf"({'|'.join(SETS)}|[^:]*\.jsonl)(:0*[1-9][0-9]*)?",
)

WEIGHTS = Rule(
    remedy=f"weights of {', '.join(REWARDS)} or module:function",
    choices=REWARDS,
    form=r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*",
)

MOMENT = Rule(remedy="a share between 0 and 1, and not 1", least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class Counting(ValidatedOptions):
    """Counts. Rehearses a chain without JAX."""

    step_s: Annotated[float, NOT_NEGATIVE] = 0.0
    """Seconds that each step takes."""
    payload_bytes: Annotated[int, NOT_NEGATIVE] = 64
    """Size of the state that each checkpoint carries."""


@dataclass(frozen=True, kw_only=True)
class Guards(ValidatedOptions):
    """When to stop because training went wrong; a share of 0 turns a guard off."""

    guard_steps: Annotated[int, at_least(10)] = 50
    """Steps that are looked back at."""
    guard_spike: Annotated[float, not_negative("turns the guard off")] = 5.0
    """A loss so many times its usual deviation above its median ends the session, if it lasts for five steps."""
    guard_collapse: Annotated[float, SHARE] = 0.5
    """Accuracy below this share of its best average, while format is not below its own, ends the session."""
    guard_idle: Annotated[float, SHARE] = 1.0
    """This share of groups without a difference in all of the last `guard_steps` steps ends the session: nothing is learnt."""
    guard_vanish: Annotated[float, SHARE] = 0.5
    """Updates that lose this share or more of themselves when the weights are rounded, in five steps one after the other,
    end the session."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Guards):
    """What every stage that trains has: which weights, from which data, with which optimizer."""

    data: Annotated[tuple[str, ...], DATA] = ("gsm8k",)
    """Sets of examples, each `name` or `name:count` for at most so many of them: magpie, ultrafeedback, gsm8k, mbpp, or a
    `.jsonl` file that `inputs.files` lists."""
    batch: Annotated[int, POSITIVE] = 64
    """Examples (for reinforcement learning: prompts) in a step."""
    gradient_accumulation_steps: Annotated[int, POSITIVE] = 1
    """Parts that a batch is cut into, one after the other, for less memory; a divisor of `batch`. The gradient is that of the
    whole batch: another number of parts changes the order of summation and nothing else."""
    mode: Annotated[str, one_of("full", "lora")] = "full"
    """`full` trains every weight, `lora` a low-rank adapter beside frozen weights."""
    lora_rank: Annotated[int, POSITIVE] = 8
    """Rank of the adapter's two matrices: more of it learns more and takes more memory."""
    lora_alpha: Annotated[float, POSITIVE] = 16.0
    """The adapter's product is scaled by `lora_alpha / lora_rank`."""
    lora_targets: str = ".*q_einsum|.*kv_einsum|.*gate_proj|.*down_proj|.*up_proj|.*attn_vec_einsum"
    """Modules that get an adapter: a regular expression over their paths."""
    learning_rate: Annotated[float, POSITIVE] = 3e-3
    """AdamW's, at the end of the warm-up."""
    schedule: Annotated[str, one_of("constant", "linear", "cosine")] = "cosine"
    """After the warm-up: `constant`, `linear` or `cosine` decay over the stage's steps."""
    warmup_steps: Annotated[int, NOT_NEGATIVE] = 10
    """Steps in which the learning rate rises to its full value."""
    min_lr_ratio: Annotated[float, NOT_NEGATIVE] = 0.1
    """Where the decay ends, as a share of `learning_rate`."""
    b1: Annotated[float, MOMENT] = 0.9
    """AdamW's share of the old in its running mean of gradients."""
    b2: Annotated[float, MOMENT] = 0.99
    """AdamW's share of the old in its running mean of squared gradients."""
    weight_decay: Annotated[float, NOT_NEGATIVE] = 0.0
    """AdamW's pull of the weights towards 0."""
    clip_norm: Annotated[float, POSITIVE] = 1.0
    """Gradients are scaled down to this norm."""
    probe_problems: Annotated[int, NOT_NEGATIVE] = 0
    """Problems asked whenever a session takes the stage up, so that the log tells what each session was worth; 0: none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.batch % self.gradient_accumulation_steps == 0, "gradient_accumulation_steps", "a divisor of batch")


@dataclass(frozen=True, kw_only=True)
class Filtered(ValidatedOptions):
    """Which answers are not worth learning from. Sets without scores are not held to them, nor are files of your own to anything."""

    min_score: Annotated[float, not_negative("takes every answer, those without a score too")] = 5.0
    """Lowest score, of 10, of an answer of ultrafeedback; lower ones are left out and counted."""
    min_margin: Annotated[float, not_negative("takes ties, and answers whose rejected one has no score")] = 0.5
    """Lowest difference to the score of ultrafeedback's rejected answer; scores are multiples of 0.5."""
    english_only: bool = True
    """Leaves out problems of magpie and ultrafeedback that are not in English: by magpie's label, and guessed from ultrafeedback's words."""
    drop_refusals: bool = True
    """Leaves out answers of ultrafeedback that begin with a refusal or say that they are an AI's."""


@dataclass(frozen=True, kw_only=True)
class Sft(TrainingOptions, Filtered):
    """Learns from worked examples."""

    max_seq_length: Annotated[int, POSITIVE] = 1024
    """Prompt and completion together; longer examples are left out and counted."""


@dataclass(frozen=True, kw_only=True)
class Asking(ValidatedOptions):
    """How problems are put to the model."""

    max_prompt_length: Annotated[int, POSITIVE] = 256
    """Problems with longer prompts are left out and counted."""
    max_completion_length: Annotated[int, POSITIVE] = 768
    """An answer is cut off after so many tokens."""


@dataclass(frozen=True, kw_only=True)
class Sampling(Asking):
    """How answers are drawn."""

    temperature: Annotated[float, POSITIVE] = 1.0
    """Below 1 likely answers become likelier, above 1 unlikely ones."""
    top_k: Annotated[int, not_negative("draws from all tokens")] = 0
    """Likeliest tokens to draw from; 0 is all of them. Training compares probabilities among all tokens all the same."""


@dataclass(frozen=True, kw_only=True)
class Grpo(TrainingOptions, Sampling):
    """Learns from rewards of its own answers (Group Relative Policy Optimization, arXiv:2402.03300)."""

    batch: Annotated[int, POSITIVE] = 8
    """Prompts in a step."""
    mode: Annotated[str, one_of("full", "lora")] = "lora"
    num_generations: Annotated[int, at_least(2, "an answer is judged against its group")] = 8
    """Answers to each prompt, judged against each other."""
    beta: Annotated[float, NOT_NEGATIVE] = 0.04
    """Weight of the divergence from the model that the stage began with; 0 leaves that model out."""
    epsilon: Annotated[float, POSITIVE] = 0.2
    """The ratio of new to old probability of a token counts down to `1 - epsilon`. With one update a batch (`num_iterations: 1`)
    the ratio is 1, and nothing is clipped."""
    epsilon_high: Annotated[float, not_negative("takes epsilon")] = 0.0
    """The ratio counts up to `1 + epsilon_high`. Above `epsilon` (DAPO's clip-higher: 0.28, arXiv:2503.14476) it leaves unlikely
    tokens more room to become likely."""
    num_iterations: Annotated[int, POSITIVE] = 1
    """Updates on each batch of answers. From the second on the answers are an older policy's, and ratios are clipped. What the log
    tells of a step (`loss`, `kl`, `grad_norm`) is then of its last update."""
    loss_type: Annotated[str, one_of("grpo", "dapo", "dr_grpo")] = "dapo"
    """What a token counts. `grpo` is the mean over answers of each answer's mean over its tokens (arXiv:2402.03300): a token of a
    long answer counts less, which favours short right and long wrong answers. `dapo` is the mean over all tokens
    (arXiv:2503.14476). `dr_grpo` divides by the constant `max_completion_length` (arXiv:2503.20783)."""
    scale_rewards: Annotated[str, one_of("group", "none")] = "group"
    """`group` divides an answer's advantage by the standard deviation of its group's rewards (GRPO). `none` does not (Dr. GRPO,
    arXiv:2503.20783), so that a group whose rewards differ by little counts little."""
    mask_truncated_completions: bool = False
    """Nothing is learnt from an answer that was cut off at `max_completion_length` (DAPO's overlong filtering)."""
    overlong_buffer: Annotated[int, not_negative("takes nothing off")] = 0
    """In the last so many tokens before `max_completion_length` an answer's reward falls linearly by `overlong_penalty` (DAPO's soft
    overlong punishment, arXiv:2503.14476)."""
    overlong_penalty: Annotated[float, NOT_NEGATIVE] = 1.0
    """What an answer of `max_completion_length` tokens loses, where there is an `overlong_buffer`."""
    dynamic_sampling: Annotated[int, not_negative("draws once")] = 0
    """Groups whose answers are all worth the same teach nothing: up to so many times more problems are drawn in a step to put
    others in their place (DAPO, arXiv:2503.14476). Each round costs as much as the step's first."""
    rewards: Annotated[dict[str, float], WEIGHTS] = field(
        default_factory=lambda: {"structure": 1.0, "correctness": 1.0}
    )
    """Weight of each reward: structure, correctness, or one of your own, `module:function`."""
    show_every: Annotated[int, not_negative("shows nothing")] = 25
    """Every so many steps the log shows a prompt with its best and its worst answer; 0: never."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.overlong_buffer < self.max_completion_length, "overlong_buffer", "less than max_completion_length")


@dataclass(frozen=True, kw_only=True)
class Continued(Grpo):
    """Grpo on the hard problems that the last `curate` stage chose. Without replay of others, format and easy ones suffer."""

    replay: Annotated[float, SHARE] = 0.5
    """Share of prompts drawn from all training problems."""


@dataclass(frozen=True, kw_only=True)
class Curate(Sampling):
    """Chooses the hard problems: those that the model, as it is now, solves in some but not in most of its tries."""

    data: Annotated[tuple[str, ...], DATA] = ("gsm8k",)
    """Sets of problems, as for training."""
    batch: Annotated[int, POSITIVE] = 16
    """Problems in a step; `steps` times `batch` of them are tried."""
    num_generations: Annotated[int, at_least(2, "some but not most of them have to succeed")] = 4
    """Tries at each problem."""
    solved_max: Annotated[float, Rule(remedy="a share between 0 and 1", above=0, below=1)] = 0.5
    """A problem solved in a larger share of its tries is not hard."""
    hard_min: Annotated[int, Rule(remedy="positive: continued training needs a problem to go on with", above=0)] = 8
    """With fewer hard problems than this, the unsolved ones with the hardest labels and longest solutions are added."""


@dataclass(frozen=True, kw_only=True)
class Evaluate(Asking):
    """Asks problems that were never trained on, one greedy answer each."""

    data: Annotated[tuple[str, ...], DATA] = ("gsm8k",)
    """Sets of problems, as for training."""
    batch: Annotated[int, POSITIVE] = 64
    """Problems in a step; no problem is asked twice, however many steps there are."""
    transcripts: Annotated[int, NOT_NEGATIVE] = 100
    """Answers that are kept to be read: the wrong ones first, a quarter of them the same problems in every evaluation."""


def set_and_count(name: str) -> tuple[str, int]:
    """(`gsm8k`, 500) for `gsm8k:500`; a count of 0 means all."""
    found, _, count = name.partition(":")
    return found, int(count or 0)
